#include "runner/sharded_optimizer.h"

#include <algorithm>

namespace cyxwiz::runner {
namespace {

constexpr int64_t kAlignment = 16;  // floats: a cache line, so that no two ranks write to one

int64_t PartSize(int64_t values, int64_t ranks) {
  return ((values + ranks - 1) / ranks + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(const spec::TrainingSpec& training, const at::Tensor& parameters,
                                   const at::Tensor& gradients, ProcessGroup* group)
    : parameters_(parameters),
      group_(group),
      part_size_(PartSize(parameters.numel(), group->size())),
      own_(MakeOptimizer(training, PartOf(parameters, group->rank()),
                         PartOf(gradients, group->rank()), nullptr)) {}

at::Tensor ShardedOptimizer::PartOf(const at::Tensor& flat, int rank) const {
  const int64_t begin = std::min(flat.numel(), rank * part_size_);
  return flat.narrow(0, begin, std::min(part_size_, flat.numel() - begin));
}

void ShardedOptimizer::Step(double learning_rate) {
  if (PartOf(parameters_, group_->rank()).numel() > 0) own_->Step(learning_rate);
  for (int rank = 0; rank < group_->size(); ++rank) {
    const at::Tensor part = PartOf(parameters_, rank);
    if (part.numel() > 0) group_->BeginBroadcast(part, rank);
  }
  group_->Wait();
}

std::vector<std::pair<std::string, at::Tensor>> ShardedOptimizer::state() const {
  if (!whole_.empty()) return whole_;
  for (const auto& [name, own] : own_->state()) {
    at::Tensor whole = at::zeros_like(parameters_);
    PartOf(whole, group_->rank()).copy_(own);
    whole_.emplace_back(name, whole);
  }
  return whole_;
}

void ShardedOptimizer::Resume(int64_t steps, const std::map<std::string, double>& numbers) {
  whole_.clear();
  own_->Resume(steps, numbers);
}

void ShardedOptimizer::GatherState() {
  whole_.clear();
  for (const auto& [name, own] : own_->state()) {
    at::Tensor padded = at::zeros({part_size_}, own.options());
    padded.narrow(0, 0, own.numel()).copy_(own);
    const std::vector<at::Tensor> parts = group_->Gather(padded);
    if (parts.empty()) continue;  // this is not rank 0
    at::Tensor whole = at::empty_like(parameters_);
    for (int rank = 0; rank < group_->size(); ++rank) {
      at::Tensor part = PartOf(whole, rank);
      part.copy_(parts[static_cast<size_t>(rank)].narrow(0, 0, part.numel()));
    }
    whole_.emplace_back(name, whole);
  }
}

void ShardedOptimizer::Settle() {
  const auto own = own_->state();
  for (size_t i = 0; i < whole_.size(); ++i) {
    at::Tensor(own[i].second).copy_(PartOf(whole_[i].second, group_->rank()));
  }
  whole_.clear();
}

}  // namespace cyxwiz::runner
