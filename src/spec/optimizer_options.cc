#include <limits>

#include "spec/training_options.h"

namespace cyxwiz::spec {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kMostIterations = 10'000;
constexpr int64_t kMostHistory = 1'000;
constexpr int64_t kMostNewtonSchulzSteps = 99;  // as PyTorch

constexpr int kSgd = static_cast<int>(Optimizer::kSgd), kAdam = static_cast<int>(Optimizer::kAdam),
              kAdamW = static_cast<int>(Optimizer::kAdamW),
              kRmsprop = static_cast<int>(Optimizer::kRmsprop),
              kAdagrad = static_cast<int>(Optimizer::kAdagrad),
              kLbfgs = static_cast<int>(Optimizer::kLbfgs),
              kLion = static_cast<int>(Optimizer::kLion),
              kMuon = static_cast<int>(Optimizer::kMuon);

constexpr Choice kOptimizers[] = {
    {"sgd", kSgd},         {"adam", kAdam},       {"adamw", kAdamW},
    {"rmsprop", kRmsprop}, {"adagrad", kAdagrad}, {"lbfgs", kLbfgs},
    {"lion", kLion},       {"muon", kMuon},       {"l-bfgs", kLbfgs, true},
};

constexpr Choice kMuonScales[] = {
    {"original", static_cast<int>(MuonScale::kOriginal)},
    {"match_rms_adamw", static_cast<int>(MuonScale::kMatchRmsAdamW)},
};

constexpr Key kWeightDecay = {"weight_decay"}, kMomentum = {"momentum"}, kNesterov = {"nesterov"},
              kBeta1 = {"beta1", "beta_1"}, kBeta2 = {"beta2", "beta_2"},
              kEpsilon = {"epsilon", "eps"}, kAlpha = {"alpha", "rho"}, kCentered = {"centered"},
              kLrDecay = {"lr_decay"}, kInitialAccumulator = {"initial_accumulator_value"},
              kMaxIter = {"max_iter"}, kHistorySize = {"history_size"},
              kToleranceGrad = {"tolerance_grad"}, kToleranceChange = {"tolerance_change"},
              kAdjustLr = {"adjust_lr", "adjust_lr_fn"}, kNsSteps = {"ns_steps"};

const std::vector<OwnedKey>& OwnedKeys() {
  static const std::vector<OwnedKey> keys{
      {kWeightDecay, {kSgd, kAdam, kAdamW, kRmsprop, kAdagrad, kLion, kMuon}},
      {kMomentum, {kSgd, kRmsprop, kMuon}},
      {kNesterov, {kSgd, kMuon}},
      {kBeta1, {kAdam, kAdamW, kLion, kMuon}},
      {kBeta2, {kAdam, kAdamW, kLion, kMuon}},
      {kEpsilon, {kAdam, kAdamW, kRmsprop, kAdagrad, kMuon}},
      {kAlpha, {kRmsprop}},
      {kCentered, {kRmsprop}},
      {kLrDecay, {kAdagrad}},
      {kInitialAccumulator, {kAdagrad}},
      {kMaxIter, {kLbfgs}},
      {kHistorySize, {kLbfgs}},
      {kToleranceGrad, {kLbfgs}},
      {kToleranceChange, {kLbfgs}},
      {kAdjustLr, {kMuon}},
      {kNsSteps, {kMuon}},
  };
  return keys;
}

// Those of PyTorch; of lion those of its paper.
void SetDefaults(TrainingSpec* t) {
  t->learning_rate = 1e-3;
  switch (t->optimizer) {
    case Optimizer::kAdam:
      break;
    case Optimizer::kAdamW:
      t->weight_decay = 1e-2;
      break;
    case Optimizer::kSgd:
    case Optimizer::kRmsprop:
      t->learning_rate = 1e-2;
      break;
    case Optimizer::kAdagrad:
      t->learning_rate = 1e-2;
      t->epsilon = 1e-10;
      break;
    case Optimizer::kLbfgs:
      t->learning_rate = 1;
      break;
    case Optimizer::kLion:
      t->learning_rate = 1e-4;
      t->beta2 = 0.99;
      break;
    case Optimizer::kMuon:
      t->weight_decay = 0.1;
      t->momentum = 0.95;
      t->nesterov = true;
      break;
  }
}

}  // namespace

