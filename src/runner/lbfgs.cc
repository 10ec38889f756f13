// L-BFGS as torch.optim.LBFGS without line search: Nocedal and Wright, "Numerical Optimization",
// algorithms 7.4 and 7.5. Each step makes up to max_iter iterations on one batch.
#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>

#include "runner/optimizers.h"

namespace cyxwiz::runner {
namespace {

// Below this curvature a pair says nothing of the Hessian.
constexpr double kLeastCurvature = 1e-10;

double Dot(const at::Tensor& a, const at::Tensor& b) { return a.dot(b).item<double>(); }
double Largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

class Lbfgs : public FlatOptimizer {
 public:
  Lbfgs(const spec::TrainingSpec& training, const at::Tensor& parameters,
        const at::Tensor& gradients)
      : FlatOptimizer(training, parameters, gradients),
        direction_(at::zeros_like(parameters)),
        gradient_before_(at::zeros_like(parameters)) {}

  bool searches() const override { return true; }

  bool Search(double learning_rate, const Evaluate& evaluate) override {
    at::NoGradGuard no_grad;
    const int64_t most_evaluations = training_.max_iter * 5 / 4;
    std::optional<double> loss = evaluate();
    if (!loss) return false;
    int64_t evaluations = 1;
    // Not written as > so that a gradient that is not a number ends the step.
    auto flat = [&] { return !(Largest(gradients_) > training_.tolerance_grad); };
    if (flat()) return true;
    const Place before = Copy();
    for (int64_t i = 1; i <= training_.max_iter; ++i) {
      ++iterations_;
      if (iterations_ == 1) {
        direction_.copy_(gradients_).neg_();
        step_length_ = std::min(1.0, 1 / gradients_.abs().sum().item<double>()) * learning_rate;
      } else {
        Remember();
        Direct();
        step_length_ = learning_rate;
      }
      gradient_before_.copy_(gradients_);
      if (Dot(gradients_, direction_) > -training_.tolerance_change) break;
      parameters_.add_(direction_, step_length_);
      if (i == training_.max_iter) break;
      const double loss_before = *loss;
      loss = evaluate();
      if (!loss) {
        GoBack(before);
        return false;
      }
      if (++evaluations >= most_evaluations || flat() ||
          Largest(direction_) * step_length_ <= training_.tolerance_change ||
          std::abs(*loss - loss_before) < training_.tolerance_change) {
        break;
      }
    }
    return true;
  }

  States state() const override {
    States states{{"direction", direction_}, {"gradient_before", gradient_before_}};
    for (size_t i = 0; i < pairs_.size(); ++i) {
      states.emplace_back("gradient_change_" + std::to_string(i), pairs_[i].gradient_change);
      states.emplace_back("move_" + std::to_string(i), pairs_[i].move);
    }
    return states;
  }
  Numbers numbers() const override {
    Numbers numbers{{"iterations", static_cast<double>(iterations_)},
                    {"step_length", step_length_},
                    {"diagonal", diagonal_},
                    {"pairs", static_cast<double>(pairs_.size())}};
    for (size_t i = 0; i < pairs_.size(); ++i) {
      numbers["curvature_" + std::to_string(i)] = pairs_[i].curvature;
    }
    return numbers;
  }
  void Resume(int64_t steps, const Numbers& numbers) override {
    auto number = [&](const std::string& name, double otherwise) {
      auto found = numbers.find(name);
      return steps == 0 || found == numbers.end() ? otherwise : found->second;
    };
    iterations_ = static_cast<int64_t>(number("iterations", 0));
    step_length_ = number("step_length", 0);
    diagonal_ = number("diagonal", 1);
    pairs_.clear();
    const auto pairs = static_cast<int64_t>(number("pairs", 0));
    for (int64_t i = 0; i < std::min(pairs, training_.history_size); ++i) {
      pairs_.push_back({at::zeros_like(parameters_), at::zeros_like(parameters_),
                        number("curvature_" + std::to_string(i), 1)});
    }
  }

 private:
  struct Pair {
    at::Tensor gradient_change, move;
    double curvature = 1;  // their product
  };

  // What a step changes. Pairs are replaced and never written to: they are shared.
  struct Place {
    at::Tensor parameters, direction, gradient_before;
    std::deque<Pair> pairs;
    double diagonal = 1, step_length = 0;
    int64_t iterations = 0;
  };
  Place Copy() const {
    return {parameters_.clone(), direction_.clone(), gradient_before_.clone(), pairs_, diagonal_,
            step_length_,        iterations_};
  }
  void GoBack(const Place& place) {
    parameters_.copy_(place.parameters);
    direction_.copy_(place.direction);
    gradient_before_.copy_(place.gradient_before);
    pairs_ = place.pairs;
    diagonal_ = place.diagonal;
    step_length_ = place.step_length;
    iterations_ = place.iterations;
  }

  // What the last iteration tells of the Hessian.
  void Remember() {
    at::Tensor change = gradients_.sub(gradient_before_), move = direction_.mul(step_length_);
    const double curvature = Dot(change, move);
    if (!(curvature > kLeastCurvature)) return;
    if (static_cast<int64_t>(pairs_.size()) == training_.history_size) pairs_.pop_front();
    diagonal_ = curvature / Dot(change, change);
    pairs_.push_back({std::move(change), std::move(move), curvature});
  }

  // The gradient, turned by the approximate inverse of the Hessian: the two-loop recursion.
  void Direct() {
    direction_.copy_(gradients_).neg_();
    std::vector<double> parts(pairs_.size());
    for (size_t i = pairs_.size(); i-- > 0;) {
      parts[i] = Dot(pairs_[i].move, direction_) / pairs_[i].curvature;
      direction_.add_(pairs_[i].gradient_change, -parts[i]);
    }
    direction_.mul_(diagonal_);
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const double back = Dot(pairs_[i].gradient_change, direction_) / pairs_[i].curvature;
      direction_.add_(pairs_[i].move, parts[i] - back);
    }
  }

  at::Tensor direction_, gradient_before_;
  std::deque<Pair> pairs_;
  double diagonal_ = 1, step_length_ = 0;
  int64_t iterations_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> MakeLbfgs(const spec::TrainingSpec& training,
                                     const at::Tensor& parameters, const at::Tensor& gradients) {
  return std::make_unique<Lbfgs>(training, parameters, gradients);
}

}  // namespace cyxwiz::runner
