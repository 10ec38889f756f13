#include "control/control.h"

#include <cstdio>
#include <cstdlib>

#include "control/actors.h"
#include "control/state.h"

namespace cyxwiz::control {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "control: broken invariant: %s\n", what);
  std::abort();
}

void Control::State::Fire(const Timer& timer) {
  JobEntry* entry = Find(JobId{timer.id});  // nullptr where it is the id of a node
  switch (timer.kind) {
    case TimerKind::kLease:
      return EndLease(timer);
    case TimerKind::kAssign:
      return EndAssign(timer);
    case TimerKind::kBackoff:
      return EndBackoff(timer);
    case TimerKind::kHeld:
      if (NodeEntry* node = FindNode(NodeId{timer.id})) UpdateFleet(*node);
      return;
    case TimerKind::kProbe:
      return LetProbe(timer);
    case TimerKind::kPreempt:
      reschedule = true;
      return;
    case TimerKind::kCordon:
      if (NodeEntry* node = FindNode(NodeId{timer.id})) FollowCordon(*node);
      return;
    case TimerKind::kMassLoss:
      return EndMassLoss("they have not come back");
    case TimerKind::kForget:
      return Forget(timer);
    case TimerKind::kForgetNode:
      return ForgetLost(timer);
    case TimerKind::kGoOn:
      goes_on = false;
      left_at_once = options.cancelled_at_once;
      return;  // it is what comes next anyhow
    case TimerKind::kRunLimit:
      if (entry != nullptr && entry->run_end == timer.at) HitLimit(*entry, Cause::kTimeLimit);
      return;
    case TimerKind::kQueueLimit:
      if (entry != nullptr && entry->queue_end == timer.at)
        HitLimit(*entry, Cause::kQueueTimeLimit);
      return;
    case TimerKind::kDeadline:
      if (entry != nullptr && entry->deadline == timer.at) HitLimit(*entry, Cause::kDeadline);
      return;
    case TimerKind::kFlush:
      return FlushProgress();
  }
}

Control::Control(Options options) : state_(std::make_unique<State>(std::move(options))) {}
Control::~Control() = default;

void Control::Load(Snapshot snapshot, Now now) {
  state_->now = now;
  state_->Load(std::move(snapshot));
}

void Control::Apply(std::span<Command> batch, Now now, Output* output) {
  State& s = *state_;
  // Time stands still until a batch is durable, so what it removes is gone from the archive then.
  if (now.monotonic > s.now.monotonic) {
    s.removed_lately.clear();
    if (!s.goes_on) s.left_at_once = s.options.cancelled_at_once;
  }
  s.now = now;
  s.output = output;
  s.explained.clear();
  for (Command& command : batch) {
    s.actor = std::visit([](const auto& c) { return ActorOf(c); }, command);
    std::visit([&s](auto& c) { s.Apply(c); }, command);
    s.GoOn();
  }
  while (auto timer = s.timers.Take(now.monotonic)) {
    s.actor = kTimerActor;
    s.Fire(*timer);
    s.GoOn();
  }
  s.actor = kSchedulerActor;
  if (s.reschedule) s.Schedule();
  s.reschedule = false;
  s.explained.clear();
  s.Finish();
  s.output = nullptr;
}

MonotonicTime Control::NextDeadline() const { return state_->timers.next(); }

Status Control::CheckSession(const Heartbeat& beat) const { return state_->CheckSession(beat); }

Counters Control::counters() const { return state_->counters; }

std::vector<std::string> Control::checkpoint_files() const {
  return state_->checkpoint_files.All();
}

}  // namespace cyxwiz::control
