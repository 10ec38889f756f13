// The learning rate, step by step, as PyTorch's schedulers give it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "spec/job_spec.h"

namespace cyxwiz::runner {

// Knows nothing of libtorch. One thread.
class LearningRate {
 public:
  // steps_per_epoch: steps of the optimizer.
  LearningRate(const spec::TrainingSpec& training, int64_t steps_per_epoch);

  // For the step that follows `steps` steps, in that epoch, from 1. Depends on nothing else but,
  // for plateau, on the epochs that are done.
  double At(int64_t steps, int64_t epoch) const;

  // plateau: the epoch's monitored value; not a number counts as no improvement.
  void EpochDone(double monitored);

  // What plateau remembers, and going on from it; from nothing: as at the beginning.
  std::map<std::string, double> numbers() const;
  void Resume(const std::map<std::string, double>& numbers);

 private:
  // Without warm-up; t: steps or epochs, as the schedule counts, since the warm-up ended.
  double Main(int64_t t) const;
  double OneCycle(double step) const;

  const spec::TrainingSpec& training_;
  int64_t warmup_steps_, warmup_epochs_;
  int64_t total_;  // what t runs to
  double plateau_rate_ = 0, plateau_best_ = 0;
  int64_t bad_epochs_ = 0, cooldown_ = 0;
};

}  // namespace cyxwiz::runner
