// What the layers do: one entry a layer, the counterpart of spec/layers.h. The names and shapes of
// a layer's tensors, and the values they begin with, are the specification's; here they are used.
#pragma once

#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runner/torch_headers.h"
#include "spec/model_spec.h"

namespace cyxwiz::runner {

// A layer's tensors by their names in spec::TensorSpec, trainable ones and others.
class LayerTensors {
 public:
  void Add(std::string name, at::Tensor tensor) {
    tensors_.emplace_back(std::move(name), std::move(tensor));
  }
  // An undefined one when the layer has none of that name: no bias.
  at::Tensor operator()(std::string_view name) const {
    for (const auto& [own, tensor] : tensors_) {
      if (own == name) return tensor;
    }
    return {};
  }
  // In the order of the specification.
  std::vector<at::Tensor> all() const {
    std::vector<at::Tensor> all;
    for (const auto& [name, tensor] : tensors_) all.push_back(tensor);
    return all;
  }

 private:
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
};

using Inputs = std::span<const at::Tensor>;
// inputs: batch x each of the layer's input shapes. Result: batch x its output shape. training
// switches dropout and batch statistics on. Throws c10::Error and BadInputError.
using Operation = std::function<at::Tensor(Inputs inputs, bool training)>;

// A sample that a layer cannot take.
class BadInputError : public std::runtime_error {
 public:
  BadInputError(const std::string& what, int64_t sample)
      : std::runtime_error(what), sample_(sample) {}
  int64_t sample() const { return sample_; }  // place in the batch

 private:
  int64_t sample_;
};

struct OperationKind {
  std::string_view type;  // of LayerSpec
  Operation (*make)(const spec::LayerSpec& layer, const LayerTensors& tensors);
  // Its result shares memory with nothing, and its gradient does not need the result: a ReLU may
  // overwrite it.
  bool fresh = false;
};

// All families together.
const std::vector<OperationKind>& OperationKinds();
// There is one for every layer that a checked model may have.
const OperationKind& FindOperationKind(std::string_view type);

std::vector<OperationKind> BasicOperations();
std::vector<OperationKind> ConvolutionOperations();
std::vector<OperationKind> PoolingOperations();
std::vector<OperationKind> NormalizationOperations();
std::vector<OperationKind> SequenceOperations();
std::vector<OperationKind> ShapeOperations();
std::vector<OperationKind> ActivationOperations();

at::Tensor Activate(const spec::ActivationOptions& activation, const at::Tensor& x);
// With PyTorch's defaults.
at::Tensor Activate(spec::Activation activation, const at::Tensor& x);

template <typename Options>
const Options& OptionsOf(const spec::LayerSpec& layer) {
  return std::get<Options>(layer.options);
}

}  // namespace cyxwiz::runner
