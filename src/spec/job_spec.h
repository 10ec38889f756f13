// The typed, checked form of a job. The server refuses what does not pass CheckJob; the runner
// builds its modules from the same JobSpec, made by the same function, so what was accepted is what
// runs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/resources.h"
#include "spec/dataset.h"
#include "spec/model_spec.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

// Numbers of the wire.
enum class JobType { kUnknown, kTraining, kInference, kEvaluation, kPreprocessing };
enum class Device { kAny, kCpu, kCuda, kOpenCl, kMetal, kVulkan };

// A model that a job has left, as an evaluation or an inference names it.
struct ModelFrom {
  std::string job_id;                        // whose result it is, or
  std::string model_sha256, weights_sha256;  // the files themselves
  // Known once the model has been looked up (TakeModel in spec/model_use.h).
  int64_t weights_bytes = 0;
  std::string data;  // JSON: "input" and "data" of model.json

  bool operator==(const ModelFrom&) const = default;
};

// The files of a job's data set, as they were when the job was accepted.
struct DatasetFrom {
  std::string name, version;  // of dataset://
  std::string manifest_sha256;
  int64_t manifest_bytes = 0, bytes = 0;  // of the manifest; of all files
  std::string files_state;                // of file://: sizes and times
  bool stored() const { return !name.empty(); }

  bool operator==(const DatasetFrom&) const = default;
};

// A job as submitted: what the wire's JobConfig holds, without protobuf. 0 and empty mean "not
// given".
struct JobDescription {
  std::string name;
  JobType type = JobType::kTraining;
  std::string model_definition;  // JSON
  std::map<std::string, std::string> hyperparameters;
  std::string dataset_uri;
  int64_t batch_size = 0;
  int64_t epochs = 0;
  Device required_device = Device::kAny;
  int64_t estimated_memory = 0;  // bytes
  Resources requested;           // each part 0: estimated
  ModelFrom model_from;          // kEvaluation, kInference
  std::string output;            // kInference: "npy", "csv", "jsonl"
  DatasetFrom dataset_from;      // known once the server has looked it up
  std::string output_dataset;    // kPreprocessing: "name@version" of what it makes

  // The form in which a description travels to the runner; an exact round trip.
  Json ToJson() const;
  static Result<JobDescription> FromJson(const Json& json);
};

// What the job says that it may take; 0: nothing, and it is estimated.
inline int64_t NamedMemory(const JobDescription& job) {
  return job.requested.memory_bytes > 0 ? job.requested.memory_bytes : job.estimated_memory;
}

enum class Optimizer { kSgd, kAdam, kAdamW, kRmsprop, kAdagrad, kLbfgs, kLion, kMuon };
// How muon's step grows with the shape of a weight.
enum class MuonScale { kOriginal, kMatchRmsAdamW };
// The learning rate over time, and what it counts.
enum class Schedule { kConstant, kStep, kMultiStep, kExponential, kCosine, kOneCycle, kPlateau };
enum class Interval { kEpoch, kStep };
// Of products in forward and backward passes; weights, sums and losses stay float32.
// kAuto: whichever the machine is faster in; the runner finds out.
enum class Precision { kFloat32, kBfloat16, kAuto };
// Of which epoch the weights are that become the result.
enum class Keep { kLast, kBest };
// kCrossEntropy and kKl work on logits, so when the model ends with a softmax, on that softmax's
// input; kBinaryCrossEntropy likewise with a sigmoid. The mean over the batch, and over positions
// or values where an output has several.
//
// Against labels kCrossEntropy needs an output for each class. The others compare an output of one
// value with the label itself, a class number too, and an output of as many values as there are
// classes with the one-hot row of the label.
enum class Loss { kCrossEntropy, kBinaryCrossEntropy, kMse, kL1, kHuber, kKl };
// What the output is compared with: the sample's label, or the sample itself.
enum class Target { kLabel, kInput };
// What an output says, which decides the metrics there are: a score for each class, one score for
// the second of two classes, or numbers.
enum class Task { kClasses, kBinary, kNumbers };

// A measure of a model beside its loss, over validation and test samples; kAccuracy over those of
// training too.
struct Metric {
  enum class Kind {
    kAccuracy,
    kTopAccuracy,
    kPrecision,
    kRecall,
    kF1,
    kAuc,
    kPerplexity,
    kConfusionMatrix,
    kMae,
    kRmse,
    kR2
  };
  Kind kind = Kind::kAccuracy;
  std::string name;  // "top_5_accuracy"
  int64_t top = 1;   // kTopAccuracy
};

struct TrainingSpec {
  Optimizer optimizer = Optimizer::kAdam;
  // Defaults are PyTorch's for each optimizer; those here are adam's.
  double learning_rate = 1e-3;
  double weight_decay = 0;  // all but lbfgs
  double momentum = 0;      // sgd, rmsprop, muon
  bool nesterov = false;    // sgd, muon
  double beta1 = 0.9, beta2 = 0.999,
         epsilon = 1e-8;                         // adam, adamw, lion, muon; epsilon also others
  double alpha = 0.99;                           // rmsprop
  bool centered = false;                         // rmsprop
  double lr_decay = 0, initial_accumulator = 0;  // adagrad
  int64_t max_iter = 20, history_size = 100;     // lbfgs
  double tolerance_grad = 1e-7, tolerance_change = 1e-9;  // lbfgs
  MuonScale muon_scale = MuonScale::kOriginal;            // muon
  int64_t ns_steps = 5;                                   // muon: iterations of Newton and Schulz

