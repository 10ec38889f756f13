// From what a reader gives to the data set of the training: the test part set aside, missing values
// filled in, features scaled. Internal to src/data.
#pragma once

#include <vector>

#include "data/fault.h"
#include "data/preparation.h"
#include "data/raw.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

// Completes raw->info, and raw->dataset when there is one. prepared: how a model wants its data;
// null: as the training samples themselves say. With it a dataset is left to Adapt.
Fault Prepare(const spec::DatasetUri& uri, const Preparation* prepared, Raw* raw);

// Mean and deviation of the training samples, of what is scaled alike, as the model sees them.
// Reads samples that stay in files once.
Fault MeasureTraining(const Dataset& dataset, std::vector<float>* mean,
                      std::vector<float>* deviation);

// Prepares a data set as a model wants it: fills in and scales with the model's values, and gives
// labels the numbers that its classes have there.
Fault Adapt(const spec::DatasetUri& uri, const Preparation& prepared, Dataset* dataset);

}  // namespace cyxwiz::data
