#include "runner/gradient_buckets.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <utility>

namespace cyxwiz::runner {
namespace {

// What autograd calls when it has added to a gradient.
class ReadyHook : public torch::autograd::FunctionPostHook {
 public:
  explicit ReadyHook(std::function<void()> ready) : ready_(std::move(ready)) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    ready_();
    return outputs;
  }

 private:
  const std::function<void()> ready_;
};

}  // namespace

// The nodes of autograd that add to the gradients: a tensor keeps its own only as long as somebody
// else does.
struct GradientBuckets::Hooks {
  std::vector<decltype(torch::autograd::impl::grad_accumulator(at::Tensor()))> accumulators;
};

GradientBuckets::GradientBuckets(const Model& model, BeginSum begin_sum, const Limits& limits)
    : begin_sum_(std::move(begin_sum)), hooks_(std::make_unique<Hooks>()) {
  const at::Tensor& flat = model.gradients_and_notes();
  int64_t end = flat.numel();
  auto close = [&](Bucket* bucket) {
    bucket->values = flat.narrow(0, bucket->begin, end - bucket->begin);
    end = bucket->begin;
    buckets_.push_back(std::exchange(*bucket, {}));
  };
  Bucket bucket;
  const auto& state = model.state();
  for (auto parameter = state.rbegin(); parameter != state.rend(); ++parameter) {
    const at::Tensor& tensor = parameter->second;
    if (!tensor.requires_grad()) continue;  // a buffer
    bucket.begin = tensor.storage_offset();
    ++bucket.parameters;
    hooks_->accumulators.push_back(torch::autograd::impl::grad_accumulator(tensor));
    hooks_->accumulators.back()->add_post_hook(
        std::make_unique<ReadyHook>([this, offset = bucket.begin] { Ready(offset); }));
    const int64_t bytes = (end - bucket.begin) * static_cast<int64_t>(sizeof(float));
    if (bytes >= (buckets_.empty() ? limits.first_bytes : limits.bytes)) close(&bucket);
  }
  if (end > 0) {
    bucket.begin = 0;
    close(&bucket);
  }
  next_ = buckets_.size();
}

GradientBuckets::~GradientBuckets() = default;

std::vector<int64_t> GradientBuckets::begins() const {
  std::vector<int64_t> begins;
  for (const Bucket& bucket : buckets_) begins.push_back(bucket.begin);
  return begins;
}

void GradientBuckets::Expect() {
  for (Bucket& bucket : buckets_) bucket.missing = bucket.parameters;
  next_ = 0;
}

void GradientBuckets::Ready(int64_t offset) {
  auto of = std::find_if(buckets_.begin(), buckets_.end(),
                         [offset](const Bucket& bucket) { return bucket.begin <= offset; });
  --of->missing;
  while (next_ < buckets_.size() && buckets_[next_].missing == 0) {
    begin_sum_(buckets_[next_++].values);
  }
}

void GradientBuckets::BeginRest() {
  while (next_ < buckets_.size()) begin_sum_(buckets_[next_++].values);
}

}  // namespace cyxwiz::runner
