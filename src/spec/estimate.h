// What a job will need, from its shapes alone. Rough on purpose: the scheduler places jobs by it.
#pragma once

#include "spec/job_spec.h"

namespace cyxwiz::spec {

// The peak of memory, the work and the size of the result. dataset: null when the data was not
// seen; it then counts as nothing.
Estimate EstimateJob(const ModelSpec& model, const TrainingSpec& training,
                     const DatasetInfo* dataset);

}  // namespace cyxwiz::spec
