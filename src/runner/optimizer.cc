#include "runner/optimizer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "runner/optimizers.h"

namespace cyxwiz::runner {
namespace {

#if CYXWIZ_FUSED_OPTIMIZERS
class FusedAdam : public FlatOptimizer {
 public:
  FusedAdam(const spec::TrainingSpec& training, const at::Tensor& parameters,
            const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        mean_{at::zeros_like(parameters)},
        square_{at::zeros_like(parameters)},
        step_{at::zeros({}, parameters.options())},
        parameter_list_{parameters},
        gradient_list_{gradients} {}

  void Step(double learning_rate) override {
    // A float counts to 2^24 and stays there.
    step_[0].add_(1);
    const auto& t = training_;
    auto update = [&](auto&& kernel) {
      kernel(parameter_list_, gradient_list_, mean_, square_, at::TensorList(), step_,
             learning_rate, t.beta1, t.beta2, t.weight_decay, t.epsilon, /*amsgrad=*/false,
             /*maximize=*/false);
    };
    if (t.optimizer == spec::Optimizer::kAdamW) {
      update([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
      update([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
  }

  States state() const override { return {{"mean", mean_[0]}, {"square", square_[0]}}; }
  void Resume(int64_t steps, const Numbers&) override {
    step_[0].fill_(static_cast<double>(std::min(steps, int64_t{1} << 24)));
  }

 private:
  std::vector<at::Tensor> mean_, square_, step_, parameter_list_, gradient_list_;
};

class FusedSgd : public FlatOptimizer {
 public:
  FusedSgd(const spec::TrainingSpec& training, const at::Tensor& parameters,
           const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        parameter_list_{parameters},
        gradient_list_{gradients} {
    if (training.momentum != 0) momentum_ = {at::zeros_like(parameters)};
  }

  void Step(double learning_rate) override {
    at::_fused_sgd_(parameter_list_, gradient_list_, momentum_, training_.weight_decay,
                    training_.momentum, learning_rate, /*dampening=*/0, training_.nesterov,
                    /*maximize=*/false, first_);
    first_ = false;
  }

  States state() const override {
    if (momentum_.empty()) return {};
    return {{"momentum", momentum_[0]}};
  }
  void Resume(int64_t steps, const Numbers&) override { first_ = steps == 0; }

 private:
  std::vector<at::Tensor> momentum_, parameter_list_, gradient_list_;
  bool first_ = true;
};
#endif

// As torch.optim.Adam and AdamW without amsgrad.
class PlainAdam : public FlatOptimizer {
 public:
  PlainAdam(const spec::TrainingSpec& training, const at::Tensor& parameters,
            const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        mean_(at::zeros_like(parameters)),
        square_(at::zeros_like(parameters)),
        divisor_(at::empty_like(parameters)) {}

  void Step(double learning_rate) override {
    at::NoGradGuard no_grad;
    const auto& t = training_;
    ++step_;
    if (t.weight_decay != 0) {
      if (t.optimizer == spec::Optimizer::kAdamW) {
        parameters_.mul_(1 - learning_rate * t.weight_decay);
      } else {
        AddWeightDecay();
      }
    }
    mean_.lerp_(gradients_, 1 - t.beta1);
    square_.mul_(t.beta2).addcmul_(gradients_, gradients_, 1 - t.beta2);
    at::sqrt_out(divisor_, square_);
    divisor_.div_(std::sqrt(1 - std::pow(t.beta2, step_))).add_(t.epsilon);
    parameters_.addcdiv_(mean_, divisor_, -learning_rate / (1 - std::pow(t.beta1, step_)));
  }

  States state() const override { return {{"mean", mean_}, {"square", square_}}; }
  void Resume(int64_t steps, const Numbers&) override { step_ = static_cast<double>(steps); }

 private:
  at::Tensor mean_, square_, divisor_;
  double step_ = 0;
};

// As torch.optim.SGD without dampening.
class PlainSgd : public FlatOptimizer {
 public:
  PlainSgd(const spec::TrainingSpec& training, const at::Tensor& parameters,
           const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients) {
    if (training.momentum != 0) momentum_ = at::zeros_like(parameters);
  }

  void Step(double learning_rate) override {
    at::NoGradGuard no_grad;
    const auto& t = training_;
    AddWeightDecay();
    if (t.momentum != 0) {
      if (std::exchange(first_, false)) {
        momentum_.copy_(gradients_);
      } else {
        momentum_.mul_(t.momentum).add_(gradients_);
      }
      if (t.nesterov) {
        gradients_.add_(momentum_, t.momentum);
      } else {
        parameters_.add_(momentum_, -learning_rate);
        return;
      }
    }
    parameters_.add_(gradients_, -learning_rate);
  }

  States state() const override {
    if (!momentum_.defined()) return {};
    return {{"momentum", momentum_}};
  }
  void Resume(int64_t steps, const Numbers&) override { first_ = steps == 0; }

 private:
  at::Tensor momentum_;
  bool first_ = true;
};

}  // namespace

void Optimizer::Step(double) { throw std::logic_error("this optimizer searches"); }
bool Optimizer::Search(double, const Evaluate&) {
  throw std::logic_error("this optimizer does not search");
}

std::unique_ptr<Optimizer> MakeOptimizer(const spec::TrainingSpec& training,
                                         const at::Tensor& parameters, const at::Tensor& gradients,
                                         const PartsOf& parts_of, bool fused) {
  switch (training.optimizer) {
    case spec::Optimizer::kSgd:
#if CYXWIZ_FUSED_OPTIMIZERS
      if (fused) return std::make_unique<FusedSgd>(training, parameters, gradients);
#endif
      return std::make_unique<PlainSgd>(training, parameters, gradients);
    case spec::Optimizer::kAdam:
    case spec::Optimizer::kAdamW:
#if CYXWIZ_FUSED_OPTIMIZERS
      if (fused) return std::make_unique<FusedAdam>(training, parameters, gradients);
#endif
      return std::make_unique<PlainAdam>(training, parameters, gradients);
    case spec::Optimizer::kRmsprop:
      return MakeRmsprop(training, parameters, gradients);
    case spec::Optimizer::kAdagrad:
      return MakeAdagrad(training, parameters, gradients);
    case spec::Optimizer::kLbfgs:
      return MakeLbfgs(training, parameters, gradients);
    case spec::Optimizer::kLion:
      return MakeLion(training, parameters, gradients);
    case spec::Optimizer::kMuon:
      return MakeMuon(training, parameters, gradients, parts_of);
  }
  (void)fused;
  throw std::logic_error("no such optimizer");
}

}  // namespace cyxwiz::runner
