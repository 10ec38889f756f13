// One attempt from its first line to its last: check the job, load its data, train or run a model,
// write the result.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runner/checkpoint.h"
#include "runner/engine.h"
#include "runner/interruption.h"
#include "runner/protocol.h"

namespace cyxwiz::runner {

// Name of the folder of checkpoints in an attempt's folder.
inline constexpr const char* kCheckpointsFolder = "checkpoints";

// What the node asks of an attempt, and what it is told while the attempt runs.
struct AttemptHooks {
  std::function<void(const Started&, double load_ms, double first_step_ms)> started;
  std::function<void(const Progress&)> progress;
  std::function<Directive()> asked;
  // As long as what it gives lives, an attempt that is asked to end does so by itself: for work
  // that does not look, and leaves nothing to keep.
  std::function<std::unique_ptr<Interruption>()> interruptible;
  // A checkpoint is on disk. pause_ms: how long training waited for it.
  std::function<void(const Checkpoint&, double pause_ms, double write_ms)> checkpoint;
};

struct AttemptResult {
  TrainingResult::End end = TrainingResult::End::kFailed;
  Failure failure;                 // kFailed
  std::vector<std::string> files;  // kSucceeded: in the folder of the start message, durable
  Metrics metrics;
  double compute_seconds = 0;       // without reading the data
  double training_seconds = 0;      // of it, steps of training
  double training_cpu_seconds = 0;  // processor time of these steps
  double load_seconds = 0;          // checking the job and reading the data
  double write_seconds = 0;         // weights and model.json
  spec::Estimate estimate;          // once the job is checked
  int64_t peak_memory_bytes = 0;    // the most that the process had resident, libraries included
  int64_t flops_per_sample = 0;     // of a forward pass
  // The newest checkpoint that this attempt has written.
  std::optional<Checkpoint> checkpoint;
  Status checkpoint_trouble;  // why the last one could not be written
  int64_t checkpoints = 0;    // written
  double checkpoint_pause_seconds = 0, checkpoint_write_seconds = 0;  // all of them together
  std::optional<Started::Resumed> resumed;
};

// Runs an attempt in this process, logging to standard error. Never throws. When memory_bytes is
// given, private memory beyond it (and beyond what the process has at the start, its libraries) is
// refused, which ends the attempt with out_of_memory instead of taking the machine down.
//
// weights.safetensors holds the tensors under PyTorch's names; model.json is the model in canonical
// form, how it was trained, and its metrics. Neither holds a time: the same job gives the same
// bytes. An event file for TensorBoard holds the metrics of each epoch, those before the checkpoint
// that it went on from too.
//
// An evaluation leaves evaluation.json, an inference its predictions (runner/predictions.h); the
// model's weights are the file start.weights of the folder, and are looked at before they are used.
//
// With start.processes it is several ranks; see RunLocalRanks.
//
// A preprocessing leaves the data set as data/prepared.h describes it.
//
// Checkpoints are written to the folder "checkpoints" beside them, every checkpoint_seconds and
// when the attempt yields. With start.resume it goes on from the newest usable one there.
AttemptResult RunAttempt(const StartMessage& start, const AttemptHooks& hooks);

// The attempt of a forked child: speaks the protocol on `socket` until the attempt has ended.
// Returns the exit code.
//
// For tests of what happens when a runner fails, the environment variable CYXWIZ_RUNNER_FAULT makes
// it fail:
//   crash_after_step:N  a segmentation fault after training step N, or batch N of a model's run
//   hang_on_stop        neither a stop message nor SIGTERM ends it
//   oom                 after the first step or batch, memory is taken until there is none (at most
//   1 GiB, or memory_bytes)
int ServeAttempt(UniqueFd socket);

}  // namespace cyxwiz::runner
