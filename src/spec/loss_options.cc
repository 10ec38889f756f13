#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "base/text.h"
#include "spec/hyperparameters.h"
#include "spec/training_options.h"

namespace cyxwiz::spec {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

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

constexpr Key kLabelSmoothing = {"label_smoothing"}, kHuberDelta = {"huber_delta"};

const std::vector<OwnedKey>& OwnedKeys() {
  static const std::vector<OwnedKey> keys{
      {kLabelSmoothing, {static_cast<int>(Loss::kCrossEntropy)}},
      {kClassWeightsKey, {static_cast<int>(Loss::kCrossEntropy)}},
      {kHuberDelta, {static_cast<int>(Loss::kHuber)}},
  };
  return keys;
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
  if (names->size() > kMaxJobMetrics) {
    reader.Refuse(kMetricsKey, "names too many metrics",
                  "at most " + std::to_string(kMaxJobMetrics));
    return;
  }
  for (const std::string& name : *names) {
    Metric metric;
    metric.top = TopOf(name);
    metric.kind = Metric::Kind::kTopAccuracy;
    metric.name = name;
    std::vector<std::string> known{"top_5_accuracy"};
    for (const Choice& choice : kMetrics) {
      known.emplace_back(choice.name);
      if (metric.top > 0 || !SameName(name, choice.name)) continue;
      metric = {static_cast<Metric::Kind>(choice.value), std::string(choice.name), 1};
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
    if (!weight || !(*weight >= 0) || !FitsFloat32(*weight)) {
      reader.Refuse(kClassWeightsKey, "is no list of weights",
                    "a number of float32 from 0 up for each class, such as 1, 2.5, or balanced");
      training->class_weights.clear();  // they are not counted, too
      return;
    }
    training->class_weights.push_back(*weight);
    sum += *weight;
  }
  if (sum == 0) reader.Refuse(kClassWeightsKey, "gives no class a weight", "one above 0 at least");
}

}  // namespace

bool IsNumberMetric(std::string_view name) {
  return TopOf(std::string(name)) > 0 ||
         std::any_of(std::begin(kMetrics), std::end(kMetrics), [name](const Choice& choice) {
           return name == choice.name && !choice.alias &&
                  choice.value != static_cast<int>(Metric::Kind::kConfusionMatrix);
         });
}

void ReadLoss(ObjectReader& reader, TrainingSpec* training) {
  if (auto loss = reader.OneOf({"loss"}, kLosses)) training->loss = static_cast<Loss>(*loss);
  if (auto target = reader.OneOf({"target"}, kTargets)) {
    training->target = static_cast<Target>(*target);
  }
  training->label_smoothing =
      reader.Real(kLabelSmoothing, {.min = 0, .max = 1, .below_max = true}).value_or(0);
  ReadClassWeights(reader, training);
  training->huber_delta =
      reader.Real(kHuberDelta, {.min = 0, .max = kInfinity, .above_min = true}).value_or(1);
  ReadMetrics(reader, training);
  RefuseMisplaced(reader, OwnedKeys(), static_cast<int>(training->loss), kLosses, "loss");
}

void WriteLoss(const TrainingSpec& training, Json* json) {
  (*json)["loss"] = LossName(training.loss);
  (*json)["target"] = NameOf(kTargets, static_cast<int>(training.target));
  if (training.loss == Loss::kCrossEntropy) {
    (*json)["label_smoothing"] = training.label_smoothing;
    if (training.balanced_class_weights) (*json)["class_weights"] = "balanced";
    if (!training.class_weights.empty()) (*json)["class_weights"] = training.class_weights;
  }
  if (training.loss == Loss::kHuber) (*json)["huber_delta"] = training.huber_delta;
  (*json)["metrics"] = Json::array();
  for (const Metric& metric : training.metrics) (*json)["metrics"].push_back(metric.name);
}

std::string LossName(Loss loss) { return NameOf(kLosses, static_cast<int>(loss)); }

}  // namespace cyxwiz::spec
