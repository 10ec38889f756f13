#include "spec/estimate.h"

#include <cmath>

#include "spec/count.h"
#include "spec/layers.h"

namespace cyxwiz::spec {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kFloat = 4;
// A runner that has loaded libtorch (2.15, CPU) and trained a small model: 150 to 250 MiB resident;
// more with the threads and caches of its kernels.
constexpr int64_t kRunnerBytes = 300 * kMiB;
// safetensors header and model.json, a layer.
constexpr int64_t kHeaderBytesPerLayer = 512;

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
    case Optimizer::kLbfgs:
      return 2;
  }
  return 0;
}

}  // namespace

Estimate EstimateJob(const ModelSpec& model, const TrainingSpec& training,
                     const DatasetInfo* dataset) {
  int64_t activations = Product(kFloat, ElementCount(model.input_shape));
  int64_t buffers = 0;
  for (const LayerSpec& layer : model.layers) {
    activations = Sum(activations, CostOf(layer).activation_bytes);
    buffers = Sum(buffers, BufferBytesOf(layer));
  }
  const int64_t weights = Product(kFloat, model.parameters);

  // What goes into a checkpoint, so that there is a copy of it: weights, the optimizer's state,
  // averaged weights, those of the best epoch, gradients that wait for the next batch.
  const int64_t average = training.ema_decay > 0 ? 1 : 0;
  const int64_t kept = 1 + OptimizerValues(training) + average +
                       (training.keep == Keep::kBest ? 1 : 0) + (training.accumulation > 1 ? 1 : 0);
  // Beside it: gradients, where they are not in it, what a step needs, and the weights that wait
  // while the averaged ones are evaluated, weights and gradients in bfloat16.
  const int64_t beside = (training.accumulation > 1 ? 0 : 1) + ScratchValues(training) + average +
                         (training.precision == Precision::kBfloat16 ? 1 : 0);

  Estimate estimate;
  // Activations once more for their gradients.
  estimate.memory_bytes = Sum(kRunnerBytes, dataset != nullptr ? dataset->bytes_in_memory : 0,
                              Product(weights, 2 * kept + beside), buffers,
                              Product(2, activations, training.batch_size));
  estimate.artifact_bytes = Sum(
      weights, buffers, Product(kHeaderBytesPerLayer, static_cast<int64_t>(model.layers.size())));
  if (dataset != nullptr) {
    int64_t validation =
        std::llround(static_cast<double>(dataset->train_samples) * training.validation_split);
    // A backward pass is two forward passes' work.
    int64_t samples =
        Sum(Product(3, dataset->train_samples - validation), validation, dataset->test_samples);
    estimate.flops = Product(model.flops, samples, training.epochs);
  }
  return estimate;
}

}  // namespace cyxwiz::spec
