// The typed, checked form of a job. The server refuses what does not pass CheckJob; the runner
// builds its modules from the same JobSpec, made by the same function, so what was accepted is what
// runs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/resources.h"
#include "spec/dataset.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

// Numbers of the wire.
enum class JobType { kUnknown, kTraining, kInference, kEvaluation, kPreprocessing };
enum class Device { kAny, kCpu, kCuda, kOpenCl, kMetal, kVulkan };

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

  // The form in which a description travels to the runner; an exact round trip.
  Json ToJson() const;
  static Result<JobDescription> FromJson(const Json& json);
};

using Shape = std::vector<int64_t>;  // of one sample, without the batch dimension; channels first
std::string ToString(const Shape& shape);  // "[1, 28, 28]"

enum class Activation { kNone, kRelu, kSigmoid, kTanh, kGelu, kSoftmax };
enum class Padding { kValid, kSame };

struct DenseOptions {
  int64_t units = 0;
  bool use_bias = true;
};
struct Conv2dOptions {
  int64_t filters = 0;
  int64_t kernel_height = 0, kernel_width = 0;
  int64_t stride_height = 1, stride_width = 1;
  // As PyTorch pads: zeros on both sides. kSame (strides 1 only) keeps height and width and may pad
  // one more at the end.
  Padding padding = Padding::kValid;
  int64_t padding_height = 0, padding_width = 0;  // when given as numbers
  int64_t dilation = 1;
  int64_t groups = 1;
  bool use_bias = true;
};
// kSame, any strides: ceil(size / stride) positions, as Keras; padded values do not count in an
// average. Padding as numbers: as PyTorch, zeros count in an average.
struct Pooling2dOptions {
  int64_t pool_height = 2, pool_width = 2;
  int64_t stride_height = 2, stride_width = 2;  // default: the pool size
  Padding padding = Padding::kValid;
  int64_t padding_height = 0, padding_width = 0;
};
struct MaxPooling2dOptions : Pooling2dOptions {};
struct AveragePooling2dOptions : Pooling2dOptions {};
struct FlattenOptions {};
struct DropoutOptions {
  double rate = 0.5;
};
struct BatchNormalizationOptions {
  double momentum = 0.1;  // PyTorch's meaning: the weight of the new batch
  double epsilon = 1e-5;
};
// Softmax acts on flat samples only, so there is no dimension to choose.
struct ActivationOptions {
  Activation activation = Activation::kRelu;
};

using LayerOptions =
    std::variant<DenseOptions, Conv2dOptions, MaxPooling2dOptions, AveragePooling2dOptions,
                 FlattenOptions, DropoutOptions, BatchNormalizationOptions, ActivationOptions>;

struct LayerSpec {
  // As given, or "<type>_<n>", n from 1 within its type; unique; prefix of its parameters' names.
  std::string name;
  std::string type;  // canonical: "dense"
  LayerOptions options;
  Activation activation = Activation::kNone;  // applied after the layer
  Shape input_shape, output_shape;
  int64_t parameters = 0;  // trainable values
  int64_t flops = 0;       // forward, one sample; a multiply-add counts 2
};

struct ModelSpec {
  Shape input_shape;
  std::vector<LayerSpec> layers;
  Shape output_shape;
  int64_t parameters = 0;
  int64_t flops = 0;
};

enum class Optimizer { kSgd, kAdam, kAdamW };
// kCrossEntropy works on logits, so when the model ends with a softmax, on that softmax's input.
// The output is flat and has at least as many values as there are classes.
//
// kMse compares an output of one value with the label itself, a class number too, and an output of
// as many values as there are classes with the one-hot row of the label.
enum class Loss { kCrossEntropy, kMse };

struct TrainingSpec {
  Optimizer optimizer = Optimizer::kAdam;
  double learning_rate = 1e-3;  // default: 1e-3 for adam and adamw, 1e-2 for sgd
  double momentum = 0;          // sgd
  bool nesterov = false;        // sgd
  double weight_decay = 0;      // default 1e-2 for adamw, as PyTorch
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // adam, adamw
  int64_t batch_size = 32;
  int64_t epochs = 1;
  uint64_t seed = 0;
  Loss loss = Loss::kCrossEntropy;
  double validation_split = 0;  // part of the training samples that is set aside, [0, 1)
  int64_t threads = 0;          // 0: chosen by the runner from the model's size
  // Between two checkpoints; 0: only when the job is asked to yield.
  double checkpoint_seconds = 30;
};

struct Estimate {
  // Peak of the runner: libraries, data, weights, gradients, optimizer, activations.
  int64_t memory_bytes = 0;
  // Whole job: forward and backward over all epochs; 0 when the data is not seen.
  int64_t flops = 0;
  int64_t artifact_bytes = 0;
};

struct JobSpec {
  std::string name;
  JobType type = JobType::kTraining;
  Device device = Device::kAny;
  ModelSpec model;
  TrainingSpec training;
  DatasetUri dataset_uri;
  // Absent when the checking machine cannot see the data; shapes are then inferred from the model's
  // input entry.
  std::optional<DatasetInfo> dataset;
  Resources resources;  // what an attempt needs: as requested, the rest estimated
  Estimate estimate;
};

// Limits on what is accepted at all; each is named in the error that refuses more.
inline constexpr int kModelVersion = 1;  // of the model's JSON form
inline constexpr size_t kMaxModelBytes = 1u << 20;
inline constexpr size_t kMaxLayers = 1000;
inline constexpr int64_t kMaxParameters = 10'000'000'000;
inline constexpr int64_t kMaxEpochs = 1'000'000;
inline constexpr int64_t kMaxBatchSize = 1 << 20;
inline constexpr int64_t kMaxThreads = 256;
inline constexpr double kMaxCheckpointSeconds = 86'400;
// Values of one sample, at the input and after each layer.
inline constexpr int64_t kMaxSampleElements = int64_t{1} << 31;
inline constexpr int64_t kMaxMemoryBytes = int64_t{1} << 50;  // requested or estimated
inline constexpr int64_t kMaxCpuMillis = 1'000'000;
inline constexpr int64_t kMaxGpus = 1;  // a job trains on one device
inline constexpr size_t kMaxNameBytes = 256;

// Whether a text can be a job's name or its user's: at most kMaxNameBytes of UTF-8 without control
// characters.
bool IsName(const std::string& text);
// Adds a problem at `path` when it is none.
void CheckName(const std::string& path, const std::string& text, Problems* problems);

// Checks everything, collecting all problems. The spec is there only when problems stays empty.
// inspector may be null: files are then not looked into, and their shape comes from the model's
// input entry. Any thread; the inspector's rule holds for it.
std::optional<JobSpec> CheckJob(const JobDescription& description, DatasetInspector* inspector,
                                Problems* problems);

// The part of CheckJob that needs no data, for who hands the job on to a runner that will see it.
// Nothing and no problems: as far as can be told the job is right, but the shapes that its layers
// have depend on files.
std::optional<JobSpec> CheckJobBeforeData(const JobDescription& description, Problems* problems);

// The model in its canonical form (types, all options spelt out, shapes), as "model" of model.json.
// It is itself a model_definition, and checking it gives the same ModelSpec.
Json ModelToJson(const ModelSpec& model);

// What decides the weights, all defaults spelt out, as "training" of model.json.
Json TrainingToJson(const TrainingSpec& training);

}  // namespace cyxwiz::spec
