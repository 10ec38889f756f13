// The groups that hyperparameters fall into. Each group's file knows the names, defaults and limits
// of its options, refuses those that the choices made leave without effect, and writes the others.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spec/job_spec.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {

// An option, and the values of a choice (an optimizer, a loss, a schedule) that use it.
struct OwnedKey {
  Key key;
  std::vector<int> owners;
};

// Refuses what the chosen value would ignore. what: of what it is a value, "optimizer".
void RefuseMisplaced(ObjectReader& reader, std::span<const OwnedKey> keys, int chosen,
                     std::span<const Choice> choices, const std::string& what);

// Writes those of the values that the chosen one uses.
void WriteOwned(std::span<const OwnedKey> keys, int chosen,
                std::span<const std::pair<Key, Json>> values, Json* json);

// The name by which a value goes.
std::string NameOf(std::span<const Choice> choices, int value);

// Lists.
inline constexpr Key kMetricsKey = {"metrics"};
inline constexpr Key kClassWeightsKey = {"class_weights", "class_weight"};
inline constexpr Key kMilestonesKey = {"lr_milestones"};

// loss_options.cc: what is minimised, and what is measured beside it.
void ReadLoss(ObjectReader& reader, TrainingSpec* training);
void WriteLoss(const TrainingSpec& training, Json* json);

// optimizer_options.cc
void ReadOptimizer(ObjectReader& reader, TrainingSpec* training);
void WriteOptimizer(const TrainingSpec& training, Json* json);

// schedule_options.cc: the learning rate over time. After epochs has been read.
void ReadSchedule(ObjectReader& reader, TrainingSpec* training);
void WriteSchedule(const TrainingSpec& training, Json* json);

// loop_options.cc: gradients between backward pass and step, averaged and best weights, early end.
// After optimizer and schedule.
void ReadLoop(ObjectReader& reader, TrainingSpec* training);
void WriteLoop(const TrainingSpec& training, Json* json);

}  // namespace cyxwiz::spec
