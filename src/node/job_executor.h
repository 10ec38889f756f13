// Runs attempts: reserves resources, has the zygote fork a runner, speaks with it, keeps its log,
// stops it when told to, and says how it ended once its processes are gone.
//
//   Assign ──► forked, hello, start ──► started, progress ... ──► last message, exit, group gone
//   ──► OnEnded ──► Acknowledge
//                                                  └── Stop: ask, SIGTERM, SIGKILL ──┘
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/listen_address.h"
#include "base/resources.h"
#include "base/status.h"
#include "node/attempt_end.h"
#include "node/capacity.h"
#include "node/cgroup.h"
#include "node/checkpoint_keeper.h"
#include "node/dataset_files.h"
#include "node/file_cache.h"
#include "node/file_upload.h"
#include "node/line_channel.h"
#include "node/log_book.h"
#include "node/stop_ladder.h"
#include "node/taken_attempts.h"
#include "node/zygote.h"
#include "spec/job_spec.h"

namespace cyxwiz::node {

// Which rank of a gang an attempt is here.
struct GangPlace {
  int32_t rank = 0, size = 1;
  ListenAddress rendezvous;  // where rank 0 listens for the others
  std::string secret;        // that all of them have, and nobody else
};

// An attempt that the server hands to this node.
struct Assignment {
  AttemptId id;
  spec::JobDescription job;
  Resources resources;              // reserved for it
  std::string token;                // the job token; goes back with every report
  int64_t token_expires_at = 0;     // Unix seconds
  int64_t result_bytes = 0;         // about what it will leave in its folder; 0: not known
  Duration run_limit = {};          // from its assignment, after which it is stopped; 0: none
  int64_t log_bytes = 0;            // most that is kept of its log; 0: as the node's settings say
  int64_t checkpoint_bytes = 0;     // most that a checkpoint may have to be kept; 0: any
  protocol::Checkpoint checkpoint;  // where the server would have it go on; no files: nowhere
  std::optional<GangPlace> gang;    // nullopt: it is here alone
  int64_t processes = 1;            // ranks on this node
};

// What an attempt said last.
struct AttemptProgress {
  UnixTime started_at;
  double progress = 0;  // 0.0 to 1.0
  int64_t epoch = 0, epochs = 0;
  std::map<std::string, double> metrics;
  // Where it went on; nullopt: it began at the beginning.
  struct Place {
    int64_t epoch = 0, step = 0;
  };
  std::optional<Place> resumed;
};

// Told by the executor, on the executor thread.
class ExecutorListener {
 public:
  virtual ~ExecutorListener() = default;
  // The attempt has begun to train, or has got further.
  virtual void OnProgress(const AttemptId& attempt, const AttemptProgress& progress) = 0;
  // A checkpoint of the attempt is on disk; `folder` holds its files until Acknowledge.
  virtual void OnCheckpoint(const AttemptId& attempt, const protocol::Checkpoint& checkpoint,
                            const std::string& folder) = 0;
  // Gets the files of a checkpoint from the server into `folder`, manifest.json last, and calls
  // done on the executor thread; may give up after a while.
  virtual void FetchCheckpoint(const AttemptId& attempt, const protocol::Checkpoint& checkpoint,
                               const std::string& folder, std::function<void(Status)> done) = 0;
  // Gets files from the server to their paths, in order, and calls done as FetchCheckpoint does;
  // after a failure those before are there.
  virtual void FetchFiles(const AttemptId& attempt, std::vector<StoredFile> files,
                          std::function<void(Status)> done) = 0;
  // Once per attempt. Its processes are gone and its resources free; its files stay until
  // Acknowledge.
  virtual void OnEnded(const AttemptId& attempt, const AttemptEnd& end) = 0;
};

// Executor thread only.
class JobExecutor {
 public:
  struct Options {
    Resources capacity;
    std::vector<std::string> gpus;        // of the capacity: their names in CUDA_VISIBLE_DEVICES
    std::vector<std::string> data_roots;  // given to runners: where file:// data may lie
    std::string folder;                   // on whose disk the attempts' files lie
    int64_t min_free_disk_bytes = 0;      // with less left there, nothing is taken
    // Within which a runner that has said its last word, or closed its socket, must end.
    Duration end_within = std::chrono::seconds(10);
  };
  // Everything outlives the executor.
  JobExecutor(boost::asio::io_context& io, Options options, Zygote* zygote, LogBook* logs,
              CheckpointKeeper* checkpoints, FileCache* weights, FileCache* datasets,
              RemoteFiles* remote, AttemptLimits* limits, ExecutorListener* listener);
  ~JobExecutor();

