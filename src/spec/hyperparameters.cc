#include "spec/hyperparameters.h"

#include <cmath>
#include <limits>
#include <span>

#include "base/text.h"
#include "spec/count.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Those that are lists.
constexpr Key kMetricsKey = {"metrics"};
constexpr Key kClassWeightsKey = {"class_weights", "class_weight"};

constexpr Choice kOptimizers[] = {
    {"sgd", static_cast<int>(Optimizer::kSgd)},
    {"adam", static_cast<int>(Optimizer::kAdam)},
    {"adamw", static_cast<int>(Optimizer::kAdamW)},
};

constexpr Choice kLosses[] = {
    {"cross_entropy", static_cast<int>(Loss::kCrossEntropy)},
    {"binary_cross_entropy", static_cast<int>(Loss::kBinaryCrossEntropy)},
    {"mse", static_cast<int>(Loss::kMse)},
    {"l1", static_cast<int>(Loss::kL1)},
    {"huber", static_cast<int>(Loss::kHuber)},
    {"kl", static_cast<int>(Loss::kKl)},
    {"cross_entropy_loss", static_cast<int>(Loss::kCrossEntropy), true},
    {"categorical_crossentropy", static_cast<int>(Loss::kCrossEntropy), true},
    {"sparse_categorical_crossentropy", static_cast<int>(Loss::kCrossEntropy), true},
    {"bce", static_cast<int>(Loss::kBinaryCrossEntropy), true},
    {"bce_with_logits_loss", static_cast<int>(Loss::kBinaryCrossEntropy), true},
    {"mse_loss", static_cast<int>(Loss::kMse), true},
    {"mean_squared_error", static_cast<int>(Loss::kMse), true},
    {"l1_loss", static_cast<int>(Loss::kL1), true},
    {"mae", static_cast<int>(Loss::kL1), true},
    {"mean_absolute_error", static_cast<int>(Loss::kL1), true},
    {"huber_loss", static_cast<int>(Loss::kHuber), true},
    {"kl_div", static_cast<int>(Loss::kKl), true},
    {"kl_div_loss", static_cast<int>(Loss::kKl), true},
    {"kl_divergence", static_cast<int>(Loss::kKl), true},
};

constexpr Choice kTargets[] = {
    {"label", static_cast<int>(Target::kLabel)},
    {"input", static_cast<int>(Target::kInput)},
};

constexpr Choice kMetrics[] = {
    {"accuracy", static_cast<int>(Metric::Kind::kAccuracy)},
    {"precision", static_cast<int>(Metric::Kind::kPrecision)},
    {"recall", static_cast<int>(Metric::Kind::kRecall)},
    {"f1", static_cast<int>(Metric::Kind::kF1)},
    {"auc", static_cast<int>(Metric::Kind::kAuc)},
    {"perplexity", static_cast<int>(Metric::Kind::kPerplexity)},
    {"confusion_matrix", static_cast<int>(Metric::Kind::kConfusionMatrix)},
    {"mae", static_cast<int>(Metric::Kind::kMae)},
    {"rmse", static_cast<int>(Metric::Kind::kRmse)},
    {"r2", static_cast<int>(Metric::Kind::kR2)},
    {"f1_score", static_cast<int>(Metric::Kind::kF1), true},
    {"roc_auc", static_cast<int>(Metric::Kind::kAuc), true},
    {"mean_absolute_error", static_cast<int>(Metric::Kind::kMae), true},
    {"root_mean_squared_error", static_cast<int>(Metric::Kind::kRmse), true},
    {"r2_score", static_cast<int>(Metric::Kind::kR2), true},
};

// The name by which a value goes.
std::string NameOf(std::span<const Choice> choices, auto value) {
  for (const Choice& choice : choices) {
    if (choice.value == static_cast<int>(value)) return std::string(choice.name);
  }
  return "";
}

// batch_size and epochs may stand in a field of the job and in the map: equal, or refused.
int64_t FieldOrMap(const char* name, int64_t field, int64_t max, int64_t otherwise,
                   ObjectReader& reader, Problems* problems) {
  auto in_map = reader.Whole({name}, 1, max);
  if (field != 0 && (field < 1 || field > max)) {
    problems->Add({std::string("$.") + name, std::string(name) + " is out of range",
                   "a whole number from 1 to " + std::to_string(max), std::to_string(field), ""});
  } else if (field != 0 && in_map && *in_map != field) {
    reader.Refuse({name}, "differs from the job's field of that name", std::to_string(field),
                  "leave one out");
  }
  return in_map.value_or(field != 0 ? field : otherwise);
}

