// The steps by which an attempt is stopped: ask it, 2 s later SIGTERM, 1 s later SIGKILL.
#pragma once

#include <optional>

#include "base/clock.h"

namespace cyxwiz::node {

// Pure: time comes in. One thread.
class StopLadder {
 public:
  enum class Step { kNone, kAsk, kTerminate, kKill };

  // Begins at the first step; without effect when it has begun.
  void Begin(MonotonicTime now) {
    if (begun_) return;
    begun_ = true;
    next_ = Step::kAsk;
    due_ = now;
  }
  // Goes straight to the last step.
  void Kill(MonotonicTime now) {
    if (begun_ && next_ == Step::kNone) return;
    begun_ = true;
    next_ = Step::kKill;
    due_ = now;
  }
  bool begun() const { return begun_; }

  // The step to take now, kNone when it is not time. Each step is given once.
  Step Due(MonotonicTime now) {
    if (next_ == Step::kNone || now < due_) return Step::kNone;
    Step step = next_;
    next_ = step == Step::kAsk         ? Step::kTerminate
            : step == Step::kTerminate ? Step::kKill
                                       : Step::kNone;
    due_ = step == Step::kAsk         ? now + kAskedFor
           : step == Step::kTerminate ? now + kTerminatedFor
                                      : MonotonicTime::Never();
    return step;
  }
  // When Due has something to say; Never() when it has not.
  MonotonicTime next_due() const { return next_ == Step::kNone ? MonotonicTime::Never() : due_; }

  static constexpr Duration kAskedFor = std::chrono::seconds(2);
  static constexpr Duration kTerminatedFor = std::chrono::seconds(1);

 private:
  bool begun_ = false;
  Step next_ = Step::kNone;
  MonotonicTime due_ = MonotonicTime::Never();
};

}  // namespace cyxwiz::node
