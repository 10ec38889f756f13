#include "spec/estimate.h"

#include <algorithm>

#include "spec/count.h"
#include "spec/layers.h"

namespace cyxwiz::spec {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kFloat = 4;
// A runner that has loaded libtorch (2.15, CPU) and trained a small model: 126 MiB resident, and
// some more with each kind of kernel. With CUDA not measured.
constexpr int64_t kRunnerBytes = 144 * kMiB;
constexpr int64_t kGpuRunnerBytes = 300 * kMiB;
// safetensors header and model.json, a layer.
constexpr int64_t kHeaderBytesPerLayer = 512;

// Of a batch of forward passes: at most this many samples, and bytes of all that layers make of
// them.
constexpr int64_t kMostForwardSamples = 1024;
constexpr int64_t kMostForwardBytes = 32 * kMiB;
// evaluation.json and its confusion matrix, a count.
constexpr int64_t kEvaluationBytes = 64 << 10, kCountBytes = 12;
// Of a prediction in text, a value, and what stands before it in a row.
constexpr int64_t kTextValueBytes = 16, kTextRowBytes = 64;
// Asked for beyond the estimate, besides an eighth of it: of what does not grow with the job.
constexpr int64_t kSpareBytes = 32 * kMiB;

// Values that the optimizer keeps for each parameter.
int64_t OptimizerValues(const TrainingSpec& training) {
  const int64_t momentum = training.momentum > 0 ? 1 : 0;
  switch (training.optimizer) {
    case Optimizer::kSgd:
      return momentum;
    case Optimizer::kAdam:
    case Optimizer::kAdamW:
    case Optimizer::kMuon:
      return 2;
    case Optimizer::kRmsprop:
      return 1 + momentum + (training.centered ? 1 : 0);
    case Optimizer::kAdagrad:
    case Optimizer::kLion:
      return 1;
    case Optimizer::kLbfgs:
      return 2 + 2 * training.history_size;
  }
  return 2;
}

// Values it needs for each parameter while it makes a step.
int64_t ScratchValues(const TrainingSpec& training) {
  switch (training.optimizer) {
    case Optimizer::kSgd:
    case Optimizer::kAdam:
    case Optimizer::kAdamW:
      return 0;
    case Optimizer::kRmsprop:
    case Optimizer::kAdagrad:
    case Optimizer::kLion:
      return 1;
    case Optimizer::kMuon:
      return 2;
    case Optimizer::kLbfgs:
      return 5;  // three of them to go back to
  }
  return 0;
}

int64_t RunnerBytes(const DatasetInfo* dataset, bool gpu) {
  const int64_t data = dataset == nullptr ? 0
                       : dataset->streams ? dataset->bytes_streamed
                                          : dataset->bytes_in_memory;
  return Sum(gpu ? kGpuRunnerBytes : kRunnerBytes, data);
}

// ends: it is the last one of a model of classes.
bool IsOfDenseStack(const LayerSpec& layer, bool ends) {
  auto fits = [ends](Activation activation) {
    return activation == Activation::kNone || activation == Activation::kRelu ||
           (ends && activation == Activation::kSoftmax);
  };
  if (!fits(layer.activation)) return false;
  if (const auto* alone = std::get_if<ActivationOptions>(&layer.options))
    return fits(alone->activation);
  return std::holds_alternative<FlattenOptions>(layer.options) ||
         (std::holds_alternative<DenseOptions>(layer.options) && layer.input_shapes[0].size() == 1);
}

// Whether the runner computes the gradients without autograd, in memory for all of them at once
// (runner/dense_network.h).
bool IsDenseStack(const ModelSpec& model, const TrainingSpec& training, bool gpu) {
  const bool classes = training.loss == Loss::kCrossEntropy;
  const bool plain = classes ? training.label_smoothing == 0 && training.class_weights.empty() &&
                                   !training.balanced_class_weights
                             : training.loss == Loss::kMse;
  if (!plain || gpu || training.accumulation > 1 || training.precision != Precision::kFloat32)
    return false;
  int before = kModelInput;
  for (const LayerSpec& layer : model.layers) {
    const bool ends = classes && &layer == &model.layers.back();
    if (layer.inputs != std::vector<int>{before++} || !IsOfDenseStack(layer, ends)) return false;
  }
  return true;
}

// Of the loss and the metrics, one sample.
struct LossBytes {
  int64_t forward = 0;   // while an evaluation computes them
  int64_t backward = 0;  // of a training, until the model's output has its gradient
};

LossBytes MeasureLoss(const ModelSpec& model, const TrainingSpec& training, bool gpu) {
  const int64_t outputs = Product(kFloat, ElementCount(model.output_shape));
  const bool logarithms = training.loss == Loss::kCrossEntropy || training.loss == Loss::kKl ||
                          training.loss == Loss::kBinaryCrossEntropy;
  // Logarithms of probabilities, their gradients, and those of the outputs; or differences.
  LossBytes bytes{outputs, Product(logarithms ? 3 : 1, outputs)};
  if (IsDenseStack(model, training, gpu)) {
    bytes.backward = outputs;
    for (const LayerSpec& layer : model.layers) {
      if (!std::holds_alternative<DenseOptions>(layer.options)) continue;
      bytes.backward = Sum(bytes.backward, Product(kFloat, ElementCount(layer.output_shape)));
    }
  }
  const bool predicts =
      std::any_of(training.metrics.begin(), training.metrics.end(),
                  [](const Metric& metric) { return metric.kind != Metric::Kind::kAccuracy; });
  if (predicts) bytes.forward = Product(2, outputs);
  return bytes;
}

struct LayerBytes {
  int64_t activations = 0;  // kept of the layers, one sample
  int64_t backward = 0;     // the most that they and gradients on their way back take, one sample
  int64_t buffers = 0;      // saved but not trained
};

LayerBytes MeasureLayers(const ModelSpec& model) {
  LayerBytes bytes;
  bytes.activations = Product(kFloat, ElementCount(model.input_shape));
  for (const LayerSpec& layer : model.layers) {
    const LayerCost cost = CostOf(layer);
    bytes.activations = Sum(bytes.activations, cost.activation_bytes);
    // What comes after it has been given back by then; the data get no gradient.
    int64_t gradients = Product(kFloat, ElementCount(layer.output_shape));
    for (size_t i = 0; i < layer.inputs.size(); ++i) {
      if (layer.inputs[i] != kModelInput)
        gradients = Sum(gradients, Product(kFloat, ElementCount(layer.input_shapes[i])));
    }
    bytes.backward =
        std::max(bytes.backward, Sum(bytes.activations, gradients, cost.backward_bytes));
    bytes.buffers = Sum(bytes.buffers, BufferBytesOf(layer));
  }
  return bytes;
}

}  // namespace

