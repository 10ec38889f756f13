#include "spec/hyperparameters.h"

#include <limits>

#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr Choice kOptimizers[] = {
    {"sgd", static_cast<int>(Optimizer::kSgd)},
    {"adam", static_cast<int>(Optimizer::kAdam)},
    {"adamw", static_cast<int>(Optimizer::kAdamW)},
};

constexpr Choice kLosses[] = {
    {"cross_entropy", static_cast<int>(Loss::kCrossEntropy)},
    {"mse", static_cast<int>(Loss::kMse)},
    {"cross_entropy_loss", static_cast<int>(Loss::kCrossEntropy), true},
    {"categorical_crossentropy", static_cast<int>(Loss::kCrossEntropy), true},
    {"sparse_categorical_crossentropy", static_cast<int>(Loss::kCrossEntropy), true},
    {"mse_loss", static_cast<int>(Loss::kMse), true},
    {"mean_squared_error", static_cast<int>(Loss::kMse), true},
};

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

// Refuses options that the chosen optimizer would ignore.
void RefuseMisplaced(ObjectReader& reader, std::initializer_list<Key> keys, const char* owner) {
  for (const Key& key : keys) {
    if (reader.Find(key) != nullptr) {
      reader.Refuse(key, "has no effect with this optimizer", std::string("it only with ") + owner,
                    "leave it out, or choose another optimizer");
    }
  }
}

const char* NameOf(Optimizer optimizer) {
  switch (optimizer) {
    case Optimizer::kSgd:
      return "sgd";
    case Optimizer::kAdam:
      return "adam";
    case Optimizer::kAdamW:
      return "adamw";
  }
  return "";
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
  if (auto loss = reader.OneOf({"loss"}, kLosses)) training->loss = static_cast<Loss>(*loss);

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
    RefuseMisplaced(reader, {kBeta1, kBeta2, kEpsilon}, "adam and adamw");
    if (training->nesterov && training->momentum == 0) {
      reader.Refuse(kNesterov, "needs a momentum", "momentum above 0", "add \"momentum\": 0.9");
    }
  } else {
    RefuseMisplaced(reader, {kMomentum, kNesterov}, "sgd");
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

Json TrainingToJson(const TrainingSpec& training) {
  Json json{{"optimizer", NameOf(training.optimizer)},
            {"learning_rate", training.learning_rate},
            {"weight_decay", training.weight_decay},
            {"batch_size", training.batch_size},
            {"epochs", training.epochs},
            {"seed", training.seed},
            {"loss", training.loss == Loss::kMse ? "mse" : "cross_entropy"},
            {"validation_split", training.validation_split}};
  if (training.optimizer == Optimizer::kSgd) {
    json["momentum"] = training.momentum;
    json["nesterov"] = training.nesterov;
  } else {
    json["beta1"] = training.beta1;
    json["beta2"] = training.beta2;
    json["epsilon"] = training.epsilon;
  }
  return json;
}

}  // namespace cyxwiz::spec
