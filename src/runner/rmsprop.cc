// RMSprop as torch.optim.RMSprop: Tieleman and Hinton, lecture 6.5 of "Neural Networks for Machine
// Learning", 2012; centred as in Graves, arXiv:1308.0850.
#include "runner/optimizers.h"

namespace cyxwiz::runner {
namespace {

class Rmsprop : public FlatOptimizer {
 public:
  Rmsprop(const spec::TrainingSpec& training, const at::Tensor& parameters,
          const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        square_(at::zeros_like(parameters)),
        divisor_(at::empty_like(parameters)) {
    if (training.centered) mean_ = at::zeros_like(parameters);
    if (training.momentum != 0) momentum_ = at::zeros_like(parameters);
  }

  void Step(double learning_rate) override {
    at::NoGradGuard no_grad;
    AddWeightDecay();
    square_.mul_(training_.alpha).addcmul_(gradients_, gradients_, 1 - training_.alpha);
    if (mean_.defined()) {
      mean_.lerp_(gradients_, 1 - training_.alpha);
      at::addcmul_out(divisor_, square_, mean_, mean_, -1);
      divisor_.sqrt_();
    } else {
      at::sqrt_out(divisor_, square_);
    }
    divisor_.add_(training_.epsilon);
    if (momentum_.defined()) {
      momentum_.mul_(training_.momentum).addcdiv_(gradients_, divisor_);
      parameters_.add_(momentum_, -learning_rate);
    } else {
      parameters_.addcdiv_(gradients_, divisor_, -learning_rate);
    }
  }

  States state() const override {
    States states{{"square", square_}};
    if (mean_.defined()) states.emplace_back("mean", mean_);
    if (momentum_.defined()) states.emplace_back("momentum", momentum_);
    return states;
  }
  void Resume(int64_t, const Numbers&) override {}

 private:
  at::Tensor square_, divisor_, mean_, momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeRmsprop(const spec::TrainingSpec& training,
                                       const at::Tensor& parameters, const at::Tensor& gradients) {
  return std::make_unique<Rmsprop>(training, parameters, gradients);
}

}  // namespace cyxwiz::runner
