// Whether the files of a job's data set are those that they were when the job was accepted.
#pragma once

#include "base/status.h"
#include "data/dataset.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// OK for data that a server has not seen, and for one that a node has delivered and verified.
// Files that were not written to since are not read; INVALID_ARGUMENT, saying which, when one has
// changed.
Status CheckSourceFiles(const spec::JobDescription& job, const data::Roots& roots);

}  // namespace cyxwiz::runner
