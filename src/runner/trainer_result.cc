// Evaluation, and what becomes the result.
#include <numeric>

#include "runner/data_type.h"
#include "runner/divergence.h"
#include "runner/trainer.h"

namespace cyxwiz::runner {
class Trainer::Averaged {
 public:
  explicit Averaged(const Trainer& trainer) : parameters_(trainer.model_->parameters()) {
    if (!trainer.wants_average() || trainer.has_result_weights_) return;
    before_ = parameters_.clone();
    parameters_.copy_(trainer.average_);
  }
  ~Averaged() {
    if (before_.defined()) parameters_.copy_(before_);
  }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;

 private:
  at::Tensor parameters_, before_;
};

void Trainer::KeepBest() {
  at::NoGradGuard no_grad;
  Averaged averaged(*this);
  best_.clear();
  for (const auto& [name, tensor] : model_->state()) best_.push_back(tensor.detach().clone());
  best_epoch_ = epoch_;
  metrics_["best_epoch"] = static_cast<double>(epoch_);
  best_metrics_ = metrics_;
}

void Trainer::UseResultWeights() {
  at::NoGradGuard no_grad;
  if (best_epoch_ > 0) {
    for (size_t i = 0; i < best_.size(); ++i) {
      model_->state()[i].second.detach().copy_(best_[i]);
    }
    metrics_ = best_metrics_;
  } else if (wants_average()) {
    model_->parameters().copy_(average_);
  }
  has_result_weights_ = true;
  CheckFinite();
}

bool Trainer::Evaluate(const data::Split& split, const std::vector<int64_t>& indices,
                       const std::string& part) {
  TellStarted();
  at::NoGradGuard no_grad;
  Averaged averaged(*this);
  const bool test = &split == &dataset_.test;
  // The test tells of the model as others will run it.
  const spec::Precision precision = test ? spec::Precision::kFloat32 : training_.precision;
  auto diverged = [&](const Feed& batch) {
    const std::string first = FirstNotFinite(&*model_, *loss_, batch, [&] {
      return Forward(&*model_, batch.x(), /*training=*/false, *loss_, precision);
    });
    ThrowDiverged("the " + part + " loss is not a finite number", step_, first);
  };
  return runner::Evaluate(
      {job_, split, test ? "test" : "training", indices, batch_size_, device_, precision}, part,
      &*model_, *loss_, diverged, [this](int64_t) { return GoOn(); }, &metrics_,
      &confusion_matrix_);
}

bool Trainer::EvaluateEpoch() {
  if (validation_indices_.empty()) return true;
  const bool done = !leads() || Evaluate(dataset_.train, validation_indices_, "validation");
  return group_ == nullptr ? done : AgreeOnEpoch();
}

bool Trainer::EvaluateTest() {
  std::vector<int64_t> all(static_cast<size_t>(dataset_.test.samples));
  std::iota(all.begin(), all.end(), 0);
  return Evaluate(dataset_.test, all, "test");
}

void Trainer::ExportWeights(TrainingResult* result) {
  auto owner = std::make_shared<std::vector<at::Tensor>>();
  for (const auto& [name, tensor] : model_->state()) {
    owner->push_back(tensor.detach().to(at::kCPU).contiguous());
    const at::Tensor& host = owner->back();
    result->weights.push_back({name, DataTypeOf(host), host.sizes().vec(), host.data_ptr()});
  }
  result->weights_owner = owner;
  if (const at::Tensor& weights = loss_->class_weights(); weights.defined()) {
    const at::Tensor host = weights.to(at::kCPU).contiguous();
    result->class_weights.assign(host.data_ptr<float>(), host.data_ptr<float>() + host.numel());
  }
}

}  // namespace cyxwiz::runner
