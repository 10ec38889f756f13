// When a process that ended is started again: at once at first, later after longer pauses, and
// never again when it ends too often.
#pragma once

#include <deque>
#include <optional>

#include "base/clock.h"

namespace cyxwiz::cli {

class RestartPolicy {
 public:
  static constexpr int kMostEnds = 5;  // within kWindow
  static constexpr Duration kWindow = std::chrono::minutes(1);

  explicit RestartPolicy(Duration first_pause) : first_pause_(first_pause) {}

  // The process ended. How long to wait before it is started again (the first pause doubles with
  // each further end within the window), or nullopt to give up.
  std::optional<Duration> OnEnd(MonotonicTime now);

 private:
  Duration first_pause_;
  std::deque<MonotonicTime> ends_;
};

}  // namespace cyxwiz::cli
