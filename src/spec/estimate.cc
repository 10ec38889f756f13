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
  if (training.optimizer == Optimizer::kSgd) return training.momentum > 0 ? 1 : 0;
  return 2;
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

  Estimate estimate;
  // Weights, gradients and the optimizer's state, and of weights and state the copy that becomes a
  // checkpoint; activations once more for their gradients.
  estimate.memory_bytes = Sum(kRunnerBytes, dataset != nullptr ? dataset->bytes_in_memory : 0,
                              Product(weights, 3 + 2 * OptimizerValues(training)), buffers,
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
