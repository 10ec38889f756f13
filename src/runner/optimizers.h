// The optimizers by family, each in a file of its own; MakeOptimizer chooses.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runner/optimizer.h"

namespace cyxwiz::runner {

// What every optimizer has.
class FlatOptimizer : public Optimizer {
 public:
  FlatOptimizer(const spec::TrainingSpec& training, const at::Tensor& parameters,
                const at::Tensor& gradients)
      : training_(training), parameters_(parameters), gradients_(gradients) {}

 protected:
  using States = std::vector<std::pair<std::string, at::Tensor>>;
  using Numbers = std::map<std::string, double>;

  // As PyTorch couples it: into the gradients.
  void AddWeightDecay() {
    if (training_.weight_decay != 0) gradients_.add_(parameters_, training_.weight_decay);
  }

  const spec::TrainingSpec training_;
  at::Tensor parameters_, gradients_;
};

std::unique_ptr<Optimizer> MakeRmsprop(const spec::TrainingSpec& training,
                                       const at::Tensor& parameters, const at::Tensor& gradients);
std::unique_ptr<Optimizer> MakeAdagrad(const spec::TrainingSpec& training,
                                       const at::Tensor& parameters, const at::Tensor& gradients);
std::unique_ptr<Optimizer> MakeLion(const spec::TrainingSpec& training,
                                    const at::Tensor& parameters, const at::Tensor& gradients);
std::unique_ptr<Optimizer> MakeMuon(const spec::TrainingSpec& training,
                                    const at::Tensor& parameters, const at::Tensor& gradients,
                                    const PartsOf& parts_of);
std::unique_ptr<Optimizer> MakeLbfgs(const spec::TrainingSpec& training,
                                     const at::Tensor& parameters, const at::Tensor& gradients);

}  // namespace cyxwiz::runner
