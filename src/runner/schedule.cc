#include "runner/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace cyxwiz::runner {

using spec::Schedule;

namespace {

// PyTorch makes no smaller change than this on a plateau.
constexpr double kLeastChange = 1e-8;

// From one value to another along half a cosine, part from 0 to 1.
double Anneal(double from, double to, double part) {
  return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * part));
}

}  // namespace

LearningRate::LearningRate(const spec::TrainingSpec& training, int64_t steps_per_epoch)
    : training_(training),
      warmup_steps_(training.warmup_steps + training.warmup_epochs * steps_per_epoch),
      warmup_epochs_((warmup_steps_ + steps_per_epoch - 1) / steps_per_epoch) {
  Resume({});
  total_ = training.lr_interval == spec::Interval::kStep
               ? training.epochs * steps_per_epoch - warmup_steps_
               : training.epochs - warmup_epochs_;
  total_ = std::max<int64_t>(total_, 1);
}

double LearningRate::At(int64_t steps, int64_t epoch) const {
  const bool by_steps = training_.lr_interval == spec::Interval::kStep;
  double rate =
      Main(std::max<int64_t>(by_steps ? steps - warmup_steps_ : epoch - 1 - warmup_epochs_, 0));
  if (steps >= warmup_steps_) return rate;
  const double start = training_.warmup_start_factor;
  return rate *
         (start + (1 - start) * static_cast<double>(steps) / static_cast<double>(warmup_steps_));
}

double LearningRate::Main(int64_t t) const {
  const spec::TrainingSpec& s = training_;
  switch (s.lr_schedule) {
    case Schedule::kConstant:
      return s.learning_rate;
    case Schedule::kStep:
      return s.learning_rate * std::pow(s.lr_gamma, static_cast<double>(t / s.lr_step_size));
    case Schedule::kMultiStep: {
      auto passed = std::count_if(s.lr_milestones.begin(), s.lr_milestones.end(),
                                  [&](int64_t milestone) { return milestone <= t; });
      return s.learning_rate * std::pow(s.lr_gamma, static_cast<double>(passed));
    }
    case Schedule::kExponential:
      return s.learning_rate * std::pow(s.lr_gamma, static_cast<double>(t));
    case Schedule::kCosine:
      return Anneal(s.learning_rate, s.lr_min,
                    static_cast<double>(std::min(t, total_)) / static_cast<double>(total_));
    case Schedule::kOneCycle:
      return OneCycle(static_cast<double>(std::min(t, total_ - 1)));
    case Schedule::kPlateau:
      return plateau_rate_;
  }
  return s.learning_rate;
}

double LearningRate::OneCycle(double step) const {
  const double first = training_.learning_rate / training_.lr_div_factor;
  const double last = first / training_.lr_final_div_factor;
  const double top = training_.lr_pct_start * static_cast<double>(total_) - 1;
  const double end = static_cast<double>(total_ - 1);
  if (step <= top && top > 0) return Anneal(first, training_.learning_rate, step / top);
  const double begin = std::max(top, 0.0);
  return end > begin ? Anneal(training_.learning_rate, last, (step - begin) / (end - begin)) : last;
}

void LearningRate::EpochDone(double monitored) {
  const spec::TrainingSpec& s = training_;
  if (s.lr_schedule != Schedule::kPlateau) return;
  const bool better = s.monitor_greater ? monitored > plateau_best_ * (1 + s.lr_threshold)
                                        : monitored < plateau_best_ * (1 - s.lr_threshold);
  if (better) plateau_best_ = monitored;
  bad_epochs_ = better ? 0 : bad_epochs_ + 1;
  if (cooldown_ > 0) {
    --cooldown_;
    bad_epochs_ = 0;
  }
  if (bad_epochs_ <= s.lr_patience) return;
  const double rate = std::max(plateau_rate_ * s.lr_factor, s.lr_min);
  if (plateau_rate_ - rate > kLeastChange) plateau_rate_ = rate;
  cooldown_ = s.lr_cooldown;
  bad_epochs_ = 0;
}

std::map<std::string, double> LearningRate::numbers() const {
  if (training_.lr_schedule != Schedule::kPlateau) return {};
  return {{"plateau_rate", plateau_rate_},
          {"plateau_best", plateau_best_},
          {"plateau_bad_epochs", static_cast<double>(bad_epochs_)},
          {"plateau_cooldown", static_cast<double>(cooldown_)}};
}

void LearningRate::Resume(const std::map<std::string, double>& numbers) {
  auto number = [&](const char* name, double otherwise) {
    auto found = numbers.find(name);
    return found == numbers.end() ? otherwise : found->second;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  plateau_rate_ = number("plateau_rate", training_.learning_rate);
  plateau_best_ = number("plateau_best", training_.monitor_greater ? -infinity : infinity);
  bad_epochs_ = static_cast<int64_t>(number("plateau_bad_epochs", 0));
  cooldown_ = static_cast<int64_t>(number("plateau_cooldown", 0));
}

}  // namespace cyxwiz::runner
