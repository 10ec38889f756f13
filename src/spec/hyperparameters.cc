#include "spec/hyperparameters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "spec/count.h"
#include "spec/training_options.h"

namespace cyxwiz::spec {
namespace {

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

// Whether the batch size is to be chosen; a problem when the job's field has one.
bool IsAuto(const JobDescription& description, ObjectReader& reader) {
  static constexpr Key kKey = {"batch_size"};
  const Json* value = reader.Find(kKey);
  if (value == nullptr || !SameName(value->get_ref<const std::string&>(), "auto")) return false;
  if (description.batch_size != 0) {
    reader.Refuse(kKey, "differs from the job's field of that name",
                  std::to_string(description.batch_size), "leave one out");
  }
  return true;
}

}  // namespace

void CheckHyperparameters(const JobDescription& description, TrainingSpec* training,
                          Problems* problems) {
  const Json values = description.hyperparameters;
  ObjectReader reader(values, "$.hyperparameters", problems, ObjectReader::Values::kText);
  ReadOptimizer(reader, training);
  ReadLoss(reader, training);
  training->auto_batch_size = IsAuto(description, reader);
  if (!training->auto_batch_size) {
    training->batch_size = FieldOrMap("batch_size", description.batch_size, kMaxBatchSize,
                                      training->batch_size, reader, problems);
  }
  training->epochs =
      FieldOrMap("epochs", description.epochs, kMaxEpochs, training->epochs, reader, problems);
  ReadSchedule(reader, training);
  ReadLoop(reader, training);
  training->seed = static_cast<uint64_t>(
      reader.Whole({"seed"}, 0, std::numeric_limits<int64_t>::max()).value_or(0));
  training->validation_split =
      reader.Real({"validation_split"}, {.min = 0, .max = 1, .below_max = true})
          .value_or(training->validation_split);
  training->threads = reader.Whole({"threads"}, 0, kMaxThreads).value_or(training->threads);
  training->checkpoint_seconds =
      reader.Real({"checkpoint_seconds"}, {.min = 0, .max = kMaxCheckpointSeconds})
          .value_or(training->checkpoint_seconds);
  training->checkpoints_kept = reader.Whole({"checkpoints_kept"}, 1, kMaxCheckpointsKept)
                                   .value_or(training->checkpoints_kept);
  reader.RefuseUnknown();
}

void CheckSharing(const std::map<std::string, std::string>& hyperparameters, int64_t ranks,
                  Problems* problems) {
  auto found = hyperparameters.find("shard_optimizer");
  if (ranks > 1 || found == hyperparameters.end()) return;
  Problems told;  // of what it is when it is no truth value, by who reads it
  const Json values{{found->first, found->second}};
  ObjectReader reader(values, "$.hyperparameters", &told, ObjectReader::Values::kText);
  if (!reader.Bool({"shard_optimizer"}).value_or(false)) return;
  problems->Add({"$.hyperparameters.shard_optimizer",
                 "has no effect: a single rank has nobody to share the optimizer's state with",
                 "a job of several ranks", "1 rank",
                 "leave it out, or set resources.nodes or resources.processes to 2 or more"});
}

bool TakesList(std::string_view name) {
  return name == kMetricsKey.name || name == kClassWeightsKey.name ||
         name == kClassWeightsKey.alias || name == kMilestonesKey.name;
}

int64_t ValidationSamples(const TrainingSpec& training, int64_t samples) {
  if (training.validation_split <= 0 || samples < 2) return 0;
  return std::clamp<int64_t>(std::llround(training.validation_split * static_cast<double>(samples)),
                             1, samples - 1);
}

Task TaskOf(const TrainingSpec& training, const ModelSpec& model) {
  if (training.target == Target::kInput) return Task::kNumbers;
  if (training.loss == Loss::kCrossEntropy || training.loss == Loss::kKl) return Task::kClasses;
  if (ElementCount(model.output_shape) > 1) return Task::kClasses;
  return training.loss == Loss::kBinaryCrossEntropy ? Task::kBinary : Task::kNumbers;
}

Json TrainingToJson(const TrainingSpec& training) {
  Json json{{"batch_size", training.batch_size},
            {"epochs", training.epochs},
            {"seed", training.seed},
            {"validation_split", training.validation_split}};
  WriteOptimizer(training, &json);
  WriteLoss(training, &json);
  WriteSchedule(training, &json);
  WriteLoop(training, &json);
  return json;
}

}  // namespace cyxwiz::spec
