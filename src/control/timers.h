// What is due at which moment. A timer names a kind and a job or node; whoever armed it tells when
// it fires whether it still means something.
#pragma once

#include <compare>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/clock.h"

namespace cyxwiz::control {

enum class TimerKind {
  kLease,
  kAssign,
  kBackoff,
  kHeld,
  kFlush,
  kRunLimit,
  kQueueLimit,
  kDeadline,
  kProbe,
  kPreempt,
  kForget,
  kCordon,
  kMassLoss,
  kGoOn,
  kForgetNode
};
struct Timer {
  MonotonicTime at;
  TimerKind kind;
  std::string id;  // of the job or node
  auto operator<=>(const Timer&) const = default;
  auto Fields() { return std::tie(at, kind, id); }
};

class Timers {
 public:
  void Arm(MonotonicTime at, TimerKind kind, const std::string& id) {
    timers_.insert({at, kind, id});
  }
  void Disarm(MonotonicTime at, TimerKind kind, const std::string& id) {
    timers_.erase({at, kind, id});
  }
  // Never() when nothing is pending.
  MonotonicTime next() const {
    return timers_.empty() ? MonotonicTime::Never() : timers_.begin()->at;
  }
  // Takes out the first of those that are due; nullopt when none is.
  std::optional<Timer> Take(MonotonicTime now) {
    if (timers_.empty() || timers_.begin()->at > now) return std::nullopt;
    return std::move(timers_.extract(timers_.begin()).value());
  }
  auto Fields() { return std::tie(timers_); }

 private:
  std::set<Timer> timers_;
};

}  // namespace cyxwiz::control
