// Whether a training fits its model and its data: what neither of the three can tell alone.
#pragma once

#include "spec/check_model.h"
#include "spec/job_spec.h"

namespace cyxwiz::spec {

// Whether the loss can compare the model's output with its target. dataset: null when the data was
// not seen; labels are then taken to fit.
void CheckOutput(const CheckedModel& checked, const DatasetInfo* dataset,
                 const TrainingSpec& training, Problems* problems);

// Whether the metrics that were asked for can be computed of what the model says; fills in the
// default ones when none were.
void CheckMetrics(const ModelSpec& model, TrainingSpec* training, Problems* problems);

// Whether the metric that decides on the epochs is one that is measured; fills in the default: the
// loss over the validation samples, without these over those of training. After CheckMetrics.
void CheckMonitor(TrainingSpec* training, Problems* problems);

// Sets a batch size that is to be chosen: the largest power of two, at most kMaxAutoBatchSize and
// the training samples, with which the estimate of memory stays within what the job asks for.
void ChooseBatchSize(const JobDescription& job, const ModelSpec& model, const DatasetInfo* dataset,
                     Device device, TrainingSpec* training, Problems* problems);

// Whether the warm-up ends before the training does. After the batch size is known.
void CheckWarmup(const DatasetInfo* dataset, const TrainingSpec& training, Problems* problems);

// One value a channel cannot be normalised over a batch of one.
void CheckBatchNormalization(const CheckedModel& checked, const DatasetInfo* dataset,
                             const TrainingSpec& training, Problems* problems);

}  // namespace cyxwiz::spec
