// The metrics beside loss and accuracy, over the batches of one evaluation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runner/engine.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// Counts on the host: an evaluation waits for each batch's outputs anyway. One thread.
class Evaluation {
 public:
  // outputs: scores of a sample, or numbers.
  Evaluation(const spec::TrainingSpec& training, spec::Task task, int64_t outputs);

  // Whether anything is to be computed beside loss and accuracy.
  bool wanted() const { return wanted_; }

  // output: batch x outputs, of a task of classes scores; prediction: what it predicts in the terms
  // of y. labels: their classes, for the binary task too; undefined for numbers.
  void Add(const at::Tensor& output, const at::Tensor& prediction, const at::Tensor& y,
           const at::Tensor& labels);

  // Sets <part>_<metric> for each that was asked for. One that these samples do not define (auc
  // with labels of one class, r2 of labels that are all the same) is removed.
  void Report(const std::string& part, Metrics* metrics) const;

  // When it was asked for.
  std::optional<ConfusionMatrix> confusion_matrix(const std::string& part) const;

 private:
  void AddClasses(const at::Tensor& output, const at::Tensor& labels);
  void AddNumbers(const at::Tensor& prediction, const at::Tensor& y);
  std::optional<double> Value(const spec::Metric& metric) const;
  // Over the classes that occur among labels or predictions: the mean of `of`.
  template <typename Of>
  double Macro(Of of) const;
  std::optional<double> Auc() const;
  std::optional<double> R2() const;

  const std::vector<spec::Metric> metrics_;
  const spec::Task task_;
  const int64_t outputs_, classes_;
  bool wanted_ = false, wants_auc_ = false, wants_confusion_ = false, wants_perplexity_ = false;
  int64_t samples_ = 0;

  // Of a class: samples that have it, that were predicted to have it, and both.
  std::vector<int64_t> labelled_, predicted_, hits_;
  std::vector<int64_t> confusion_;    // classes x classes, a label a row
  std::vector<int64_t> rank_counts_;  // of the label's score among the scores, up to the largest k
  double negative_log_likelihood_ = 0;
  std::vector<std::pair<float, bool>> scores_;  // of the second class, and whether it is the label

  // Sums over numbers, a value of the output each; labels less those of the first sample, so that
  // large ones do not cancel.
  int64_t rows_ = 0;
  double absolute_ = 0, squared_ = 0;
  std::vector<double> first_, label_sums_, label_squares_;
};

}  // namespace cyxwiz::runner
