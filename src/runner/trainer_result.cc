// Evaluation, and what becomes the result.
#include <algorithm>
#include <numeric>

#include "runner/data_type.h"
#include "runner/trainer.h"
#include "spec/count.h"

namespace cyxwiz::runner {
namespace {

// Forward passes alone need little memory, so evaluation takes larger batches: at most this many
// samples, and values of all layers' outputs together.
constexpr int64_t kMostEvaluationSamples = 1024;
constexpr int64_t kMostEvaluationValues = 8 << 20;

}  // namespace

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
}

bool Trainer::Evaluate(const data::Split& split, const std::vector<int64_t>& indices,
                       const std::string& part) {
  TellStarted();
  at::NoGradGuard no_grad;
  Averaged averaged(*this);
  int64_t values = spec::ElementCount(job_.model.input_shape);
  for (const auto& layer : job_.model.layers) values += spec::ElementCount(layer.output_shape);
  int64_t size = static_cast<int64_t>(indices.size());
  int64_t most = std::clamp(kMostEvaluationValues / values, std::min<int64_t>(batch_size_, 64),
                            kMostEvaluationSamples);
  most = std::min(most, size);
  Feed feed(job_, split, device_, most);
  Score score = NewScore();
  Evaluation evaluation(training_, task_,
                        task_ == spec::Task::kNumbers ? spec::ElementCount(job_.model.output_shape)
                                                      : job_.model.output_shape.back());
  for (int64_t first = 0; first < size; first += most) {
    feed.Load(indices.data() + first, std::min(most, size - first));
    at::Tensor output;
    try {
      output = Forward(feed, /*training=*/false);
    } catch (const BadInputError& error) {
      ThrowBadSample(error, &split == &dataset_.test ? "test" : "training",
                     indices[static_cast<size_t>(first + error.sample())]);
    }
    score.Add((*loss_)(output, feed.y()), output, feed);
    if (evaluation.wanted()) {
      at::Tensor labels = feed.classes();
      if (task_ == spec::Task::kClasses) {
        // Each position counts as a sample.
        labels = labels.narrow(0, 0, feed.count()).flatten();
        output = output.flatten(0, -2);
      }
      if (task_ == spec::Task::kBinary) labels = feed.y().flatten().gt(0.5).to(at::kLong);
      evaluation.Add(output, loss_->PredictionOf(output), feed.y(), labels);
    }
    if (!GoOn()) return false;
  }
  score.Report(part, &metrics_);
  evaluation.Report(part, &metrics_);
  confusion_matrix_ = evaluation.confusion_matrix(part);
  return true;
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
}

}  // namespace cyxwiz::runner
