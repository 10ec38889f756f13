#include "spec/check_training.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/resources.h"
#include "spec/count.h"
#include "spec/estimate.h"
#include "spec/hyperparameters.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

using Kind = Metric::Kind;

constexpr const char* kLossPath = "$.hyperparameters.loss";

// The layer to change: the last one that decides the number of outputs.
struct LastLayer {
  explicit LastLayer(const CheckedModel& checked) {
    const auto& layers = checked.spec.layers;
    size_t last = layers.size() - 1;
    for (size_t i = layers.size(); i-- > 0;) {
      if (layers[i].type != "dense") continue;
      last = i;
      dense = true;
      break;
    }
    layer_path = checked.PathOf(last);
    path = layer_path + (dense ? ".units" : "");
  }
  bool dense = false;
  std::string layer_path, path;
};

// The activation that the output comes from.
Activation EndOf(const ModelSpec& model) {
  const LayerSpec& last = model.layers.back();
  if (const auto* o = std::get_if<ActivationOptions>(&last.options)) return o->activation;
  return last.activation;
}

// A loss that is computed on logits leaves out the activation that belongs to it; another would be
// applied twice over.
void CheckEnd(const CheckedModel& checked, const TrainingSpec& training, Problems* problems) {
  const Activation end = EndOf(checked.spec);
  const std::string path = checked.PathOf(checked.spec.layers.size() - 1);
  const std::string loss = LossName(training.loss);
  if (training.loss == Loss::kBinaryCrossEntropy && end == Activation::kSoftmax) {
    problems->Add({path, loss + " does not go with a softmax at the model's end",
                   "a sigmoid or no activation", "softmax",
                   "for a softmax set \"loss\" to \"cross_entropy\""});
  } else if ((training.loss == Loss::kCrossEntropy || training.loss == Loss::kKl) &&
             end == Activation::kSigmoid) {
    problems->Add({path, loss + " does not go with a sigmoid at the model's end",
                   "a softmax or no activation", "sigmoid",
                   "for a sigmoid set \"loss\" to \"binary_cross_entropy\""});
  }
}

bool TakesPartsOnly(const TrainingSpec& training) {
  return training.loss == Loss::kBinaryCrossEntropy ||
         (training.loss == Loss::kKl && training.target == Target::kInput);
}

// Losses that compare with numbers from 0 to 1 alone, as far as is known what they compare with.
void CheckTargetValues(const DatasetInfo& dataset, const TrainingSpec& training,
                       Problems* problems) {
  using Values = DatasetInfo::Values;
  if (!TakesPartsOnly(training)) return;
  const std::string compares = LossName(training.loss) + " compares with numbers from 0 to 1, ";
  if (training.target == Target::kInput) {
    const bool around = dataset.values == Values::kAround;
    if (!around && dataset.values != Values::kBytes) return;
    problems->Add({kLossPath, compares + "which the inputs are not", "inputs from 0 to 1",
                   around ? "real numbers on both sides of 0" : "bytes of text",
                   around ? "set \"loss\" to \"mse\", or leave normalize out of the data set's URI"
                          : "set \"loss\" to \"mse\""});
  } else if (dataset.label_range &&
             (dataset.label_range->first < 0 || dataset.label_range->second > 1)) {
    char range[64];
    std::snprintf(range, sizeof range, "%g to %g", dataset.label_range->first,
                  dataset.label_range->second);
    problems->Add({kLossPath, compares + "which the labels are not", "labels from 0 to 1", range,
                   "scale them, or set \"loss\" to \"mse\""});
  }
}

// An autoencoder's output has the values of its input, in its shape or flat.
void CheckReconstruction(const CheckedModel& checked, const TrainingSpec& training,
                         Problems* problems) {
  const ModelSpec& model = checked.spec;
  const int64_t values = ElementCount(model.input_shape);
  if (training.loss == Loss::kCrossEntropy) {
    problems->Add({kLossPath, "cross_entropy cannot compare the output with the input",
                   "mse, l1, huber, binary_cross_entropy or kl", "cross_entropy",
                   "for inputs from 0 to 1, such as images, binary_cross_entropy fits"});
    return;
  }
  if (model.output_shape == model.input_shape || model.output_shape == Shape{values}) return;
  problems->Add({LastLayer(checked).path, "the output cannot be compared with the input",
                 model.input_shape.size() == 1
                     ? ToString(model.input_shape)
                     : ToString(model.input_shape) + " or " + ToString(Shape{values}),
                 ToString(model.output_shape), "set \"target\" to \"label\" to predict labels"});
}