  // OK: taken, work begins after this call has returned, or it was taken before. Otherwise nothing
  // has changed, and the message says why: RESOURCE_EXHAUSTED (does not fit, or the disk is too
  // full), FAILED_PRECONDITION (a newer attempt of the job is here, or this one was taken before
  // and is over, or it is of a gang and its runner or its rendezvous cannot be), UNAVAILABLE
  // (shutting down, or the runner does not start).
  Status Assign(Assignment assignment);
  // An attempt that ended in an earlier run of the node: it is here until Acknowledge.
  void Restore(const AttemptId& attempt, std::string token);
  // Begins to stop an attempt; false when it is not here or has ended.
  bool Stop(const AttemptId& attempt, const std::string& reason);
  // The same, but it shall write a checkpoint first, and has a minute for it.
  bool Yield(const AttemptId& attempt, const std::string& reason);
  // SIGKILL to every attempt that has not ended, at once.
  void KillAll(const std::string& reason);
  // Stop for every attempt that has not ended; nothing is taken any more.
  void ShutDown(const std::string& reason);
  // The server knows how the attempt ended: forgets it and deletes its files but the log.
  void Acknowledge(const AttemptId& attempt);

  // Attempts that run here, or have ended without the server knowing yet.
  std::vector<AttemptId> Active() const;
  // Whether every attempt has ended.
  bool idle() const;
  const Resources& available() const { return capacity_.available(); }
  const Resources& total() const { return capacity_.total(); }
  // Why no runner can be started; empty when nothing is known to be in the way.
  const std::string& runner_trouble() const { return zygote_->trouble(); }
  // The token of an active attempt; empty when it is not here.
  std::string TokenOf(const AttemptId& attempt) const;
  // Jobs of which checkpoints are kept here, and the end of that.
  std::vector<JobId> KeptCheckpoints() const { return checkpoints_->jobs(); }
  // The stored data sets and weights that are kept here.
  std::vector<ContentKey> KeptData() const;
  void DropCheckpoints(const JobId& job) { checkpoints_->Drop(job); }
  // Where an attempt's files are.
  std::string FolderOf(const AttemptId& attempt) const { return logs_->FolderOf(attempt); }

  // From the zygote.
  void OnForked(const std::string& key, pid_t pid);
  void OnForkFailed(const std::string& key, const std::string& message);
  void OnExited(const std::string& key, const ProcessExit& exit);
  void OnZygoteDied(const std::string& reason, bool hung);

 private:
  struct Attempt;
  using AttemptPtr = std::shared_ptr<Attempt>;

  AttemptPtr ByKey(const std::string& key) const;
  Status CheckDisk(const Assignment& assignment) const;
  Status CheckGang(const GangPlace& gang) const;
  void Launch(const AttemptPtr& attempt);
  void Prepare(const AttemptPtr& attempt);
  void PrepareWeights(const AttemptPtr& attempt);
  void PrepareDataset(const AttemptPtr& attempt);
  void OnDataset(const AttemptPtr& attempt, const Status& status, DatasetFiles::Given given);
  // Ends an attempt that has no runner yet.
  void EndUnstarted(const AttemptPtr& attempt);
  void StartRunner(const AttemptPtr& attempt);
  void Note(const AttemptPtr& attempt, const std::string& line);
  bool BeginStop(const AttemptId& id, const std::string& reason, bool yield);
  void OnCheckpointLine(const AttemptPtr& attempt, const Json& line);
  void ReadOutput(const AttemptPtr& attempt);
  void OnLine(const AttemptPtr& attempt, std::string_view line);
  void Confine(const AttemptPtr& attempt);
  void SendStart(const AttemptPtr& attempt);
  void StartLimit(const AttemptPtr& attempt);
  void BreakOff(const AttemptPtr& attempt, const std::string& trouble);
  void RunLadder(const AttemptPtr& attempt);
  void Signal(const AttemptPtr& attempt, int signal);
  // The runner is about to end by itself: one that does not is killed.
  void ExpectEnd(const AttemptPtr& attempt);
  // Ends the attempt once the process, its group, its socket and its output are all finished.
  void Settle(const AttemptPtr& attempt);
  void Finish(const AttemptPtr& attempt);

  boost::asio::io_context& io_;
  Options options_;
  Zygote* zygote_;
  LogBook* logs_;
  CheckpointKeeper* checkpoints_;
  FileCache* weights_;
  DatasetFiles datasets_;
  AttemptLimits* limits_;
  ExecutorListener* listener_;
  Capacity capacity_;
  boost::asio::thread_pool confining_{1};
  bool shutting_down_ = false;
  std::map<AttemptId, AttemptPtr> attempts_;
  // Tokens of attempts that were acknowledged, newest last: a repeated AssignJob of one of them is
  // answered as the first was.
  std::deque<std::string> acknowledged_tokens_;
  TakenAttempts taken_;
};

}  // namespace cyxwiz::node
