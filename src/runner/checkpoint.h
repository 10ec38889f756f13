// Checkpoints: states of a training on disk, from which it goes on bit for bit.
//
//   checkpoints/                 of one attempt
//     000000001234/              one checkpoint, named by the steps done (12 digits)
//       state.safetensors        the tensors of TrainingState; "events", its bytes, where it has
//                                any; the rest of it as JSON in the metadata under "state"
//       manifest.json            written last: a folder without one is no checkpoint
//
//   manifest := {"format": "cyxwiz-checkpoint", "version": 2,
//                "identity": "<sha256>",                     of the training it belongs to
//                "epoch": 3, "step": 1234,                   for people and for the node
//                "libtorch": "2.15.0",
//                "files": [{"name": "state.safetensors", "size": 4096, "sha256": "<hex>"}]}
//
// Each file is written beside its place, fsynced and renamed, and the folders are fsynced before
// the checkpoint counts as written. So after a crash at any moment each checkpoint is complete, or
// absent, or its hash tells that the disk has lied. Knows nothing of libtorch.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "runner/engine.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

inline constexpr int kCheckpointVersion = 2;

struct CheckpointFile {
  std::string name, sha256;
  int64_t size = 0;
};

// A checkpoint that is on disk.
struct Checkpoint {
  std::string name;  // of its folder
  int64_t epoch = 1, step = 0;
  std::vector<CheckpointFile> files;  // manifest.json last
};

// What a training must be to go on from a checkpoint: a hash of model, training (but not how often
// it writes checkpoints) and the data's content. Reads all of the data that is in memory.
std::string IdentityOf(const spec::JobSpec& job, const data::Dataset& dataset);

// Writes one. Replaces an older one of the same step.
Result<Checkpoint> WriteCheckpoint(const std::string& folder, const std::string& identity,
                                   const TrainingState& state);

// Reads one after checking everything in it. DATA_LOSS when it is damaged, FAILED_PRECONDITION when
// it is of another training or another version; the message says what is wrong.
Result<TrainingState> ReadCheckpoint(const std::string& folder, const std::string& name,
                                     const std::string& identity);

// The statistics of the data that the newest whole checkpoint holds, of whatever training.
std::optional<data::Statistics> ReadStatistics(const std::string& folder);

// The names of the checkpoints in a folder, complete or not, newest first.
std::vector<std::string> ListCheckpoints(const std::string& folder);

// Reads the newest that can be read; those that cannot are deleted, and `log` is told why.
std::optional<TrainingState> ReadNewestCheckpoint(
    const std::string& folder, const std::string& identity,
    const std::function<void(const std::string&)>& log);

// Writes checkpoints on a thread of its own, the newest of which stay. One thread calls it.
class CheckpointWriter {
 public:
  struct Written {
    Result<Checkpoint> checkpoint;
    double seconds = 0;
  };

  // identity is called once, on the writer's thread. kept: how many stay.
  CheckpointWriter(std::string folder, std::function<std::string()> identity, int64_t kept)
      : folder_(std::move(folder)), identity_of_(std::move(identity)), kept_(kept) {}
  // Waits for the checkpoint that is being written.
  ~CheckpointWriter();

  // Whether one is being written.
  bool busy() const;
  // Begins to write; waits first while one is being written, whose outcome is kept for Take.
  void Begin(TrainingState state);
  // Waits until nothing is being written.
  void Wait();
  // What has been written since the last call, or could not be.
  std::vector<Written> Take();

 private:
  void Run();
  Written Write(const TrainingState& state);

  const std::string folder_;
  const std::function<std::string()> identity_of_;
  const int64_t kept_;
  std::string identity_;  // writer's thread; empty: not asked for yet
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<TrainingState> state_;  // to be written, or being written
  bool busy_ = false, ending_ = false;
  std::vector<Written> written_;
  std::thread thread_;  // from the first Begin on
};

}  // namespace cyxwiz::runner
