// From what a reader gives to the data set of the training: the test part set aside, missing values
// filled in, features scaled. Internal to src/data.
#pragma once

#include "data/fault.h"
#include "data/raw.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

// Completes raw->info, and raw->dataset when there is one.
Fault Prepare(const spec::DatasetUri& uri, Raw* raw);

}  // namespace cyxwiz::data
