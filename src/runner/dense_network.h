// Gradients of a plain stack of dense layers, computed without autograd.
//
// A small dense model spends a third of its time in building and walking the graph of autograd, in
// zeroing gradients and in adding to them (measured: 784-128-10, batch 32). Here each product is
// written where it belongs, into memory that was allocated once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "runner/module.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// Shares the tensors of a Model, which must outlive it. One thread.
class DenseNetwork {
 public:
  // nullptr when the model is anything but flatten, dense and relu (and with logits, a softmax at
  // the end), or lies on a GPU: then autograd does it. most: samples of the largest batch.
  static std::unique_ptr<DenseNetwork> TryMake(Model* model, spec::Loss loss, int64_t most);

  // Sets the model's gradients to those of the mean loss over the batch, and returns that loss. x:
  // batch x input_shape, contiguous; y: as the loss takes it. Throws c10::Error.
  double ComputeGradients(const at::Tensor& x, const at::Tensor& y) {
    const double loss = Forward(x, y);
    Backward(1, nullptr);
    return loss;
  }
  // The same in two parts: the loss, and the gradients of `scale` times that. ready, where there is
  // one, is told where in Model::gradients() those of a tensor begin, once they are there.
  double Forward(const at::Tensor& x, const at::Tensor& y);
  void Backward(double scale, const std::function<void(int64_t offset)>& ready);
  // The model's output of that batch, logits for cross_entropy; overwritten by the next.
  const at::Tensor& output() const { return parts_.back().output; }

 private:
  struct Part {
    at::Tensor weight, bias;  // detached: no graph is made of what is done to them
    at::Tensor weight_gradient, bias_gradient;
    bool relu = false;
    at::Tensor all_output, all_gradient;  // for the largest batch
    at::Tensor output,
        gradient;  // for the present one; gradient of the loss by the sum before the ReLU
  };
  DenseNetwork() = default;
  void SetBatch(int64_t count);
  double LossAndGradient(const at::Tensor& y);

  std::vector<Part> parts_;
  spec::Loss loss_ = spec::Loss::kCrossEntropy;
  at::Tensor all_log_softmax_, log_softmax_, input_;
  int64_t count_ = 0;
};

}  // namespace cyxwiz::runner
