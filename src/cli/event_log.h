// The metrics of a training over time, from the event file that the job has left (its form:
// runner/event_file.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cyxwiz::cli {

struct LoggedMetrics {
  int64_t time_ms = 0;  // Unix
  int64_t step = 0;     // of the optimizer
  // As the shortest decimals that are the float32 of the file.
  std::map<std::string, double> values;
};

// Whether a job's file of that name is one.
bool IsEventFile(std::string_view name);

// In the file's order. DATA_LOSS, saying where, when it breaks the format.
Result<std::vector<LoggedMetrics>> ReadEventFile(std::string_view bytes);

}  // namespace cyxwiz::cli
