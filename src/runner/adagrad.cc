// Adagrad as torch.optim.Adagrad: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online
// Learning and Stochastic Optimization", JMLR 12 (2011).
#include "runner/optimizers.h"

namespace cyxwiz::runner {
namespace {

class Adagrad : public FlatOptimizer {
 public:
  Adagrad(const spec::TrainingSpec& training, const at::Tensor& parameters,
          const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        sum_(at::full_like(parameters, training.initial_accumulator)),
        divisor_(at::empty_like(parameters)) {}

  void Step(double learning_rate) override {
    at::NoGradGuard no_grad;
    AddWeightDecay();
    const double rate = learning_rate / (1 + static_cast<double>(steps_) * training_.lr_decay);
    ++steps_;
    sum_.addcmul_(gradients_, gradients_);
    at::sqrt_out(divisor_, sum_);
    divisor_.add_(training_.epsilon);
    parameters_.addcdiv_(gradients_, divisor_, -rate);
  }

  States state() const override { return {{"sum", sum_}}; }
  void Resume(int64_t steps, const Numbers&) override { steps_ = steps; }

 private:
  at::Tensor sum_, divisor_;
  int64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdagrad(const spec::TrainingSpec& training,
                                       const at::Tensor& parameters, const at::Tensor& gradients) {
  return std::make_unique<Adagrad>(training, parameters, gradients);
}

}  // namespace cyxwiz::runner
