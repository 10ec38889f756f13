// Muon as torch.optim.Muon: Jordan et al., "Muon: An optimizer for hidden layers in neural
// networks", 2024 (kellerjordan.github.io/posts/muon), for weights of two dimensions; AdamW for all
// others. The step's scale for a weight's shape: "original" as there, "match_rms_adamw" as in Liu
// et al., "Muon is Scalable for LLM Training", arXiv:2502.16982.
#include <algorithm>
#include <cmath>
#include <limits>

#include "runner/optimizers.h"

namespace cyxwiz::runner {
namespace {

// Of the quintic whose iteration drives singular values towards 1.
constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr double kLeastNorm = 1e-7;

// Near the orthogonal matrix nearest to `matrix`: X <- aX + (bS + cS^2)X with S = XX', in bfloat16
// as PyTorch does, on the side where S is the smaller.
at::Tensor Orthogonalized(const at::Tensor& matrix, int64_t iterations) {
  const bool tall = matrix.size(0) > matrix.size(1);
  at::Tensor x = matrix.to(at::kBFloat16);
  if (tall) x = x.t();
  x = x.div(x.norm().clamp_min(kLeastNorm));
  for (int64_t i = 0; i < iterations; ++i) {
    at::Tensor s = x.mm(x.t());
    x = at::addmm(x, at::addmm(s, s, s, kB, kC), x, kA);
  }
  return tall ? x.t() : x;
}

// libtorch throws at a factor beyond float32; that the weights are then infinite is found later.
double Finite(double factor) { return std::min<double>(factor, std::numeric_limits<float>::max()); }

class Muon : public FlatOptimizer {
 public:
  Muon(const spec::TrainingSpec& training, const at::Tensor& parameters,
       const at::Tensor& gradients, const PartsOf& parts_of)
      : FlatOptimizer(training, parameters, gradients),
        mean_(at::zeros_like(parameters)),
        square_(at::zeros_like(parameters)) {
    auto weights = parts_of(parameters_), slopes = parts_of(gradients_);
    auto means = parts_of(mean_), squares = parts_of(square_);
    for (size_t i = 0; i < weights.size(); ++i) {
      Part part{weights[i].second.detach(), slopes[i].second, means[i].second, squares[i].second};
      (part.values.dim() == 2 ? matrices_ : others_).push_back(part);
    }
  }

  void Step(double learning_rate) override {
    at::NoGradGuard no_grad;
    ++steps_;
    for (Part& part : matrices_) StepMatrix(part, learning_rate);
    for (Part& part : others_) StepOther(part, learning_rate);
  }

  States state() const override { return {{"mean", mean_}, {"square", square_}}; }
  void Resume(int64_t steps, const Numbers&) override { steps_ = static_cast<double>(steps); }

 private:
  struct Part {
    at::Tensor values, gradient, mean, square;
  };

  double ScaleOf(const at::Tensor& matrix) const {
    const double rows = static_cast<double>(matrix.size(0));
    const double columns = static_cast<double>(matrix.size(1));
    return training_.muon_scale == spec::MuonScale::kOriginal
               ? std::sqrt(std::max(1.0, rows / columns))
               : 0.2 * std::sqrt(std::max(rows, columns));
  }

  void StepMatrix(Part& part, double learning_rate) {
    const auto& t = training_;
    part.mean.lerp_(part.gradient, 1 - t.momentum);
    at::Tensor update = Orthogonalized(
        t.nesterov ? part.gradient.lerp(part.mean, t.momentum) : part.mean, t.ns_steps);
    part.values.mul_(1 - learning_rate * t.weight_decay);
    part.values.add_(update, -Finite(learning_rate * ScaleOf(part.values)));
  }

  void StepOther(Part& part, double learning_rate) {
    const auto& t = training_;
    part.values.mul_(1 - learning_rate * t.weight_decay);
    part.mean.lerp_(part.gradient, 1 - t.beta1);
    part.square.mul_(t.beta2).addcmul_(part.gradient, part.gradient, 1 - t.beta2);
    at::Tensor divisor =
        part.square.sqrt().div_(std::sqrt(1 - std::pow(t.beta2, steps_))).add_(t.epsilon);
    part.values.addcdiv_(part.mean, divisor,
                         -Finite(learning_rate / (1 - std::pow(t.beta1, steps_))));
  }

  at::Tensor mean_, square_;
  std::vector<Part> matrices_, others_;
  double steps_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> MakeMuon(const spec::TrainingSpec& training,
                                    const at::Tensor& parameters, const at::Tensor& gradients,
                                    const PartsOf& parts_of) {
  return std::make_unique<Muon>(training, parameters, gradients, parts_of);
}

}  // namespace cyxwiz::runner
