// How long to wait before the next try: doubled at each failure, with jitter so that a fleet does
// not come back in step.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace cyxwiz::node {

// Pure: randomness comes in. One thread.
class Backoff {
 public:
  Backoff(Duration first, Duration most) : first_(first), most_(most), step_(first) {}

  // The wait before the next try, between half of the present step and all of it; the step doubles
  // up to `most`. random is in [0, 1).
  Duration Next(double random) {
    Duration wait = step_ / 2 + Duration(static_cast<int64_t>(random * (step_.count() / 2.0)));
    step_ = std::min(step_ * 2, most_);
    return wait;
  }
  // After a success.
  void Reset() { step_ = first_; }

 private:
  Duration first_, most_, step_;
};

}  // namespace cyxwiz::node
