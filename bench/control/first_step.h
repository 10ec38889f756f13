// How long it takes from SubmitJob to the first training step on an idle, warm node.
#pragma once

#include <string>
#include <vector>

namespace cyxwiz::bench {

struct FirstStepResult {
  // One value a job, milliseconds from sending SubmitJob.
  std::vector<double> accepted_ms;  // until its answer: checked, queued, committed
  std::vector<double>
      running_ms;  // until the job's stream says RUNNING: the first step is done and was reported
  std::vector<std::string> job_ids;
};

// Submits `count` small jobs, one after another, each once the one before has ended. Throws
// std::runtime_error.
FirstStepResult MeasureFirstStep(const std::string& server, int count);

}  // namespace cyxwiz::bench
