#include <algorithm>
#include <utility>

#include "control/backoff.h"
#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

// Whether a failure with this cause is tried again (within max_retries). The others are the job's
// own fault and would only happen again.
bool IsRetried(Cause cause) {
  switch (cause) {
    case Cause::kOutOfMemory:
    case Cause::kOutOfGpuMemory:
    case Cause::kRunnerCrashed:
    case Cause::kDataUnavailable:
    case Cause::kInternal:
      return true;
    default:
      return false;
  }
}

}  // namespace

void Control::State::Release(JobEntry& entry) {
  NodeEntry* node = FindNode(entry.job.node);
  Require(node != nullptr && node->jobs.erase(entry.job.id) == 1, "an attempt is not on its node");
  node->reserved -= entry.job.resources;
  Require(!node->reserved.IsNegative(), "a node has given back more than it gave");
  fleet.GiveBack(entry.job.node, entry.job.resources);
  quotas.GiveBack(entry.job.user, ProjectOf(entry.job), entry.job.resources);
  CountPlaced(entry.job, -1);
  if (!entry.job.preempted_for.empty()) fleet.EndVictim(entry.job.sequence);
  entry.job.preempted_for = {};
  shares.GiveBack(entry.job.user, entry.job.resources, now.monotonic);
  if (node->node.quarantined) ArmProbe(*node);
  DisarmAssign(entry);
  DisarmLimit(entry.job, TimerKind::kRunLimit, &entry.run_end);
  reschedule = true;
}

void Control::State::DisarmAssign(JobEntry& entry) {
  if (!entry.accepted)
    timers.Disarm(entry.last_seen + options.assign_timeout, TimerKind::kAssign, entry.job.id.value);
}

void Control::State::Accept(JobEntry& entry) {
  DisarmAssign(entry);
  if (!entry.accepted) nodes.at(entry.job.node).refusals = 0;
  entry.accepted = true;
  entry.last_seen = now.monotonic;
}

Duration Control::State::Backoff(int32_t failures) const {
  return Doubled(options.retry_backoff, failures - 1, options.retry_backoff_most);
}

Duration Control::State::Backoff(const Job& job, int32_t failures) const {
  double part = 0.75 + 0.5 * Jitter(job.id, job.attempt);
  return std::chrono::duration_cast<Duration>(part * Backoff(failures));
}

void Control::State::Keep(JobEntry& entry, Checkpoint checkpoint) {
  if (!checkpoint.exists()) return;
  Job& job = entry.job;
  checkpoint_files.Add(checkpoint);
  if (!job.checkpoint.exists() || checkpoint.step >= job.checkpoint.step) {
    std::swap(job.checkpoint, checkpoint);
    entry.saved_at = now.monotonic;
    MarkChanged(entry);
  }
  checkpoint_files.Drop(checkpoint);
}

void Control::State::Refuse(const Checkpoint& checkpoint) {
  checkpoint_files.Add(checkpoint);
  checkpoint_files.Drop(checkpoint);
}

void Control::State::StepBack(Job& job) {
  job.metrics.clear();
  job.progress = 0;
  job.current_epoch = 0;
  if (!job.checkpoint.exists() || job.total_epochs < 1) return;
  job.current_epoch = std::min(job.checkpoint.epoch, job.total_epochs);
  job.progress =
      std::clamp(static_cast<double>(job.checkpoint.epoch - 1) / job.total_epochs, 0.0, 1.0);
}

