#include <algorithm>
#include <limits>

#include "base/text.h"
#include "spec/training_options.h"

namespace cyxwiz::spec {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kMostSteps = int64_t{1} << 40;
constexpr size_t kMostMilestones = 1000;

constexpr int kConstant = static_cast<int>(Schedule::kConstant),
              kStep = static_cast<int>(Schedule::kStep),
              kMultiStep = static_cast<int>(Schedule::kMultiStep),
              kExponential = static_cast<int>(Schedule::kExponential),
              kCosine = static_cast<int>(Schedule::kCosine),
              kOneCycle = static_cast<int>(Schedule::kOneCycle),
              kPlateau = static_cast<int>(Schedule::kPlateau);

constexpr Choice kSchedules[] = {
    {"constant", kConstant},
    {"step", kStep},
    {"multi_step", kMultiStep},
    {"exponential", kExponential},
    {"cosine", kCosine},
    {"one_cycle", kOneCycle},
    {"plateau", kPlateau},
    {"step_lr", kStep, true},
    {"multi_step_lr", kMultiStep, true},
    {"exponential_lr", kExponential, true},
    {"cosine_annealing_lr", kCosine, true},
    {"one_cycle_lr", kOneCycle, true},
    {"reduce_lr_on_plateau", kPlateau, true},
};

constexpr Choice kIntervals[] = {
    {"epoch", static_cast<int>(Interval::kEpoch)},
    {"step", static_cast<int>(Interval::kStep)},
};

constexpr Key kSchedule = {"lr_schedule", "lr_scheduler", "lr_scheduler_type"},
              kInterval = {"lr_interval"}, kStepSize = {"lr_step_size"}, kGamma = {"lr_gamma"},
              kMin = {"lr_min"}, kPctStart = {"lr_pct_start"}, kDivFactor = {"lr_div_factor"},
              kFinalDivFactor = {"lr_final_div_factor"}, kFactor = {"lr_factor"},
              kPatience = {"lr_patience"}, kThreshold = {"lr_threshold"},
              kCooldown = {"lr_cooldown"}, kWarmupSteps = {"warmup_steps"},
              kWarmupEpochs = {"warmup_epochs"}, kWarmupStart = {"warmup_start_factor"};

const std::vector<OwnedKey>& OwnedKeys() {
  static const std::vector<OwnedKey> keys{
      {kInterval, {kStep, kMultiStep, kExponential, kCosine}},
      {kStepSize, {kStep}},
      {kGamma, {kStep, kMultiStep, kExponential}},
      {kMilestonesKey, {kMultiStep}},
      {kMin, {kCosine, kPlateau}},
      {kPctStart, {kOneCycle}},
      {kDivFactor, {kOneCycle}},
      {kFinalDivFactor, {kOneCycle}},
      {kFactor, {kPlateau}},
      {kPatience, {kPlateau}},
      {kThreshold, {kPlateau}},
      {kCooldown, {kPlateau}},
  };
  return keys;
}

void ReadMilestones(ObjectReader& reader, TrainingSpec* t) {
  auto texts = reader.List(kMilestonesKey);
  if (!texts) return;
  for (const std::string& text : *texts) {
    auto milestone = ParseInt(text);
    const int64_t before = t->lr_milestones.empty() ? 0 : t->lr_milestones.back();
    if (!milestone || *milestone <= before || t->lr_milestones.size() == kMostMilestones) {
      reader.Refuse(kMilestonesKey, "are no places in a training",
                    "at most 1000 growing whole numbers from 1, such as 30, 80");
      return;
    }
    t->lr_milestones.push_back(*milestone);
  }
}

void ReadWarmup(ObjectReader& reader, TrainingSpec* t) {
  t->warmup_steps = reader.Whole(kWarmupSteps, 0, kMostSteps).value_or(0);
  t->warmup_epochs = reader.Whole(kWarmupEpochs, 0, kMaxEpochs).value_or(0);
  t->warmup_start_factor =
      reader.Real(kWarmupStart, {.min = 0, .max = 1}).value_or(t->warmup_start_factor);
  if (t->warmup_steps > 0 && t->warmup_epochs > 0) {
    reader.Refuse(kWarmupSteps, "and warmup_epochs say the same thing", "one of them",
                  "leave one out");
  }
  if (t->warmup_epochs > std::max<int64_t>(t->epochs, 0)) {
    reader.Refuse(kWarmupEpochs, "goes beyond the training",
                  "at most epochs, " + std::to_string(t->epochs));
  }
  if (reader.Find(kWarmupStart) != nullptr && t->warmup_steps + t->warmup_epochs == 0) {
    reader.Refuse(kWarmupStart, "has no effect without a warm-up", "warmup_steps or warmup_epochs",
                  "leave it out");
  }
}

}  // namespace