  Schedule lr_schedule = Schedule::kConstant;
  Interval lr_interval = Interval::kEpoch;  // what the schedule counts
  int64_t lr_step_size = 1;                 // step
  std::vector<int64_t> lr_milestones;       // multi_step
  double lr_gamma = 0.1;                    // step, multi_step, exponential
  double lr_min = 0;                        // cosine, plateau
  double lr_pct_start = 0.3, lr_div_factor = 25, lr_final_div_factor = 1e4;  // one_cycle
  double lr_factor = 0.1, lr_threshold = 1e-4;                               // plateau
  int64_t lr_patience = 10, lr_cooldown = 0;                                 // plateau: epochs
  int64_t warmup_steps = 0, warmup_epochs = 0;                               // one of them at most
  double warmup_start_factor = 1.0 / 3;

  double clip_norm = 0, clip_value = 0;  // 0: not
  int64_t accumulation = 1;              // batches to a step
  bool shard_optimizer = false;          // each rank of a gang keeps a part of its state
  double ema_decay = 0;                  // 0: no average of the weights
  int64_t patience = 0;                  // epochs without improvement that end it; 0: none do
  double min_delta = 0;                  // what counts as an improvement
  Keep keep = Keep::kLast;
  std::string monitor;           // metric that decides on the epochs; set when monitors()
  bool monitor_greater = false;  // whether a greater one is better
  bool monitors() const {
    return patience > 0 || keep == Keep::kBest || lr_schedule == Schedule::kPlateau;
  }

  int64_t batch_size = 32;
  bool auto_batch_size = false;  // batch_size is still to be chosen: the largest that fits
  Precision precision = Precision::kFloat32;
  int64_t epochs = 1;
  uint64_t seed = 0;
  Loss loss = Loss::kCrossEntropy;
  double label_smoothing = 0;           // kCrossEntropy
  std::vector<double> class_weights;    // kCrossEntropy; empty: all 1
  bool balanced_class_weights = false;  // kCrossEntropy: from how often each class occurs
  double huber_delta = 1;               // kHuber
  Target target = Target::kLabel;
  std::vector<Metric> metrics;  // default: accuracy; of numbers mae, rmse, r2
  double validation_split = 0;  // part of the training samples that is set aside, [0, 1)
  int64_t threads = 0;          // 0: chosen by the runner from the model's size
  // Between two checkpoints; 0: only when the job is asked to yield.
  double checkpoint_seconds = 30;
  int64_t checkpoints_kept = 2;  // the newest; one that is damaged is made up for by the one before
};

// The form of predictions.
enum class PredictionFormat { kNpy, kCsv, kJsonl };

struct Estimate {
  // Peak of the runner: libraries, data, weights, gradients, optimizer, activations.
  int64_t memory_bytes = 0;
  // Whole job; 0 when the data is not seen.
  int64_t flops = 0;
  int64_t artifact_bytes = 0;
};

struct JobSpec {
  std::string name;
  JobType type = JobType::kTraining;
  Device device = Device::kAny;
  ModelSpec model;
  TrainingSpec training;  // of an evaluation and an inference: what its model was trained with
  ModelFrom model_from;   // kEvaluation, kInference
  PredictionFormat output = PredictionFormat::kNpy;  // kInference
  std::string output_dataset;                        // kPreprocessing
  DatasetUri dataset_uri;
  // Absent when the checking machine cannot see the data; shapes are then inferred from the model's
  // input entry.
  std::optional<DatasetInfo> dataset;
  Resources resources;  // what an attempt needs: as requested, the rest estimated
  Estimate estimate;
};

// Limits on what is accepted at all; each is named in the error that refuses more.
inline constexpr int64_t kMaxEpochs = 1'000'000;
inline constexpr int64_t kMaxBatchSize = 1 << 20;
inline constexpr int64_t kMaxAutoBatchSize = 1024;
inline constexpr int64_t kMaxThreads = 256;
inline constexpr double kMaxCheckpointSeconds = 86'400;
inline constexpr int64_t kMaxCheckpointsKept = 100;
inline constexpr int64_t kMaxAccumulation = 1 << 20;
inline constexpr size_t kMaxJobMetrics = 32;
inline constexpr int64_t kMaxTopAccuracy = 1000;
inline constexpr int64_t kMaxConfusionClasses = 1000;
inline constexpr int64_t kMaxMemoryBytes = int64_t{1} << 50;  // requested or estimated
inline constexpr int64_t kMaxCpuMillis = 1'000'000;
inline constexpr int64_t kMaxGpus = 1;  // a job trains on one device
inline constexpr size_t kMaxNameBytes = 256;

// Whether a text can be a job's name or its user's: at most kMaxNameBytes of UTF-8 without control
// characters.
bool IsName(const std::string& text);
// Adds a problem at `path` when it is none.
void CheckName(const std::string& path, const std::string& text, Problems* problems);

// Checks everything, collecting all problems. The spec is there only when problems stays empty. Of
// a job whose model has still to be looked up (HasModel in spec/model_use.h) it checks all the
// rest, and gives no spec.
// inspector may be null: files are then not looked into, and their shape comes from the model's
// input entry. Any thread; the inspector's rule holds for it.
std::optional<JobSpec> CheckJob(const JobDescription& description, DatasetInspector* inspector,
                                Problems* problems);

// The part of CheckJob that needs no data, for who hands the job on to a runner that will see it.
// Nothing and no problems: as far as can be told the job is right, but the shapes that its layers
// have depend on files.
std::optional<JobSpec> CheckJobBeforeData(const JobDescription& description, Problems* problems);

// How many of the training samples are set aside for validation.
int64_t ValidationSamples(const TrainingSpec& training, int64_t samples);

// What the model's output says under that loss and target.
Task TaskOf(const TrainingSpec& training, const ModelSpec& model);

// What decides the weights, all defaults spelt out, as "training" of model.json.
Json TrainingToJson(const TrainingSpec& training);

}  // namespace cyxwiz::spec
