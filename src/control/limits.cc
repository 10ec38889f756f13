#include <algorithm>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

void Control::State::ArmLimit(const Job& job, TimerKind kind, Duration whole, Duration used,
                              MonotonicTime* end) {
  *end = now.monotonic + std::clamp(whole - used, Duration::zero(), whole);
  timers.Arm(*end, kind, job.id.value);
}

void Control::State::DisarmLimit(const Job& job, TimerKind kind, MonotonicTime* end) {
  if (*end != MonotonicTime::Never()) timers.Disarm(*end, kind, job.id.value);
  *end = MonotonicTime::Never();
}

void Control::State::ArmLimits(JobEntry& entry) {
  const Job& job = entry.job;
  const Limits& limits = LimitsOf(job);
  if (limits.queue > Duration::zero() && job.started_at.ms == 0) {
    ArmLimit(job, TimerKind::kQueueLimit, limits.queue, Since(job.created_at), &entry.queue_end);
  }
  if (limits.deadline.ms > 0) {
    Duration left = std::chrono::milliseconds(limits.deadline.ms - now.unix.ms);
    ArmLimit(job, TimerKind::kDeadline, std::max(left, Duration::zero()), {}, &entry.deadline);
  }
  if (!NodesWith(job).empty()) ArmRunLimit(entry);
}

void Control::State::ArmRunLimit(JobEntry& entry) {
  const Limits& limits = LimitsOf(entry.job);
  if (limits.run == Duration::zero()) return;
  // Assigned by a release that did not note when: counted from now.
  const UnixTime since = entry.job.attempt_started_at;
  ArmLimit(entry.job, TimerKind::kRunLimit, limits.run,
           since.ms > 0 ? Since(since) : Duration::zero(), &entry.run_end);
}

void Control::State::HitLimit(JobEntry& entry, Cause cause) {
  Job& job = entry.job;
  if (IsFinal(job.state) || job.cancel_requested || job.limit_hit != Cause::kNone) return;
  if (job.array != nullptr) {
    job.limit_hit = cause;
    return StopArray(entry, LimitMessage(job, cause) + ": stopping");
  }
  if (job.state == JobState::kQueued || job.state == JobState::kPaused)
    return FailByLimit(entry, cause);
  job.limit_hit = cause;
  job.message = LimitMessage(job, cause) + ": stopping";
  MarkChanged(entry);
  SendStop(entry, LimitMessage(job, cause));
}

void Control::State::FailByLimit(JobEntry& entry, Cause cause) {
  Job& job = entry.job;
  job.cause = cause;
  job.error = ErrorInfo{static_cast<int32_t>(Code::kDeadlineExceeded), LimitMessage(job, cause),
                        "raise \"limits\" in the job file and submit it again"};
  SetState(entry, JobState::kFailed, job.error->message);
}

}  // namespace cyxwiz::control
