// How a job's progress looks: one line that is redrawn on a terminal, or one line a change of state
// and an epoch. No I/O and no clock: what it shows follows from the statuses it was given and the
// time.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cyxwiz/protocol/job.pb.h"

namespace cyxwiz::cli {

const char* StateWord(protocol::JobState state);    // "Queued"
const char* StateColour(protocol::JobState state);  // ANSI; null for none

// The metrics worth a place on a line, most important first: {"loss 0.3121", "accuracy 0.887",
// "val. accuracy 0.86"}
std::vector<std::string> MetricWords(const google::protobuf::Map<std::string, double>& metrics);

class ProgressView {
 public:
  ProgressView(bool unicode, bool colour) : unicode_(unicode), colour_(colour) {}

  // Takes the newest status.
  void Update(const protocol::JobStatus& status, MonotonicTime now);
  // The server cannot be reached since `since`; the next Update ends that.
  void Lost(MonotonicTime since) { lost_since_ = since; }

  // The line for a terminal, at most `width` columns; empty before the first Update.
  std::string Line(int width, MonotonicTime now) const;

  // Lines for a log: what the last Update changed. At most one a state and one an epoch.
  std::vector<std::string> TakePlainLines();

  // The line that stays when the job has ended: "Succeeded after 12 s: test accuracy 0.8871, ..."
  std::string FinalLine() const;

  // Time until done, from the speed of the last while; nullopt while it cannot be told.
  std::optional<Duration> TimeLeft(MonotonicTime now) const;

  const protocol::JobStatus& status() const { return status_; }

 private:
  struct Observation {
    MonotonicTime at;
    double progress;
  };

  const bool unicode_, colour_;
  protocol::JobStatus status_;
  bool has_status_ = false;
  std::optional<MonotonicTime> lost_since_;
  std::deque<Observation> observations_;  // of the current attempt, the last kWindow
  MonotonicTime state_since_;
  std::vector<std::string> plain_;
  int epochs_told_ = 0;
};

}  // namespace cyxwiz::cli