// Refuses options that would be ignored; what: whose choice makes them so.
void RefuseMisplaced(ObjectReader& reader, std::initializer_list<Key> keys, const std::string& what,
                     const std::string& owner) {
  for (const Key& key : keys) {
    if (reader.Find(key) != nullptr) {
      reader.Refuse(key, "has no effect with this " + what, "it only with " + owner,
                    "leave it out, or choose another " + what);
    }
  }
}

// "top_5_accuracy" is 5; 0 for what is no such name.
int64_t TopOf(const std::string& name) {
  constexpr std::string_view kBegin = "top_", kEnd = "_accuracy";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return 0;
  if (name.size() <= kBegin.size() + kEnd.size()) return 0;
  auto top = ParseInt(
      std::string_view(name).substr(kBegin.size(), name.size() - kBegin.size() - kEnd.size()));
  return top && *top >= 2 && *top <= kMaxTopAccuracy ? *top : 0;
}

void ReadMetrics(ObjectReader& reader, TrainingSpec* training) {
  auto names = reader.List(kMetricsKey);
  if (!names) return;
  for (const std::string& name : *names) {
    Metric metric;
    metric.top = TopOf(name);
    metric.kind = Metric::Kind::kTopAccuracy;
    metric.name = name;
    std::vector<std::string> known{"top_5_accuracy"};
    for (const Choice& choice : kMetrics) {
      known.emplace_back(choice.name);
      if (metric.top > 0 || !SameName(name, choice.name)) continue;
      metric = {static_cast<Metric::Kind>(choice.value), NameOf(kMetrics, choice.value), 1};
    }
    if (metric.top == 0) {
      reader.Refuse(
          kMetricsKey, "names what is no metric",
          "accuracy, top_5_accuracy (2 to " + std::to_string(kMaxTopAccuracy) +
              "), precision, recall, f1, auc, perplexity, confusion_matrix, mae, rmse, r2",
          DidYouMean(name, known));
      return;
    }
    for (const Metric& other : training->metrics) {
      if (other.name == metric.name)
        return reader.Refuse(kMetricsKey, "names a metric twice", "each once");
    }
    training->metrics.push_back(std::move(metric));
  }
}

void ReadClassWeights(ObjectReader& reader, TrainingSpec* training) {
  auto texts = reader.List(kClassWeightsKey);
  if (!texts) return;
  if (texts->size() == 1 && SameName(texts->front(), "balanced")) {
    training->balanced_class_weights = true;
    return;
  }
  double sum = 0;
  for (const std::string& text : *texts) {
    auto weight = ParseDouble(text);
    if (!weight || !std::isfinite(*weight) || *weight < 0) {
      reader.Refuse(kClassWeightsKey, "is no list of weights",
                    "a number from 0 up for each class, such as 1, 2.5, or balanced");
      return;
    }
    training->class_weights.push_back(*weight);
    sum += *weight;
  }
  if (sum == 0) reader.Refuse(kClassWeightsKey, "gives no class a weight", "one above 0 at least");
}

void ReadLoss(ObjectReader& reader, TrainingSpec* training) {
  static constexpr Key kSmoothing = {"label_smoothing"}, kDelta = {"huber_delta"};
  if (auto loss = reader.OneOf({"loss"}, kLosses)) training->loss = static_cast<Loss>(*loss);
  if (auto target = reader.OneOf({"target"}, kTargets)) {
    training->target = static_cast<Target>(*target);
  }
  training->label_smoothing =
      reader.Real(kSmoothing, {.min = 0, .max = 1, .below_max = true}).value_or(0);
  ReadClassWeights(reader, training);
  training->huber_delta =
      reader.Real(kDelta, {.min = 0, .max = kInfinity, .above_min = true}).value_or(1);
  if (training->loss != Loss::kCrossEntropy) {
    RefuseMisplaced(reader, {kSmoothing, kClassWeightsKey}, "loss", "cross_entropy");
  }
  if (training->loss != Loss::kHuber) RefuseMisplaced(reader, {kDelta}, "loss", "huber");
}

}  // namespace

