#include "runner/evaluation.h"

#include <algorithm>
#include <cmath>

namespace cyxwiz::runner {

using Kind = spec::Metric::Kind;

Evaluation::Evaluation(const spec::TrainingSpec& training, spec::Task task, int64_t outputs)
    : metrics_(training.metrics),
      task_(task),
      outputs_(outputs),
      classes_(task == spec::Task::kBinary ? 2 : outputs) {
  int64_t top = 0;
  for (const spec::Metric& metric : metrics_) {
    wanted_ |= metric.kind != Kind::kAccuracy;
    wants_auc_ |= metric.kind == Kind::kAuc;
    wants_confusion_ |= metric.kind == Kind::kConfusionMatrix;
    wants_perplexity_ |= metric.kind == Kind::kPerplexity;
    if (metric.kind == Kind::kTopAccuracy) top = std::max(top, metric.top);
  }
  rank_counts_.resize(static_cast<size_t>(top));
  if (task == spec::Task::kNumbers) {
    for (auto* sums : {&first_, &label_sums_, &label_squares_}) {
      sums->resize(static_cast<size_t>(outputs));
    }
    return;
  }
  for (auto* counts : {&labelled_, &predicted_, &hits_}) {
    counts->resize(static_cast<size_t>(classes_));
  }
  if (wants_confusion_) confusion_.resize(static_cast<size_t>(classes_ * classes_));
}

void Evaluation::Add(const at::Tensor& output, const at::Tensor& prediction, const at::Tensor& y,
                     const at::Tensor& labels) {
  if (!wanted_) return;
  at::NoGradGuard no_grad;
  if (task_ == spec::Task::kNumbers) return AddNumbers(prediction, y);
  if (wants_perplexity_) {
    negative_log_likelihood_ +=
        at::cross_entropy_loss(output, labels, {}, at::Reduction::Sum).item<double>();
  }
  AddClasses(output, labels);
}

void Evaluation::AddClasses(const at::Tensor& output, const at::Tensor& labels) {
  const at::Tensor scores_on_host = output.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor labels_on_host = labels.to(at::kCPU).contiguous();
  const float* scores = scores_on_host.data_ptr<float>();
  const int64_t* classes = labels_on_host.data_ptr<int64_t>();
  const bool binary = task_ == spec::Task::kBinary;
  const int64_t count = scores_on_host.size(0);
  samples_ += count;
  for (int64_t row = 0; row < count; ++row, scores += outputs_) {
    const int64_t label = classes[row];
    const int64_t prediction =
        binary ? int64_t{scores[0] > 0} : std::max_element(scores, scores + outputs_) - scores;
    ++labelled_[static_cast<size_t>(label)];
    ++predicted_[static_cast<size_t>(prediction)];
    if (label == prediction) ++hits_[static_cast<size_t>(label)];
    if (wants_confusion_) ++confusion_[static_cast<size_t>(label * classes_ + prediction)];
    if (wants_auc_) {
      scores_.emplace_back(binary ? scores[0] : scores[1] - scores[0], label == 1);
    }
    if (rank_counts_.empty()) continue;
    // Of equal scores the first counts, as for accuracy.
    size_t rank = 0;
    for (int64_t i = 0; i < outputs_; ++i) {
      rank += scores[i] > scores[label] || (scores[i] == scores[label] && i < label);
    }
    if (rank < rank_counts_.size()) ++rank_counts_[rank];
  }
}

void Evaluation::AddNumbers(const at::Tensor& prediction, const at::Tensor& y) {
  const at::Tensor predictions = prediction.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor labels = y.to(at::kCPU, at::kFloat).contiguous();
  const float* p = predictions.data_ptr<float>();
  const float* l = labels.data_ptr<float>();
  const int64_t rows = predictions.size(0);
  const size_t columns = static_cast<size_t>(outputs_);
  if (rows_ == 0) std::copy_n(l, columns, first_.begin());
  rows_ += rows;
  for (int64_t row = 0; row < rows; ++row, p += columns, l += columns) {
    for (size_t i = 0; i < columns; ++i) {
      const double difference = static_cast<double>(p[i]) - static_cast<double>(l[i]);
      absolute_ += std::abs(difference);
      squared_ += difference * difference;
      const double label = static_cast<double>(l[i]) - first_[i];
      label_sums_[i] += label;
      label_squares_[i] += label * label;
    }
  }
}

template <typename Of>
double Evaluation::Macro(Of of) const {
  double sum = 0, classes = 0;
  for (size_t i = 0; i < labelled_.size(); ++i) {
    if (labelled_[i] + predicted_[i] == 0) continue;
    sum += of(static_cast<double>(hits_[i]), static_cast<double>(labelled_[i]),
              static_cast<double>(predicted_[i]));
    ++classes;
  }
  return sum / classes;
}

// The chance that a sample of the second class has a greater score than one of the first, half for
// an equal one: from the sum of the ranks (Mann-Whitney U).
std::optional<double> Evaluation::Auc() const {
  auto sorted = scores_;
  for (const auto& [score, positive] : sorted) {
    if (std::isnan(score)) return std::nullopt;
  }
  std::sort(sorted.begin(), sorted.end());
  double positives = 0, rank_sum = 0;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    double positives_here = 0;
    for (end = begin; end < sorted.size() && sorted[end].first == sorted[begin].first; ++end) {
      positives_here += sorted[end].second;
    }
    rank_sum += positives_here * (static_cast<double>(begin + 1 + end) / 2);
    positives += positives_here;
  }
  const double negatives = static_cast<double>(sorted.size()) - positives;
  if (positives == 0 || negatives == 0) return std::nullopt;
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

std::optional<double> Evaluation::R2() const {
  double variance = 0;
  for (size_t i = 0; i < label_sums_.size(); ++i) {
    variance += label_squares_[i] - label_sums_[i] * label_sums_[i] / static_cast<double>(rows_);
  }
  if (!(variance > 0)) return std::nullopt;
  return 1 - squared_ / variance;
}

std::optional<double> Evaluation::Value(const spec::Metric& metric) const {
  const double samples = static_cast<double>(samples_);
  const double values = static_cast<double>(rows_ * outputs_);
  auto ratio = [](double a, double b) { return b == 0 ? 0 : a / b; };
  switch (metric.kind) {
    case Kind::kTopAccuracy: {
      int64_t correct = 0;
      for (int64_t i = 0; i < metric.top; ++i) correct += rank_counts_[static_cast<size_t>(i)];
      return static_cast<double>(correct) / samples;
    }
    case Kind::kPrecision:
      return Macro([&](double hits, double, double predicted) { return ratio(hits, predicted); });
    case Kind::kRecall:
      return Macro([&](double hits, double labelled, double) { return ratio(hits, labelled); });
    case Kind::kF1:
      return Macro([&](double hits, double labelled, double predicted) {
        return 2 * hits / (labelled + predicted);
      });
    case Kind::kAuc:
      return Auc();
    case Kind::kPerplexity:
      return std::exp(negative_log_likelihood_ / samples);
    case Kind::kMae:
      return absolute_ / values;
    case Kind::kRmse:
      return std::sqrt(squared_ / values);
    case Kind::kR2:
      return R2();
    case Kind::kAccuracy:  // counted with the loss
    case Kind::kConfusionMatrix:
      return std::nullopt;
  }
  return std::nullopt;
}

void Evaluation::Report(const std::string& part, Metrics* metrics) const {
  for (const spec::Metric& metric : metrics_) {
    if (metric.kind == Kind::kAccuracy || metric.kind == Kind::kConfusionMatrix) continue;
    const std::string name = part + "_" + metric.name;
    if (auto value = Value(metric)) {
      (*metrics)[name] = *value;
    } else {
      metrics->erase(name);
    }
  }
}

std::optional<ConfusionMatrix> Evaluation::confusion_matrix(const std::string& part) const {
  if (!wants_confusion_) return std::nullopt;
  return ConfusionMatrix{part, classes_, confusion_};
}

}  // namespace cyxwiz::runner
