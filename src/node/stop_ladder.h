// The steps by which an attempt is stopped: ask it, 2 s later SIGTERM, 1 s later SIGKILL. One that
// shall write a checkpoint first is asked for that, and has a minute before the first of these.
#pragma once

#include <optional>

#include "base/clock.h"

namespace cyxwiz::node {

// Pure: time comes in. One thread.
class StopLadder {
 public:
  enum class Step { kNone, kYield, kAsk, kTerminate, kKill };

  // Begins with a minute for a checkpoint; without effect when it has begun.
  void Yield(MonotonicTime now) {
    if (begun_) return;
    begun_ = yielding_ = true;
    next_ = Step::kYield;
    due_ = now;
  }
  // Begins with asking it to stop; without effect when it has begun, but for ending the minute.
  void Begin(MonotonicTime now) {
    if (begun_ && !yielding_) return;
    begun_ = true;
    yielding_ = false;
    next_ = Step::kAsk;
    due_ = now;
  }
  // Goes straight to the last step.
  void Kill(MonotonicTime now) {
    if (begun_ && next_ == Step::kNone) return;
    begun_ = true;
    yielding_ = false;
    next_ = Step::kKill;
    due_ = now;
  }
  bool begun() const { return begun_; }

  // The step to take now, kNone when it is not time. Each step is given once.
  Step Due(MonotonicTime now) {
    if (next_ == Step::kNone || now < due_) return Step::kNone;
    Step step = next_;
    yielding_ = step == Step::kYield;
    next_ = step == Step::kYield       ? Step::kAsk
            : step == Step::kAsk       ? Step::kTerminate
            : step == Step::kTerminate ? Step::kKill
                                       : Step::kNone;
    due_ = step == Step::kYield       ? now + kYieldingFor
           : step == Step::kAsk       ? now + kAskedFor
           : step == Step::kTerminate ? now + kTerminatedFor
                                      : MonotonicTime::Never();
    return step;
  }
  // When Due has something to say; Never() when it has not.
  MonotonicTime next_due() const { return next_ == Step::kNone ? MonotonicTime::Never() : due_; }

  static constexpr Duration kYieldingFor = std::chrono::seconds(60);
  static constexpr Duration kAskedFor = std::chrono::seconds(2);
  static constexpr Duration kTerminatedFor = std::chrono::seconds(1);

 private:
  bool begun_ = false;
  bool yielding_ = false;  // asked for a checkpoint, and for no more
  Step next_ = Step::kNone;
  MonotonicTime due_ = MonotonicTime::Never();
};

}  // namespace cyxwiz::node