void CheckClassOutput(const CheckedModel& checked, const DatasetInfo* dataset,
                      const TrainingSpec& training, Problems* problems) {
  const Shape& output = checked.spec.output_shape;
  const std::string path = LastLayer(checked).path, loss = LossName(training.loss);
  const int64_t classes = dataset != nullptr ? dataset->classes : 0;
  const std::string class_count = std::to_string(classes), found = ToString(output);
  if (dataset != nullptr && classes == 0) {
    problems->Add({kLossPath, loss + " needs classes as labels", "labels 0, 1, 2, ...",
                   "real numbers", "set \"loss\" to \"mse\""});
  } else if (output.back() == 1) {
    problems->Add({path, loss + " needs an output for each class",
                   classes > 0 ? "at least [" + class_count + "]" : "at least [2]", found,
                   "two classes take 2 units; for one real number set \"loss\" to \"mse\""});
  } else if (output.back() < classes) {
    problems->Add({path, "the labels go beyond the model's outputs",
                   "at least [" + class_count + "], for labels 0 to " + std::to_string(classes - 1),
                   found, "set units to " + class_count});
  } else if (!training.class_weights.empty() &&
             static_cast<int64_t>(training.class_weights.size()) != output.back()) {
    problems->Add({"$.hyperparameters.class_weights", "needs a weight for each output of the model",
                   std::to_string(output.back()) + " weights",
                   std::to_string(training.class_weights.size()), ""});
  }
}

void CheckNumberOutput(const CheckedModel& checked, const DatasetInfo* dataset,
                       const TrainingSpec& training, Problems* problems) {
  if (dataset == nullptr) return;
  const Shape& output = checked.spec.output_shape;
  const std::string path = LastLayer(checked).path, loss = LossName(training.loss);
  const int64_t classes = dataset->classes;
  if (output[0] != 1 && output[0] != classes) {
    problems->Add(
        {path, loss + " cannot compare the model's output with the labels",
         classes > 0 ? "[1], or [" + std::to_string(classes) + "] for one-hot labels" : "[1]",
         ToString(output), ""});
  } else if (training.loss == Loss::kBinaryCrossEntropy && output[0] == 1 && classes > 2) {
    problems->Add({path, "binary_cross_entropy with one output tells two classes apart",
                   "[" + std::to_string(classes) + "]", ToString(output),
                   "set \"loss\" to \"cross_entropy\" and units to " + std::to_string(classes)});
  }
}

// Labels at each position of a sequence.
void CheckSequenceOutput(const CheckedModel& checked, const DatasetInfo* dataset, int64_t positions,
                         const TrainingSpec& training, Problems* problems) {
  const Shape& output = checked.spec.output_shape;
  if (training.loss != Loss::kCrossEntropy) {
    problems->Add({kLossPath, "the data has a class at each position", "cross_entropy",
                   LossName(training.loss), ""});
  } else if (output.size() != 2 || output[0] != positions) {
    const int64_t classes = dataset != nullptr ? dataset->classes : 2;
    problems->Add({LastLayer(checked).layer_path,
                   "the model does not give the classes at each position of the sequence",
                   ToString({positions, classes}), ToString(output),
                   "an lstm or gru needs \"return_sequences\": true; end with {\"type\": "
                   "\"dense\", \"units\": " +
                       std::to_string(classes) + "}"});
  } else {
    CheckClassOutput(checked, dataset, training, problems);
  }
}

// How many labels a sample has; 0: one. What is not known of data that is not seen, the model
// tells.
int64_t PositionsOf(const ModelSpec& model, const DatasetInfo* dataset,
                    const TrainingSpec& training) {
  if (dataset != nullptr) return dataset->label_shape.empty() ? 0 : dataset->label_shape[0];
  return training.loss == Loss::kCrossEntropy && model.output_shape.size() == 2
             ? model.output_shape[0]
             : 0;
}

