// A process of the simulated cluster, and the machine's clocks that it reads. It may be down, be
// stopped for a while (what comes meanwhile waits), and start again.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "base/clock.h"
#include "sim/loop.h"

namespace cyxwiz::sim {

// The clocks of one machine: monotonic time counts from its own start at its own rate, calendar
// time may jump.
struct Clocks {
  Duration offset = Duration::zero();
  int64_t drift_ppm = 0;
  int64_t unix_ms = 1'700'000'000'000;

  MonotonicTime Local(MonotonicTime time) const {
    return time + offset + Duration(time.ns / 1'000'000 * drift_ppm);
  }
  // The first true time at which the clock shows `local`.
  MonotonicTime True(MonotonicTime local) const {
    MonotonicTime time = local - offset;
    time = time - Duration(time.ns / (1'000'000 + drift_ppm) * drift_ppm);
    while (Local(time) < local) time = time + (local - Local(time));
    return time;
  }
  Now Read(MonotonicTime time) const { return {Local(time), {unix_ms + time.ns / 1'000'000}}; }
};

class Process {
 public:
  Process(Loop* loop, std::string name, Clocks clocks)
      : loop_(loop), name_(std::move(name)), clocks_(clocks) {}

  const std::string& name() const { return name_; }
  bool up() const { return up_; }
  bool frozen() const { return frozen_; }
  // Grows with each start; what was meant for an earlier run does not reach a later one.
  int run() const { return run_; }
  Now now() const { return clocks_.Read(loop_->now()); }
  Loop* loop() const { return loop_; }
  void JumpCalendar(int64_t ms) { clocks_.unix_ms += ms; }

  void Start() {
    up_ = true;
    ++run_;
  }
  void Kill() {
    up_ = frozen_ = false;
    parked_.clear();
  }
  void Freeze() { frozen_ = up_; }
  // What waited happens now, in the order in which it came.
  void Thaw() {
    frozen_ = false;
    std::deque<Loop::Action> parked;
    parked.swap(parked_);
    for (Loop::Action& action : parked) {
      if (frozen_) {
        parked_.push_back(std::move(action));
      } else {
        action();
      }
    }
  }

  // Does `action` in this process: now, after it has been thawed, or, when it has ended since
  // `run`, never.
  void Do(int run, Loop::Action action) {
    if (!up_ || run != run_) return;
    if (!frozen_) return action();
    parked_.push_back([this, run, action = std::move(action)] {
      if (up_ && run == run_) action();
    });
  }
  void After(Duration wait, Loop::Action action) { At(now().monotonic + wait, std::move(action)); }
  // When the process's own monotonic clock shows `time`.
  void At(MonotonicTime time, Loop::Action action) {
    loop_->At(clocks_.True(time), [this, run = run_, action = std::move(action)]() mutable {
      Do(run, std::move(action));
    });
  }

 private:
  Loop* const loop_;
  const std::string name_;
  Clocks clocks_;
  bool up_ = false, frozen_ = false;
  int run_ = 0;
  std::deque<Loop::Action> parked_;
};

// One pending action that can be moved or given up, as a timer of boost::asio.
class Timer {
 public:
  explicit Timer(Process* process) : process_(process) {}

  void At(MonotonicTime time, Loop::Action action) {
    Cancel();
    process_->At(time, [alive = alive_, action = std::move(action)] {
      if (*alive) action();
    });
  }
  void After(Duration wait, Loop::Action action) {
    At(process_->now().monotonic + wait, std::move(action));
  }
  void Cancel() {
    *alive_ = false;
    alive_ = std::make_shared<bool>(true);
  }
  ~Timer() { *alive_ = false; }
  Timer(const Timer&) = delete;

 private:
  Process* const process_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace cyxwiz::sim