void Control::State::Lose(JobEntry& entry, Cause cause, const std::string& why, Duration wait) {
  Job& job = entry.job;
  const JobId preempted_for = job.preempted_for;
  Release(entry);
  counters.attempts_lost++;
  if (job.cancel_requested) {
    SetState(entry, JobState::kCancelled, CancelMessage(job));
    return;
  }
  if (job.limit_hit != Cause::kNone) return FailByLimit(entry, job.limit_hit);
  job.error = {};
  if (cause != Cause::kNodeLost) job.nodes_lost = 0;
  if (job.nodes_lost >= options.max_nodes_lost) {
    job.cause = Cause::kKillsNodes;
    job.error = {static_cast<int32_t>(Code::kAborted),
                 std::to_string(job.nodes_lost) +
                     " nodes were lost one after the other while they ran it; last: " + why,
                 "see the node's log; 'cyxwiz retry " + job.id.value + "' runs it again"};
    SetState(entry, JobState::kFailed, job.error.message);
    return;
  }
  job.cause = cause;
  if (cause == Cause::kNodeDrained && !preempted_for.empty()) {
    job.cause = Cause::kPreempted;
    job.preemptions++;
  }
  StepBack(job);
  if (job.pause_requested) {
    job.pause_requested = false;
    job.cause = Cause::kNone;
    SetState(entry, JobState::kPaused, PausedMessage(job));
    return;
  }
  job.not_before = {wait > Duration::zero() ? now.unix.ms + Milliseconds(wait) : 0};
  SetState(entry, JobState::kQueued,
           "queued again: " + (job.cause == Cause::kPreempted
                                   ? "it made room for job '" + preempted_for.value + "'"
                                   : why));
}

void Control::State::LoseWithNode(JobEntry& entry, const std::string& why) {
  if (entry.job.state == JobState::kRunning && !entry.adopted) entry.job.nodes_lost++;
  Lose(entry, Cause::kNodeLost, why);
}

void Control::State::SendStop(const JobEntry& entry, const std::string& reason) {
  if (const NodeEntry* node = FindNode(entry.job.node)) {
    output->effects.push_back(StopEffect{{entry.job.id, entry.job.attempt},
                                         node->node.id,
                                         node->node.endpoint,
                                         reason,
                                         IsToYield(entry)});
  }
}

bool Control::State::IsToStop(const JobEntry& entry) const {
  const Job& job = entry.job;
  return job.cancel_requested || job.pause_requested || job.limit_hit != Cause::kNone ||
         !job.preempted_for.empty() || nodes.at(job.node).node.draining;
}

bool Control::State::IsToYield(const JobEntry& entry) {
  return !entry.job.cancel_requested && entry.job.limit_hit == Cause::kNone;
}

JobEntry* Control::State::Current(const AttemptId& attempt, const NodeId& node) {
  JobEntry* entry = Find(attempt.job);
  if (entry == nullptr || entry->job.node != node) return nullptr;
  if (entry->job.state != JobState::kAssigned && entry->job.state != JobState::kRunning)
    return nullptr;
  return attempt.attempt == 0 || attempt.attempt == entry->job.attempt ? entry : nullptr;
}

std::string Control::State::StopMessage(const JobEntry& entry) const {
  if (entry.job.cancel_requested) return CancelMessage(entry.job);
  if (entry.job.limit_hit != Cause::kNone) return LimitMessage(entry.job, entry.job.limit_hit);
  if (entry.job.pause_requested) return "paused";
  return entry.job.preempted_for.empty() ? "the node is drained" : RoomMessage(entry.job);
}

std::string Control::State::NotCurrent(const AttemptId& attempt, const NodeId& node) {
  const Job& job = Find(attempt.job)->job;
  if (IsFinal(job.state)) return "job '" + job.id.value + "' has ended: " + JobStateName(job.state);
  return "attempt " + std::to_string(attempt.attempt) + " on node '" + node.value +
         "' is not the current one of job '" + job.id.value + "'";
}

void Control::State::Fail(JobEntry& entry, NodeEntry& node, ReportCompletion& c) {
  Job& job = entry.job;
  job.cause = c.cause == Cause::kNone ? Cause::kInternal : c.cause;
  job.error = std::move(c.error);
  job.nodes_lost = 0;
  if (MayBeTheNodes(job.cause)) Suspect(node, entry, CauseName(job.cause));
  if (!IsRetried(job.cause) || job.retries >= job.max_retries) {
    SetState(entry, JobState::kFailed, job.error.message);
    return;
  }
  job.retries++;
  StepBack(job);
  if (std::exchange(job.pause_requested, false)) {
    SetState(entry, JobState::kPaused, PausedMessage(job));
    return;
  }
  job.not_before = {now.unix.ms + Milliseconds(Backoff(job, job.retries))};
  SetState(entry, JobState::kQueued,
           "attempt " + std::to_string(job.attempt) + " failed (" + CauseName(job.cause) + ": " +
               job.error.message + "), retry " + std::to_string(job.retries) + " of " +
               std::to_string(job.max_retries));
}

}  // namespace cyxwiz::control