bool Fits(Kind kind, const TrainingSpec& training, Task task, int64_t outputs) {
  switch (kind) {
    case Kind::kAccuracy:
    case Kind::kPrecision:
    case Kind::kRecall:
    case Kind::kF1:
      return task != Task::kNumbers;
    case Kind::kConfusionMatrix:
      return task == Task::kBinary || (task == Task::kClasses && outputs <= kMaxConfusionClasses);
    case Kind::kTopAccuracy:
      return task == Task::kClasses;
    case Kind::kAuc:
      return task == Task::kBinary || (task == Task::kClasses && outputs == 2);
    case Kind::kPerplexity:
      return training.loss == Loss::kCrossEntropy;
    case Kind::kMae:
    case Kind::kRmse:
    case Kind::kR2:
      return task == Task::kNumbers;
  }
  return false;
}

int64_t TrainedSamples(const DatasetInfo& dataset, const TrainingSpec& training) {
  return dataset.train_samples - ValidationSamples(training, dataset.train_samples);
}

// What lets the monitor be measured.
std::string MonitorHint(std::string_view monitor, const std::vector<std::string>& names) {
  constexpr std::string_view kPart = "validation_";
  if (monitor.starts_with(kPart) && IsNumberMetric(monitor.substr(kPart.size()))) {
    return "add \"" + std::string(monitor.substr(kPart.size())) + "\" to metrics";
  }
  return DidYouMean(monitor, names);
}

bool GreaterIsBetter(Kind kind) {
  return kind != Kind::kMae && kind != Kind::kRmse && kind != Kind::kPerplexity;
}

}  // namespace

void CheckOutput(const CheckedModel& checked, const DatasetInfo* dataset,
                 const TrainingSpec& training, Problems* problems) {
  const ModelSpec& model = checked.spec;
  const size_t before = problems->count();
  const bool classes = training.loss == Loss::kCrossEntropy || training.loss == Loss::kKl;
  if (training.target == Target::kInput) {
    CheckReconstruction(checked, training, problems);
  } else if (const int64_t positions = PositionsOf(model, dataset, training); positions > 0) {
    CheckSequenceOutput(checked, dataset, positions, training, problems);
  } else if (model.output_shape.size() != 1) {
    LastLayer last(checked);
    problems->Add({checked.PathOf(model.layers.size() - 1), "the model's output is not flat",
                   classes ? "[classes]" : "[1] or [classes]", ToString(model.output_shape),
                   last.dense ? "add {\"type\": \"flatten\"} before " + last.layer_path
                              : "end with {\"type\": \"flatten\"} and a dense layer"});
  } else if (classes) {
    CheckClassOutput(checked, dataset, training, problems);
  } else {
    CheckNumberOutput(checked, dataset, training, problems);
  }
  if (problems->count() == before) CheckEnd(checked, training, problems);
  if (problems->count() == before && dataset != nullptr)
    CheckTargetValues(*dataset, training, problems);
}

void CheckWarmup(const DatasetInfo* dataset, const TrainingSpec& training, Problems* problems) {
  if (dataset == nullptr || training.warmup_steps == 0) return;
  auto parts = [](int64_t all, int64_t size) { return (all + size - 1) / size; };
  const int64_t batches = parts(TrainedSamples(*dataset, training), training.batch_size);
  const int64_t steps = Product(training.epochs, parts(batches, training.accumulation));
  if (training.warmup_steps <= steps) return;
  problems->Add({"$.hyperparameters.warmup_steps", "the warm-up goes beyond the training",
                 "at most its steps, " + std::to_string(steps),
                 std::to_string(training.warmup_steps), "raise epochs, or warm up for less"});
}

void CheckMetrics(const ModelSpec& model, TrainingSpec* training, Problems* problems) {
  const Task task = TaskOf(*training, model);
  const int64_t outputs =
      task == Task::kNumbers ? ElementCount(model.output_shape) : model.output_shape.back();
  if (training->metrics.empty()) {
    if (task != Task::kNumbers) {
      training->metrics = {{Kind::kAccuracy, "accuracy"}};
    } else {
      training->metrics = {{Kind::kMae, "mae"}, {Kind::kRmse, "rmse"}, {Kind::kR2, "r2"}};
    }
    return;
  }
  for (const Metric& metric : training->metrics) {
    if (!Fits(metric.kind, *training, task, outputs)) {
      const char* expected = "mae, rmse, r2";
      if (task == Task::kBinary) {
        expected = "accuracy, precision, recall, f1, auc, confusion_matrix";
      } else if (task == Task::kClasses) {
        expected =
            "accuracy, top_<k>_accuracy, precision, recall, f1, confusion_matrix (to 1000 "
            "classes), "
            "auc (two classes), perplexity (cross_entropy)";
      }
      problems->Add({"$.hyperparameters.metrics",
                     "there is no " + metric.name + " for this loss and output", expected,
                     metric.name, ""});
    } else if (metric.top > 1 && metric.top >= outputs) {
      problems->Add({"$.hyperparameters.metrics", metric.name + " would always be 1",
                     "fewer than the model's " + std::to_string(outputs) + " outputs", metric.name,
                     ""});
    }
  }
}