void ReadOptimizer(ObjectReader& reader, TrainingSpec* t) {
  if (auto optimizer = reader.OneOf({"optimizer"}, kOptimizers)) {
    t->optimizer = static_cast<Optimizer>(*optimizer);
  }
  SetDefaults(t);
  const RealRange below_one = {.min = 0, .max = 1, .below_max = true};
  const RealRange from_zero = {.min = 0, .max = kInfinity};
  auto real = [&](const Key& key, const RealRange& range, double* value) {
    *value = reader.Real(key, range).value_or(*value);
  };
  auto whole = [&](const Key& key, int64_t most, int64_t* value) {
    *value = reader.Whole(key, 1, most).value_or(*value);
  };
  real({"learning_rate", "lr"}, {.min = 0, .max = kInfinity, .above_min = true}, &t->learning_rate);
  real(kWeightDecay, from_zero, &t->weight_decay);
  real(kMomentum, below_one, &t->momentum);
  t->nesterov = reader.Bool(kNesterov).value_or(t->nesterov);
  real(kBeta1, below_one, &t->beta1);
  real(kBeta2, below_one, &t->beta2);
  real(kEpsilon, {.min = 0, .max = 1, .above_min = true}, &t->epsilon);
  real(kAlpha, below_one, &t->alpha);
  t->centered = reader.Bool(kCentered).value_or(t->centered);
  real(kLrDecay, from_zero, &t->lr_decay);
  real(kInitialAccumulator, from_zero, &t->initial_accumulator);
  whole(kMaxIter, kMostIterations, &t->max_iter);
  whole(kHistorySize, kMostHistory, &t->history_size);
  real(kToleranceGrad, from_zero, &t->tolerance_grad);
  real(kToleranceChange, from_zero, &t->tolerance_change);
  if (auto scale = reader.OneOf(kAdjustLr, kMuonScales)) {
    t->muon_scale = static_cast<MuonScale>(*scale);
  }
  whole(kNsSteps, kMostNewtonSchulzSteps, &t->ns_steps);
  RefuseMisplaced(reader, OwnedKeys(), static_cast<int>(t->optimizer), kOptimizers, "optimizer");
  if (t->optimizer == Optimizer::kSgd && t->nesterov && t->momentum == 0) {
    reader.Refuse(kNesterov, "needs a momentum", "momentum above 0", "add \"momentum\": 0.9");
  }
}

void WriteOptimizer(const TrainingSpec& t, Json* json) {
  const std::pair<Key, Json> values[] = {
      {kWeightDecay, t.weight_decay},
      {kMomentum, t.momentum},
      {kNesterov, t.nesterov},
      {kBeta1, t.beta1},
      {kBeta2, t.beta2},
      {kEpsilon, t.epsilon},
      {kAlpha, t.alpha},
      {kCentered, t.centered},
      {kLrDecay, t.lr_decay},
      {kInitialAccumulator, t.initial_accumulator},
      {kMaxIter, t.max_iter},
      {kHistorySize, t.history_size},
      {kToleranceGrad, t.tolerance_grad},
      {kToleranceChange, t.tolerance_change},
      {kAdjustLr, NameOf(kMuonScales, static_cast<int>(t.muon_scale))},
      {kNsSteps, t.ns_steps},
  };
  const int optimizer = static_cast<int>(t.optimizer);
  (*json)["optimizer"] = NameOf(kOptimizers, optimizer);
  (*json)["learning_rate"] = t.learning_rate;
  WriteOwned(OwnedKeys(), optimizer, values, json);
}

}  // namespace cyxwiz::spec
