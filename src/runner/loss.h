// The losses, with PyTorch's semantics: the mean over samples, and over positions or values where
// an output has several.
#pragma once

#include "data/dataset.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

class LossFunction {
 public:
  // class_weights: one for each class, or undefined: all 1.
  LossFunction(const spec::TrainingSpec& training, at::Tensor class_weights);

  // output: batch x output_shape as the model gives it, logits where logits() says so. y:
  //   cross_entropy   classes: batch, or batch x positions for an output batch x positions x
  //                   classes; or shares of them, batch x classes, where they have no weights
  //   kl              of output's shape, each last dimension a distribution
  //   any other       of output's shape
  // Throws c10::Error.
  at::Tensor operator()(const at::Tensor& output, const at::Tensor& y) const;

  // Whether an activation at the model's end that turns its input into probabilities is left out.
  bool logits() const;
  // What the output predicts in the terms of y: probabilities, of logits.
  at::Tensor PredictionOf(const at::Tensor& output) const;
  // Undefined: all 1.
  const at::Tensor& class_weights() const { return class_weights_; }
  // What the sum over a batch with these labels is divided by, where classes have weights.
  double DivisorOf(const int64_t* classes, int64_t count) const;
  bool weighs_classes() const { return class_weights_.defined(); }
  // Whether it is what DenseNetwork computes.
  bool plain() const;

 private:
  // output: n x classes; y: n.
  at::Tensor CrossEntropy(const at::Tensor& output, const at::Tensor& y) const;

  spec::Loss loss_;
  double label_smoothing_, huber_delta_;
  at::Tensor class_weights_;
};

// The weights that the training gives to the classes, on that device; undefined when it gives none.
// Balanced ones are samples / (classes x samples of the class), 0 for a class without samples, over
// those samples of the split that are trained on.
at::Tensor ClassWeights(const spec::TrainingSpec& training, const data::Split& split,
                        const std::vector<int64_t>& trained, int64_t classes, at::Device device);

}  // namespace cyxwiz::runner
