// What a pass of training changes besides gradients, to go back to.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runner/trainer.h"

namespace cyxwiz::runner {

// Of a trainer that outlives it.
class Trainer::Before {
 public:
  explicit Before(Trainer& trainer) : generators_(trainer.Generators()) {
    for (const auto& [name, tensor] : trainer.model_->state()) {
      if (!tensor.requires_grad()) buffers_.emplace_back(tensor, tensor.clone());
    }
    for (const auto& [name, generator] : generators_) random_.push_back(generator.get_state());
  }
  void GoBack() {
    at::NoGradGuard no_grad;
    for (auto& [buffer, held] : buffers_) buffer.copy_(held);
    for (size_t i = 0; i < random_.size(); ++i) generators_[i].second.set_state(random_[i]);
  }

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> buffers_;  // and what they held
  std::vector<std::pair<std::string, at::Generator>> generators_;
  std::vector<at::Tensor> random_;
};

}  // namespace cyxwiz::runner
