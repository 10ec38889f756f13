// Trains a checked job on a loaded data set, or runs a trained model on it. The face of libtorch
// towards the rest of the runner: no header of libtorch is needed to include this one.
//
// A process trains one job at a time: libtorch's default random generator and its number of threads
// belong to the process. Same JobSpec, data and number of threads: bit-identical weights on one
// machine.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/safetensors.h"
#include "data/dataset.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

using Metrics = std::map<std::string, double>;  // names as in docs/reference/runner-protocol.md

// Why a job failed; `cause` is one of the protocol's.
struct Failure {
  std::string cause, message, hint, path;
};

// A training between two steps: all that what comes depends on, so that going on from it gives the
// bits that going on without it gives. (The order of an epoch's samples follows from seed and
// epoch.)
struct TrainingState {
  int64_t epoch = 1;    // in work, from 1; one more than there are: only the test is left
  int64_t samples = 0;  // of this epoch that were trained on; all of them: it remains to evaluate
  int64_t step = 0;     // steps of the optimizer done, over all epochs
  // Sums over these samples.
  double loss_sum = 0;
  int64_t correct = 0;
  Metrics metrics;  // as last reported
  // What else the rest depends on:
  //   optimizer.<name>, schedule.<name>  what these keep beside tensors
  //   keep.<name>, stop.<name>           best: the best value so far; waited: epochs since then
  //   precision                          the one that was settled on, where that was left open
  //   best.epoch, best.metric.<name>     of the best epoch, when it is kept: its number, its
  //   metrics
  std::map<std::string, double> numbers;
  // Spent so far; as in TrainingResult.
  double compute_seconds = 0, training_seconds = 0, training_cpu_seconds = 0;
  // In host memory, alive as long as owner:
  //   model.<name>              weights and buffers, under the names of the result
  //   optimizer.<value>.<name>  what the optimizer keeps for each weight: mean, square, momentum
  //   gradient.<name>           gradients that wait for the next batch, when they accumulate
  //   average.<name>            averaged weights, when there is an average
  //   best.<name>               weights and buffers of the best epoch, once there is one to keep
  //   random.<device>           libtorch's generator: cpu, cuda
  std::vector<TensorView> tensors;
  std::shared_ptr<const void> owner;

  // What an attempt keeps with it, and the training itself does not look at.
  std::string events;  // runner/event_file.h, of the epochs so far; empty: none
  std::optional<data::Statistics> statistics;  // of the data, where they took reading it
};

// After the first step of training.
struct Started {
  std::string device;  // "cpu", "cuda:0"
  int threads = 1;
  int64_t parameters = 0;
  // Where it went on: the epoch in work and the steps done by then; nullopt: from the beginning.
  struct Resumed {
    int64_t epoch = 1, step = 0;
  };
  std::optional<Resumed> resumed;
};

struct Progress {
  double part = 0;  // of all training steps, 0 to 1
  int64_t epoch = 1, epochs = 1;
  int64_t step = 0;  // over all epochs
  bool end_of_epoch = false;
  Metrics metrics;
};

// What a training shall do next.
enum class Directive {
  kGoOn,
  kYield,  // hand over its state and end
  kStop    // end
};

// Called back by Train and RunModel, on their thread.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void OnStarted(const Started&) {}
  // At most 10 a second, and after each epoch.
  virtual void OnProgress(const Progress&) {}
  // Asked after each batch.
  virtual Directive Asked() { return Directive::kGoOn; }
  // After each step of training, from 1.
  virtual void OnStep(int64_t /*step*/) {}
  // Asked after each step of training: whether to hand over the training's state now.
  virtual bool StateWanted() { return false; }
  // The state that was wanted, or that of a training that yields. Training waits meanwhile.
  virtual void OnState(TrainingState) {}
  // A line for the person who reads the log.
  virtual void Log(const std::string&) {}
};

// How often a label was predicted as what, by the result's weights over all samples of a part.
struct ConfusionMatrix {
  std::string part;  // "test", "validation"
  int64_t classes = 0;
  std::vector<int64_t> counts;  // classes x classes: a label a row, a prediction a column
};

struct TrainingResult {
  enum class End { kSucceeded, kYielded, kStopped, kFailed };
  End end = End::kFailed;
  Failure failure;  // kFailed
  Metrics metrics;  // kSucceeded
  // Of the whole training, what went before the state it was resumed from included.
  double compute_seconds = 0;       // training and evaluation, without reading the data
  double training_seconds = 0;      // of it, steps of training
  double training_cpu_seconds = 0;  // processor time of these steps
  std::optional<ConfusionMatrix> confusion_matrix;  // kSucceeded, when it was asked for
  std::vector<float> class_weights;  // that the loss gave to the classes; empty: all 1
  spec::Precision precision = spec::Precision::kFloat32;  // kSucceeded: that it was trained in
  // kSucceeded: the weights, alive as long as weights_owner.
  std::vector<TensorView> weights;
  std::shared_ptr<const void> weights_owner;
};

class ProcessGroup;

// Never throws: what libtorch throws becomes kFailed. threads_allowed: at least 1. Goes on from
// `resume` when that is given and is a state of this model and optimizer; when it is not, the log
// says so, and training begins at the beginning.
//
// With a group it trains as one of its ranks, each of which is called with the same job, data and
// state: each takes its part of every batch. Rank 0 alone evaluates and hands over states, and its
// result is the training's; the others end after the last step. All end at the same step when one
// of them is asked to.
TrainingResult Train(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
                     TrainingObserver* observer, std::optional<TrainingState> resume = {},
                     ProcessGroup* group = nullptr);

// What an evaluation or an inference came to.
struct ModelResult {
  TrainingResult::End end = TrainingResult::End::kFailed;
  Failure failure;  // kFailed
  Metrics metrics;  // kSucceeded; of an evaluation those of a training's test part
  std::optional<ConfusionMatrix> confusion_matrix;  // kSucceeded, when it was asked for
  int64_t samples = 0;
  bool whole = false;  // all of the data, since it has no test part
  double compute_seconds = 0;
};

class PredictionWriter;

// Runs a model with these weights over the test part of the data, or all of data that has none, as
// job.type says: evaluates it, or gives its predictions to the writer. Bits as a training's
// evaluation with the same number of threads. The observer is told as by Train; it is asked for no
// state. Never throws.
ModelResult RunModel(const spec::JobSpec& job, const data::Dataset& dataset,
                     const SafetensorsFile& weights, int threads_allowed,
                     TrainingObserver* observer, PredictionWriter* predictions);

// Threads for a step of training of `flops` floating-point operations: `requested` (0: choose), at
// most `allowed`. Small models run fastest on one thread: handing out and joining work costs more
// than it saves below some 20 MFLOP a thread.
int ChooseThreads(int64_t flops, int64_t requested, int allowed);

// Does, on one thread and without touching a GPU, what the first training step of a process does
// once: resolving symbols, filling caches, making kernels. Called before forking, so that children
// have it done.
void WarmUp();

std::string LibtorchVersion();  // "2.15.0"

}  // namespace cyxwiz::runner
