// What the attempts of all types of jobs share.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "runner/attempt.h"
#include "runner/engine.h"
#include "runner/protocol.h"

namespace cyxwiz::runner {

double SecondsSince(std::chrono::steady_clock::time_point begin);

// To the attempt's log.
void LogLine(const std::string& line);
// From now on LogLine does nothing in this process.
void SilenceLog();

// CYXWIZ_RUNNER_FAULT, see attempt.h.
struct InjectedFault {
  int64_t crash_after_step = 0;
  bool hang_on_stop = false;
  bool oom = false;

  static InjectedFault FromEnvironment();
  // After a step, of a training or of a model's run: crashes or takes memory if it is time.
  void Strike(int64_t step) const;
};

// path: of what in the job it is about.
Failure FailureOf(const Status& status, const std::string& path);
// Of a result that cannot be written.
Failure NotKept(const Status& status);

// Of AttemptHooks::interruptible; nullptr when there is none.
std::unique_ptr<Interruption> Interruptible(const AttemptHooks& hooks);

// Cores of the attempt that this machine has.
int ThreadsAllowed(const StartMessage& start);

// {"part": "test", "counts": [[...], ...]}
Json ToJson(const ConfusionMatrix& matrix);

// Runs the model of an evaluation or an inference, whose weights lie in the attempt's folder, and
// writes the result; see RunAttempt. class_names: in the order of the outputs, or none.
// interruption: ends before the model runs.
void RunModelAttempt(const StartMessage& start, const AttemptHooks& hooks, const spec::JobSpec& job,
                     const data::Dataset& dataset, const std::vector<std::string>& class_names,
                     std::unique_ptr<Interruption> interruption,
                     std::chrono::steady_clock::time_point begin, AttemptResult* result);

// Writes the data set of a preprocessing into the attempt's folder; see RunAttempt.
void RunPreprocessing(const StartMessage& start, const AttemptHooks& hooks,
                      const spec::JobSpec& job, const data::Dataset& dataset,
                      std::unique_ptr<Interruption> interruption,
                      std::chrono::steady_clock::time_point begin, AttemptResult* result);

}  // namespace cyxwiz::runner
