// Loss and accuracy over batches, of training too. On a GPU the sums stay there until they are
// asked for, so that no step waits.
#pragma once

#include <string>

#include "runner/engine.h"
#include "runner/feed.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// One thread.
class Score {
 public:
  // accuracy: whether to count it. positions: labels of a sample.
  Score(at::Device device, spec::Task task, bool accuracy, int64_t positions);

  // On the CPU.
  void Add(double loss, const at::Tensor& output, const Feed& batch);
  void Add(const at::Tensor& loss, const at::Tensor& output, const Feed& batch);
  // A batch of `samples` with these sums over them; on the CPU.
  void AddSums(int64_t samples, double loss_sum, int64_t correct);

  // Whether the loss has become NaN or infinite; on a GPU known only at reports (exact = true waits
  // for it).
  bool Diverged(bool exact) const;

  void Report(const std::string& part, Metrics* metrics) const;

  double loss_sum() const { return device_loss_.defined() ? device_loss_.item<double>() : loss_; }
  int64_t correct() const {
    return device_correct_.defined() ? device_correct_.item<int64_t>() : correct_;
  }

  // Goes on as after `samples` with these sums.
  void Resume(int64_t samples, double loss_sum, int64_t correct);

 private:
  at::Device device_;
  spec::Task task_;
  bool accuracy_;
  int64_t positions_;
  int64_t samples_ = 0, correct_ = 0;
  double loss_ = 0, last_loss_ = 0;
  at::Tensor device_loss_, device_correct_;
};

}  // namespace cyxwiz::runner
