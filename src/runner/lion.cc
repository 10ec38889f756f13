// Lion: Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675,
// algorithm 2.
#include "runner/optimizers.h"

namespace cyxwiz::runner {
namespace {

class Lion : public FlatOptimizer {
 public:
  Lion(const spec::TrainingSpec& training, const at::Tensor& parameters,
       const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        mean_(at::zeros_like(parameters)),
        update_(at::empty_like(parameters)) {}

  void Step(double learning_rate) override {
    at::NoGradGuard no_grad;
    if (training_.weight_decay != 0) {
      parameters_.mul_(1 - learning_rate * training_.weight_decay);
    }
    at::lerp_out(update_, mean_, gradients_, 1 - training_.beta1);
    parameters_.add_(update_.sign_(), -learning_rate);
    mean_.lerp_(gradients_, 1 - training_.beta2);
  }

  States state() const override { return {{"mean", mean_}}; }
  void Resume(int64_t, const Numbers&) override {}

 private:
  at::Tensor mean_, update_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeLion(const spec::TrainingSpec& training,
                                    const at::Tensor& parameters, const at::Tensor& gradients) {
  return std::make_unique<Lion>(training, parameters, gradients);
}

}  // namespace cyxwiz::runner
