// Simulated time: what shall happen when, in order.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "base/clock.h"

namespace cyxwiz::sim {

class Loop {
 public:
  using Action = std::function<void()>;

  // The true time, which no process knows: each reads a clock of its own.
  MonotonicTime now() const { return now_; }
  uint64_t steps() const { return steps_; }

  void At(MonotonicTime time, Action action) {
    events_.emplace(std::pair(std::max(time, now_), next_++), std::move(action));
  }
  void After(Duration wait, Action action) { At(now_ + wait, std::move(action)); }

  // Takes the earliest event; of those at the same time the one that was given first. False when
  // there is none.
  bool RunOne() {
    if (events_.empty()) return false;
    auto first = events_.extract(events_.begin());
    now_ = first.key().first;
    ++steps_;
    first.mapped()();
    return true;
  }
  MonotonicTime next() const {
    return events_.empty() ? MonotonicTime::Never() : events_.begin()->first.first;
  }

 private:
  MonotonicTime now_{1'000'000'000};
  uint64_t next_ = 0;
  uint64_t steps_ = 0;
  std::map<std::pair<MonotonicTime, uint64_t>, Action> events_;
};

}  // namespace cyxwiz::sim
