#include "runner/loss.h"

#include <utility>

namespace cyxwiz::runner {

using spec::Loss;

LossFunction::LossFunction(const spec::TrainingSpec& training, at::Tensor class_weights)
    : loss_(training.loss),
      label_smoothing_(training.label_smoothing),
      huber_delta_(training.huber_delta),
      class_weights_(std::move(class_weights)) {}

at::Tensor LossFunction::CrossEntropy(const at::Tensor& output, const at::Tensor& y) const {
  constexpr int64_t kIgnored = -100;  // PyTorch's
  if (!class_weights_.defined()) {
    return at::cross_entropy_loss(output, y, {}, at::Reduction::Mean, kIgnored, label_smoothing_);
  }
  // PyTorch's weighted mean, but of a batch that has no weight it is 0 and not 0 / 0.
  at::Tensor weight = class_weights_.index_select(0, y).sum();
  return at::cross_entropy_loss(output, y, class_weights_, at::Reduction::Sum, kIgnored,
                                label_smoothing_)
      .div(weight.masked_fill(weight.eq(0), 1));
}

at::Tensor LossFunction::operator()(const at::Tensor& output, const at::Tensor& y) const {
  switch (loss_) {
    case Loss::kCrossEntropy:
      return output.dim() > 2 ? CrossEntropy(output.flatten(0, -2), y.flatten())
                              : CrossEntropy(output, y);
    case Loss::kBinaryCrossEntropy:
      return at::binary_cross_entropy_with_logits(output, y);
    case Loss::kMse:
      return at::mse_loss(output, y);
    case Loss::kL1:
      return at::l1_loss(output, y);
    case Loss::kHuber:
      return at::huber_loss(output, y, at::Reduction::Mean, huber_delta_);
    case Loss::kKl:
      // A sum over the distributions of a sample, a mean over these ("batchmean").
      return at::kl_div(at::log_softmax(output, -1), y, at::Reduction::Sum)
          .div(static_cast<double>(output.size(0)));
  }
  return {};
}

bool LossFunction::logits() const {
  return loss_ == Loss::kCrossEntropy || loss_ == Loss::kBinaryCrossEntropy || loss_ == Loss::kKl;
}

at::Tensor LossFunction::PredictionOf(const at::Tensor& output) const {
  if (loss_ == Loss::kBinaryCrossEntropy) return at::sigmoid(output);
  return logits() ? at::softmax(output, -1) : output;
}

double LossFunction::DivisorOf(const int64_t* classes, int64_t count) const {
  const float* weights = class_weights_.data_ptr<float>();
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(weights[classes[i]]);
  return sum == 0 ? 1 : sum;
}

bool LossFunction::plain() const {
  return loss_ == Loss::kMse ||
         (loss_ == Loss::kCrossEntropy && label_smoothing_ == 0 && !class_weights_.defined());
}

at::Tensor ClassWeights(const spec::TrainingSpec& training, const data::Split& split,
                        const std::vector<int64_t>& trained, int64_t classes, at::Device device) {
  std::vector<float> weights(training.class_weights.begin(), training.class_weights.end());
  if (training.balanced_class_weights) {
    std::vector<int64_t> counts(static_cast<size_t>(classes));
    double labels_trained = 0;
    std::visit(
        [&](const auto& labels) {
          const size_t positions = labels.size() / static_cast<size_t>(split.samples);
          labels_trained = static_cast<double>(trained.size() * positions);
          for (int64_t place : trained) {
            const auto* label = labels.data() + static_cast<size_t>(place) * positions;
            for (size_t i = 0; i < positions; ++i) ++counts[static_cast<size_t>(label[i])];
          }
        },
        split.labels);
    for (int64_t count : counts) {
      weights.push_back(count == 0
                            ? 0
                            : static_cast<float>(labels_trained / (static_cast<double>(classes) *
                                                                   static_cast<double>(count))));
    }
  }
  if (weights.empty()) return {};
  return at::tensor(weights, at::kFloat).to(device);
}

}  // namespace cyxwiz::runner
