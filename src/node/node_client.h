// The node's side of its talk with the Central Server: registers, sends heartbeats, and turns what
// attempts say into ReportProgress, uploads and ReportCompletion. Whatever goes wrong is tried
// again with jittered backoff; a completion is kept until the server has acknowledged it.
#pragma once

#include <grpcpp/client_context.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"
#include "cyxwiz/protocol/node.grpc.pb.h"
#include "node/backoff.h"
#include "node/file_download.h"
#include "node/file_upload.h"
#include "node/job_executor.h"
#include "node/lease.h"
#include "node/unreported_end.h"

namespace cyxwiz::node {

// Who this node is to the server it is registered with.
struct NodeIdentity {
  NodeId id;  // empty before the first registration ever
  std::string
      server_public_key;  // Ed25519, 32 bytes; empty before the first registration of this run
  std::string session;    // empty while it registers
};

// Executor thread only; gRPC's threads post their results to it.
class NodeClient : public ExecutorListener {
 public:
  struct Options {
    std::string server;                            // host:port
    std::string node_id_path;                      // file that remembers the node's id
    std::function<protocol::NodeInfo()> describe;  // the node as it is now, without node_id
    std::function<void()> on_registered;           // after each registration
    std::function<void()> on_heartbeat;            // after each one that was acknowledged
    std::function<void()> on_attempt_ended;
    std::function<void()> on_reported;  // an attempt's end has been acknowledged
  };
  NodeClient(boost::asio::io_context& io, Options options);
  ~NodeClient() override;

  // Reads the node's id if there is one. executor outlives the client's use.
  Status Open(JobExecutor* executor);
  // Before Start: how an attempt ended in an earlier run of the node (JobExecutor::Restore).
  void Restore(const AttemptId& attempt, UnreportedEnd unreported);
  // Begins to register, and goes on for ever.
  void Start();
  // Cancels what is under way; `stopped` is posted when no call is left, and nothing happens
  // afterwards.
  void Stop(std::function<void()> stopped);

  // Calls `then` when the registration under way has been answered, at once when none is. The
  // server may hand out work as soon as it knows us, and its call may overtake its answer.
  void AfterRegistration(std::function<void()> then);

  const NodeIdentity& identity() const { return identity_; }
  // Whether the server has been reached recently enough to take new attempts.
  bool has_lease() const {
    return lease_.deadline() != MonotonicTime::Never() && !lease_.Expired(ReadClocks().monotonic);
  }
  // Whether an attempt's end has not been acknowledged yet.
  bool has_unreported() const;

  void OnProgress(const AttemptId& attempt, const AttemptProgress& progress) override;
  void OnCheckpoint(const AttemptId& attempt, const protocol::Checkpoint& checkpoint,
                    const std::string& folder) override;
  void FetchCheckpoint(const AttemptId& attempt, const protocol::Checkpoint& checkpoint,
                       const std::string& folder, std::function<void(Status)> done) override;
  void FetchFiles(const AttemptId& attempt, std::vector<StoredFile> files,
                  std::function<void(Status)> done) override;
  void OnEnded(const AttemptId& attempt, const AttemptEnd& end) override;

 private:
  template <typename Request, typename Response>
  struct Call;
  struct Report;
  struct Fetch;
  enum class State { kIdle, kRegistering, kRegistered };

  // Starts the call by method(stub, context, request, response, callback); done(status, call) runs
  // on the executor thread, unless the client is stopped before.
  template <typename Request, typename Response, typename Method, typename Done>
  void Send(std::shared_ptr<Call<Request, Response>> call, Duration timeout, Method method,
            Done done);
  void CallEnded();

  void Register();
  void RegisterLater();
  void RegistrationAnswered();
  void OnRegistered(const protocol::RegisterNodeResponse& response, MonotonicTime sent_at);
  void Heartbeat();
  void HeartbeatAfter(Duration wait);
  void LogTrouble(const Status& status);
  void RenewLease(MonotonicTime sent_at);
  void StopAttempt(const AttemptId& attempt, const std::string& reason);
  void YieldAttempt(const AttemptId& attempt, const std::string& reason);

  Report& ReportOf(const AttemptId& attempt);
  void Advance(const AttemptId& attempt);  // does what is next for the attempt's report
  void RetryLater(const AttemptId& attempt);
  void WaitFor(const AttemptId& attempt, Duration time);  // then goes on
  void SendProgress(const AttemptId& attempt, Report& report);
  void HashFiles(const AttemptId& attempt, Report& report);
  void UploadNext(const AttemptId& attempt, Report& report);
  void OnUploaded(const AttemptId& attempt, const Status& status);
  void SendCompletion(const AttemptId& attempt, Report& report);
  // Sends the newest checkpoint to the server, beside the reports.
  void AdvanceCheckpoint(const AttemptId& attempt);
  void OnCheckpointUploaded(const AttemptId& attempt, const Status& status);
  void GiveUpCheckpoint(const AttemptId& attempt, Report& report);
  // Gets the next files, as many at a time as the fetch allows.
  void FetchMore(const std::shared_ptr<Fetch>& fetch);
  void OnDownloaded(const std::shared_ptr<Fetch>& fetch, size_t file, const Status& status);
  void EndFetch(const std::shared_ptr<Fetch>& fetch, Status status);
  void Close(const AttemptId& attempt);
  // Whether an answer of NOT_FOUND or UNAUTHENTICATED speaks of the attempt and not of our session.
  bool IsConfirmed(Report& report);
  double Random();

  boost::asio::io_context& io_;
  Options options_;
  JobExecutor* executor_ = nullptr;
  std::unique_ptr<protocol::NodeService::Stub> node_stub_;
  std::unique_ptr<protocol::ModelService::Stub> model_stub_;
  boost::asio::thread_pool hashing_{1};
  std::mt19937_64 random_;

  std::string boot_id_;  // of the machine
  NodeIdentity identity_;
  State state_ = State::kIdle;
  std::vector<std::function<void()>> after_registration_;
  std::optional<std::vector<ContentKey>> told_data_;  // in this registration
  bool stopped_ = false;
  std::function<void()> on_stopped_;
  int calls_ = 0;  // under way, hashing too
  std::set<grpc::ClientContext*> contexts_;
  std::map<AttemptId, std::shared_ptr<FileUpload>> uploads_;
  std::map<AttemptId, std::shared_ptr<FileUpload>> checkpoint_uploads_;
  std::map<AttemptId, std::shared_ptr<Fetch>> fetches_;

  boost::asio::steady_timer register_timer_, heartbeat_timer_, lease_timer_;
  Backoff register_backoff_, heartbeat_backoff_;
  bool heartbeat_in_flight_ = false;
  bool trouble_logged_ = false;
  Duration heartbeat_interval_ = std::chrono::seconds(3);
  Duration lease_duration_ = std::chrono::seconds(10);
  Lease lease_;
  MonotonicTime last_acknowledged_;  // when the last acknowledged heartbeat was sent
  std::map<AttemptId, std::unique_ptr<Report>> reports_;
};

}  // namespace cyxwiz::node