Estimate EstimateJob(const ModelSpec& model, const TrainingSpec& training,
                     const DatasetInfo* dataset, bool gpu) {
  const auto [activations, backward, buffers] = MeasureLayers(model);
  const LossBytes loss = MeasureLoss(model, training, gpu);
  const int64_t weights = Product(kFloat, model.parameters);

  // What goes into a checkpoint, so that there is a copy of it: weights, the optimizer's state,
  // averaged weights, those of the best epoch, gradients that wait for the next batch.
  const int64_t average = training.ema_decay > 0 ? 1 : 0;
  const int64_t kept = 1 + OptimizerValues(training) + average +
                       (training.keep == Keep::kBest ? 1 : 0) + (training.accumulation > 1 ? 1 : 0);
  // Beside it: gradients, where they are not in it, what a step needs, and the weights that wait
  // while the averaged ones are evaluated, weights and gradients in bfloat16.
  const int64_t beside = (training.accumulation > 1 ? 0 : 1) + ScratchValues(training) + average +
                         (training.precision == Precision::kFloat32 ? 0 : 1);

  Estimate estimate;
  // At least a quarter more than the activations, for memory of the kernels and what the allocator
  // cannot give out again (measured: 0.1 to 0.5 more). Evaluations have batches of their own.
  int64_t batch = training.batch_size, evaluated = kMostForwardSamples;
  if (dataset != nullptr) {
    const int64_t validation = ValidationSamples(training, dataset->train_samples);
    batch = std::min(batch, dataset->train_samples - validation);
    evaluated = std::max(validation, dataset->test_samples);
  }
  const int64_t training_bytes = Product(
      std::max({Sum(activations, activations / 4), backward, Sum(activations, loss.backward)}),
      batch);
  const int64_t forward_bytes =
      Product(Sum(activations, loss.forward),
              std::min(evaluated, ForwardBatch(model, training.batch_size)));
  estimate.memory_bytes = Sum(RunnerBytes(dataset, gpu), Product(weights, 2 * kept + beside),
                              buffers, std::max(training_bytes, forward_bytes));
  estimate.artifact_bytes = Sum(
      weights, buffers, Product(kHeaderBytesPerLayer, static_cast<int64_t>(model.layers.size())));
  if (dataset != nullptr) {
    const int64_t validation = ValidationSamples(training, dataset->train_samples);
    // A backward pass is two forward passes' work.
    int64_t samples =
        Sum(Product(3, dataset->train_samples - validation), validation, dataset->test_samples);
    estimate.flops = Product(model.flops, samples, training.epochs);
  }
  return estimate;
}

