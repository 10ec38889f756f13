#include <limits>

#include "spec/training_options.h"

namespace cyxwiz::spec {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr Choice kKeeps[] = {
    {"last", static_cast<int>(Keep::kLast)},
    {"best", static_cast<int>(Keep::kBest)},
};

constexpr Choice kPrecisions[] = {
    {"float32", static_cast<int>(Precision::kFloat32)},
    {"bfloat16", static_cast<int>(Precision::kBfloat16)},
    {"auto", static_cast<int>(Precision::kAuto)},
    {"fp32", static_cast<int>(Precision::kFloat32), true},
    {"bf16", static_cast<int>(Precision::kBfloat16), true},
};

constexpr Key kClipNorm = {"clip_norm", "max_grad_norm", "global_clipnorm"},
              kClipValue = {"clip_value", "clipvalue"},
              kAccumulation = {"gradient_accumulation_steps", "accumulate_grad_batches"},
              kShardOptimizer = {"shard_optimizer"}, kEmaDecay = {"ema_decay", "ema_momentum"},
              kPatience = {"early_stopping_patience"}, kMinDelta = {"early_stopping_min_delta"},
              kKeep = {"keep"}, kMonitor = {"monitor", "metric_for_best_model"};

// L-BFGS looks at the loss of one batch at several places, which nothing may come between.
void RefuseWithLbfgs(ObjectReader& reader, const TrainingSpec& t) {
  if (t.optimizer != Optimizer::kLbfgs) return;
  for (const Key& key : {kClipNorm, kClipValue, kAccumulation}) {
    if (reader.Find(key) == nullptr) continue;
    reader.Refuse(key, "does not go with this optimizer", "it with any optimizer but lbfgs",
                  "leave it out, or choose another optimizer");
  }
}

// Which optimizers a rank can do a part of: those that look at each value by itself.
void ReadShardOptimizer(ObjectReader& reader, TrainingSpec* t) {
  t->shard_optimizer = reader.Bool(kShardOptimizer).value_or(false);
  if (!t->shard_optimizer) return;
  if (t->optimizer == Optimizer::kLbfgs || t->optimizer == Optimizer::kMuon) {
    reader.Refuse(
        kShardOptimizer, "does not go with this optimizer, which must see whole parameters",
        "it with any optimizer but lbfgs and muon", "leave it out, or choose another optimizer");
  } else if (t->optimizer == Optimizer::kSgd && t->momentum == 0) {
    reader.Refuse(kShardOptimizer, "has no effect: without a momentum sgd keeps nothing",
                  "momentum above 0", "leave it out");
  }
}

}  // namespace

void ReadLoop(ObjectReader& reader, TrainingSpec* t) {
  if (auto precision = reader.OneOf({"precision"}, kPrecisions)) {
    t->precision = static_cast<Precision>(*precision);
  }
  const RealRange above_zero = {.min = 0, .max = kInfinity, .above_min = true};
  t->clip_norm = reader.Real(kClipNorm, above_zero).value_or(0);
  t->clip_value = reader.Real(kClipValue, above_zero).value_or(0);
  if (t->clip_norm > 0 && t->clip_value > 0) {
    reader.Refuse(kClipValue, "and clip_norm both limit the gradients", "one of them",
                  "leave one out");
  }
  t->accumulation = reader.Whole(kAccumulation, 1, kMaxAccumulation).value_or(1);
  RefuseWithLbfgs(reader, *t);
  ReadShardOptimizer(reader, t);
  t->ema_decay = reader.Real(kEmaDecay, {.min = 0, .max = 1, .above_min = true, .below_max = true})
                     .value_or(0);
  t->patience = reader.Whole(kPatience, 1, kMaxEpochs).value_or(0);
  t->min_delta = reader.Real(kMinDelta, {.min = 0, .max = kInfinity}).value_or(0);
  if (t->patience == 0 && reader.Find(kMinDelta) != nullptr) {
    reader.Refuse(kMinDelta, "has no effect without early stopping", "early_stopping_patience",
                  "add early_stopping_patience");
  }
  if (auto keep = reader.OneOf(kKeep, kKeeps)) t->keep = static_cast<Keep>(*keep);
  t->monitor = reader.Text(kMonitor).value_or("");
  if (!t->monitor.empty() && !t->monitors()) {
    reader.Refuse(kMonitor, "has no effect: nothing follows it",
                  "early_stopping_patience, \"keep\": \"best\" or \"lr_schedule\": \"plateau\"",
                  "add one of them");
  }
}

void WriteLoop(const TrainingSpec& t, Json* json) {
  (*json)["precision"] = NameOf(kPrecisions, static_cast<int>(t.precision));
  if (t.clip_norm > 0) (*json)["clip_norm"] = t.clip_norm;
  if (t.clip_value > 0) (*json)["clip_value"] = t.clip_value;
  (*json)["gradient_accumulation_steps"] = t.accumulation;
  if (t.ema_decay > 0) (*json)["ema_decay"] = t.ema_decay;
  (*json)["keep"] = NameOf(kKeeps, static_cast<int>(t.keep));
  if (t.patience > 0) {
    (*json)["early_stopping_patience"] = t.patience;
    (*json)["early_stopping_min_delta"] = t.min_delta;
  }
  if (t.monitors()) (*json)["monitor"] = t.monitor;
}

}  // namespace cyxwiz::spec
