// The hyperparameters of a training job: texts on the wire, typed and checked here.
#pragma once

#include "spec/job_spec.h"

namespace cyxwiz::spec {

// Fills *training from the description's hyperparameters, batch_size and epochs; every wrong,
// unknown, misplaced or contradictory one becomes a problem and keeps its default.
void CheckHyperparameters(const JobDescription& description, TrainingSpec* training,
                          Problems* problems);

}  // namespace cyxwiz::spec