Estimate EstimateUse(JobType type, PredictionFormat output, const ModelSpec& model,
                     const TrainingSpec& training, const DatasetInfo* dataset, bool gpu) {
  const LayerBytes layers = MeasureLayers(model);
  const int64_t weights = Product(kFloat, model.parameters);
  Estimate estimate;
  // The model keeps room for gradients; the file of its weights is read whole.
  estimate.memory_bytes =
      Sum(RunnerBytes(dataset, gpu), Product(3, weights), Product(2, layers.buffers),
          Product(Sum(layers.activations, MeasureLoss(model, training, gpu).forward),
                  ForwardBatch(model, training.batch_size)));
  const int64_t values = ElementCount(model.output_shape);
  if (type == JobType::kEvaluation) {
    const bool counts = std::any_of(
        training.metrics.begin(), training.metrics.end(),
        [](const Metric& metric) { return metric.kind == Metric::Kind::kConfusionMatrix; });
    estimate.artifact_bytes =
        Sum(kEvaluationBytes, counts ? Product(kCountBytes, values, values) : 0);
  }
  if (dataset == nullptr) return estimate;
  const int64_t samples =
      dataset->test_samples > 0 ? dataset->test_samples : dataset->train_samples;
  estimate.flops = Product(model.flops, samples);
  if (type == JobType::kInference) {
    const int64_t rows = Product(samples, values / model.output_shape.back());
    estimate.artifact_bytes =
        output == PredictionFormat::kNpy
            ? Product(kFloat, samples, values)
            : Sum(Product(kTextValueBytes, samples, values), Product(kTextRowBytes, rows));
  }
  return estimate;
}

Estimate EstimatePreprocessing(const DatasetInfo* dataset) {
  Estimate estimate;
  const int64_t bytes = dataset != nullptr ? dataset->bytes_in_memory : 0;
  // A part is moved while the test part is set aside.
  estimate.memory_bytes = Sum(kRunnerBytes, Product(2, bytes));
  estimate.artifact_bytes = Sum(bytes, kHeaderBytesPerLayer);
  return estimate;
}

int64_t MemoryToAskFor(const Estimate& estimate) {
  const int64_t bytes = Sum(estimate.memory_bytes, estimate.memory_bytes / 8, kSpareBytes);
  return (std::min(bytes, kMaxMemoryBytes) + kMiB - 1) / kMiB * kMiB;
}

int64_t ForwardBatch(const ModelSpec& model, int64_t batch_size) {
  return std::clamp(kMostForwardBytes / MeasureLayers(model).activations,
                    std::min<int64_t>(batch_size, 64), kMostForwardSamples);
}

}  // namespace cyxwiz::spec