void CheckHyperparameters(const JobDescription& description, TrainingSpec* training,
                          Problems* problems) {
  const Json values = description.hyperparameters;
  ObjectReader reader(values, "$.hyperparameters", problems, ObjectReader::Values::kText);

  if (auto optimizer = reader.OneOf({"optimizer"}, kOptimizers)) {
    training->optimizer = static_cast<Optimizer>(*optimizer);
  }
  const bool sgd = training->optimizer == Optimizer::kSgd;
  ReadLoss(reader, training);
  ReadMetrics(reader, training);

  training->learning_rate =
      reader.Real({"learning_rate", "lr"}, {.min = 0, .max = kInfinity, .above_min = true})
          .value_or(sgd ? 1e-2 : 1e-3);
  training->weight_decay = reader.Real({"weight_decay"}, {.min = 0, .max = kInfinity})
                               .value_or(training->optimizer == Optimizer::kAdamW ? 1e-2 : 0);

  static constexpr Key kMomentum = {"momentum"}, kNesterov = {"nesterov"};
  static constexpr Key kBeta1 = {"beta1", "beta_1"}, kBeta2 = {"beta2", "beta_2"};
  static constexpr Key kEpsilon = {"epsilon", "eps"};
  const RealRange below_one = {.min = 0, .max = 1, .below_max = true};
  training->momentum = reader.Real(kMomentum, below_one).value_or(training->momentum);
  training->nesterov = reader.Bool(kNesterov).value_or(training->nesterov);
  training->beta1 = reader.Real(kBeta1, below_one).value_or(training->beta1);
  training->beta2 = reader.Real(kBeta2, below_one).value_or(training->beta2);
  training->epsilon =
      reader.Real(kEpsilon, {.min = 0, .max = 1, .above_min = true}).value_or(training->epsilon);
  if (sgd) {
    RefuseMisplaced(reader, {kBeta1, kBeta2, kEpsilon}, "optimizer", "adam and adamw");
    if (training->nesterov && training->momentum == 0) {
      reader.Refuse(kNesterov, "needs a momentum", "momentum above 0", "add \"momentum\": 0.9");
    }
  } else {
    RefuseMisplaced(reader, {kMomentum, kNesterov}, "optimizer", "sgd");
  }

  training->batch_size = FieldOrMap("batch_size", description.batch_size, kMaxBatchSize,
                                    training->batch_size, reader, problems);
  training->epochs =
      FieldOrMap("epochs", description.epochs, kMaxEpochs, training->epochs, reader, problems);
  training->seed = static_cast<uint64_t>(
      reader.Whole({"seed"}, 0, std::numeric_limits<int64_t>::max()).value_or(0));
  training->validation_split =
      reader.Real({"validation_split"}, below_one).value_or(training->validation_split);
  training->threads = reader.Whole({"threads"}, 0, kMaxThreads).value_or(training->threads);
  training->checkpoint_seconds =
      reader.Real({"checkpoint_seconds"}, {.min = 0, .max = kMaxCheckpointSeconds})
          .value_or(training->checkpoint_seconds);
  reader.RefuseUnknown();
}

bool TakesList(std::string_view name) {
  return name == kMetricsKey.name || name == kClassWeightsKey.name ||
         name == kClassWeightsKey.alias;
}

std::string LossName(Loss loss) { return NameOf(kLosses, loss); }

Task TaskOf(const TrainingSpec& training, const ModelSpec& model) {
  if (training.target == Target::kInput) return Task::kNumbers;
  if (training.loss == Loss::kCrossEntropy || training.loss == Loss::kKl) return Task::kClasses;
  if (ElementCount(model.output_shape) > 1) return Task::kClasses;
  return training.loss == Loss::kBinaryCrossEntropy ? Task::kBinary : Task::kNumbers;
}

Json TrainingToJson(const TrainingSpec& training) {
  Json json{{"optimizer", NameOf(kOptimizers, training.optimizer)},
            {"learning_rate", training.learning_rate},
            {"weight_decay", training.weight_decay},
            {"batch_size", training.batch_size},
            {"epochs", training.epochs},
            {"seed", training.seed},
            {"loss", NameOf(kLosses, training.loss)},
            {"target", NameOf(kTargets, training.target)},
            {"validation_split", training.validation_split}};
  if (training.optimizer == Optimizer::kSgd) {
    json["momentum"] = training.momentum;
    json["nesterov"] = training.nesterov;
  } else {
    json["beta1"] = training.beta1;
    json["beta2"] = training.beta2;
    json["epsilon"] = training.epsilon;
  }
  if (training.loss == Loss::kCrossEntropy) {
    json["label_smoothing"] = training.label_smoothing;
    if (training.balanced_class_weights) json["class_weights"] = "balanced";
    if (!training.class_weights.empty()) json["class_weights"] = training.class_weights;
  }
  if (training.loss == Loss::kHuber) json["huber_delta"] = training.huber_delta;
  json["metrics"] = Json::array();
  for (const Metric& metric : training.metrics) json["metrics"].push_back(metric.name);
  return json;
}

}  // namespace cyxwiz::spec
