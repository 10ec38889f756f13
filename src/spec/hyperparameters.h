// The hyperparameters of a training job: texts on the wire, typed and checked here.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "spec/job_spec.h"

namespace cyxwiz::spec {

// Fills *training from the description's hyperparameters, batch_size and epochs; every wrong,
// unknown, misplaced or contradictory one becomes a problem and keeps its default.
void CheckHyperparameters(const JobDescription& description, TrainingSpec* training,
                          Problems* problems);

// Refuses shard_optimizer where there is no other rank to share with. ranks: at most so many.
void CheckSharing(const std::map<std::string, std::string>& hyperparameters, int64_t ranks,
                  Problems* problems);

// Whether the hyperparameter of that name is a list: a text with commas, in a job file an array
// too.
bool TakesList(std::string_view name);

// Whether a metric that is one number goes by that name: "f1", "top_5_accuracy".
bool IsNumberMetric(std::string_view name);

std::string LossName(Loss loss);  // "cross_entropy"

}  // namespace cyxwiz::spec