void CheckMonitor(TrainingSpec* training, Problems* problems) {
  if (!training->monitors()) return;
  const bool validation = training->validation_split > 0;
  if (training->monitor.empty()) training->monitor = validation ? "validation_loss" : "train_loss";
  std::vector<std::string> names{"train_loss", "validation_loss"};
  std::string listed = validation ? "train_loss, validation_loss" : "train_loss";
  for (const Metric& metric : training->metrics) {
    if (metric.kind == Kind::kConfusionMatrix) continue;
    if (metric.kind == Kind::kAccuracy) {
      names.push_back("train_accuracy");
      listed += ", train_accuracy";
    }
    names.push_back("validation_" + metric.name);
    if (validation) listed += ", " + names.back();
    if (training->monitor == names.back() || training->monitor == "train_" + metric.name) {
      training->monitor_greater = GreaterIsBetter(metric.kind);
    }
  }
  const bool known = std::find(names.begin(), names.end(), training->monitor) != names.end();
  if (!known) {
    problems->Add({"$.hyperparameters.monitor", "monitor names what is not measured",
                   "one of " + listed, Shown(std::string_view(training->monitor)),
                   MonitorHint(training->monitor, names)});
  } else if (!validation && training->monitor.starts_with("validation_")) {
    problems->Add({"$.hyperparameters.monitor", "there are no validation samples",
                   "one of " + listed, Shown(std::string_view(training->monitor)),
                   "add \"validation_split\": 0.1"});
  }
}

void ChooseBatchSize(const JobDescription& job, const ModelSpec& model, const DatasetInfo* dataset,
                     Device device, TrainingSpec* training, Problems* problems) {
  if (!training->auto_batch_size) return;
  const char* path = "$.hyperparameters.batch_size";
  const int64_t memory = NamedMemory(job);
  if (memory == 0) {
    problems->Add({path, "the batch size can be chosen only when the memory is known",
                   "resources.memory beside it", "nothing",
                   "add \"resources\": {\"memory\": \"2GiB\"}, or give a number"});
    return;
  }
  training->batch_size = kMaxAutoBatchSize;
  auto needed = [&] {
    return EstimateJob(model, *training, dataset, device == Device::kCuda).memory_bytes;
  };
  while (training->batch_size > 1 &&
         ((dataset != nullptr && training->batch_size > TrainedSamples(*dataset, *training)) ||
          needed() > memory)) {
    training->batch_size /= 2;
  }
  if (needed() > memory) {
    problems->Add({path, "no batch fits into the memory", "at least " + FormatBytes(needed()),
                   FormatBytes(memory), "ask for more memory, or use a smaller model"});
  }
}

void CheckBatchNormalization(const CheckedModel& checked, const DatasetInfo* dataset,
                             const TrainingSpec& training, Problems* problems) {
  const bool one_sample = dataset != nullptr && TrainedSamples(*dataset, training) == 1;
  if (training.batch_size > 1 && !one_sample) return;
  for (size_t i = 0; i < checked.spec.layers.size(); ++i) {
    const LayerSpec& layer = checked.spec.layers[i];
    if (layer.type != "batch_normalization" ||
        ElementCount(layer.input_shapes[0]) > layer.input_shapes[0][0]) {
      continue;
    }
    problems->Add({checked.PathOf(i), "batch_normalization needs more than one sample in a batch",
                   one_sample ? "2 training samples or more" : "batch_size 2 or more", "1",
                   one_sample ? "leave batch_normalization out" : "raise batch_size"});
    return;
  }
}

}  // namespace cyxwiz::spec