void ReadSchedule(ObjectReader& reader, TrainingSpec* t) {
  if (auto schedule = reader.OneOf(kSchedule, kSchedules)) {
    t->lr_schedule = static_cast<Schedule>(*schedule);
  }
  if (auto interval = reader.OneOf(kInterval, kIntervals)) {
    t->lr_interval = static_cast<Interval>(*interval);
  } else if (t->lr_schedule == Schedule::kOneCycle) {
    t->lr_interval = Interval::kStep;
  }
  const RealRange above_zero = {.min = 0, .max = kInfinity, .above_min = true};
  const RealRange part = {.min = 0, .max = 1, .above_min = true, .below_max = true};
  t->lr_step_size = reader.Whole(kStepSize, 1, kMostSteps).value_or(t->lr_step_size);
  t->lr_gamma = reader.Real(kGamma, {.min = 0, .max = 10, .above_min = true}).value_or(t->lr_gamma);
  ReadMilestones(reader, t);
  t->lr_min = reader.Real(kMin, {.min = 0, .max = kInfinity}).value_or(t->lr_min);
  if (t->lr_min > t->learning_rate) {
    reader.Refuse(kMin, "is above the learning rate, which falls to it",
                  "at most learning_rate, " + Json(t->learning_rate).dump());
  }
  t->lr_pct_start = reader.Real(kPctStart, part).value_or(t->lr_pct_start);
  t->lr_div_factor = reader.Real(kDivFactor, above_zero).value_or(t->lr_div_factor);
  t->lr_final_div_factor =
      reader.Real(kFinalDivFactor, above_zero).value_or(t->lr_final_div_factor);
  t->lr_factor = reader.Real(kFactor, part).value_or(t->lr_factor);
  t->lr_patience = reader.Whole(kPatience, 0, kMaxEpochs).value_or(t->lr_patience);
  t->lr_threshold =
      reader.Real(kThreshold, {.min = 0, .max = 1, .below_max = true}).value_or(t->lr_threshold);
  t->lr_cooldown = reader.Whole(kCooldown, 0, kMaxEpochs).value_or(t->lr_cooldown);
  ReadWarmup(reader, t);
  RefuseMisplaced(reader, OwnedKeys(), static_cast<int>(t->lr_schedule), kSchedules, "lr_schedule");
  auto require = [&](Schedule schedule, const Key& key, const char* expected) {
    if (t->lr_schedule == schedule && reader.Find(key) == nullptr) {
      reader.Refuse(key, "is missing for this lr_schedule", expected);
    }
  };
  require(Schedule::kStep, kStepSize, "epochs (or steps) from one change to the next");
  require(Schedule::kMultiStep, kMilestonesKey, "the epochs (or steps) of the changes: 30, 80");
  require(Schedule::kExponential, kGamma, "the factor from one epoch to the next, such as 0.95");
}

void WriteSchedule(const TrainingSpec& t, Json* json) {
  const int schedule = static_cast<int>(t.lr_schedule);
  const std::pair<Key, Json> values[] = {
      {kInterval, NameOf(kIntervals, static_cast<int>(t.lr_interval))},
      {kStepSize, t.lr_step_size},
      {kGamma, t.lr_gamma},
      {kMilestonesKey, t.lr_milestones},
      {kMin, t.lr_min},
      {kPctStart, t.lr_pct_start},
      {kDivFactor, t.lr_div_factor},
      {kFinalDivFactor, t.lr_final_div_factor},
      {kFactor, t.lr_factor},
      {kPatience, t.lr_patience},
      {kThreshold, t.lr_threshold},
      {kCooldown, t.lr_cooldown},
  };
  (*json)["lr_schedule"] = NameOf(kSchedules, schedule);
  WriteOwned(OwnedKeys(), schedule, values, json);
  if (t.warmup_steps > 0) (*json)["warmup_steps"] = t.warmup_steps;
  if (t.warmup_epochs > 0) (*json)["warmup_epochs"] = t.warmup_epochs;
  if (t.warmup_steps + t.warmup_epochs > 0) {
    (*json)["warmup_start_factor"] = t.warmup_start_factor;
  }
}

}  // namespace cyxwiz::spec
