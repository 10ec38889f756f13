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
    case Cause::kPeerLost:
      return true;
    default:
      return false;
  }
}

// Whether it ran out of memory of which it had what was estimated, and not what it names: its node
// tells so by the code.
bool WasEstimatedTooLow(const AttemptEnd& end) {
  return end.cause == Cause::kOutOfMemory &&
         end.error.code == static_cast<int32_t>(Code::kOutOfRange);
}

}  // namespace

void Control::State::Release(JobEntry& entry, NodeEntry& node) {
  const Job& job = entry.job;
  const NodeId& id = node.node.id;
  Require(node.jobs.erase(job.id) == 1, "an attempt is not on its node");
  const Resources held = HeldOn(job, id);
  node.reserved -= held;
  Require(!node.reserved.IsNegative(), "a node has given back more than it gave");
  fleet.GiveBack(id, held);
  quotas.GiveBack(job.user, ProjectOf(job), job.resources);
  CountPlaced(job, -1);
  if (!job.preempted_for->empty()) fleet.EndVictim(job.sequence, id);
  shares.GiveBack(job.user, ProjectOf(job), job.resources, now.monotonic);
  if (node.node.quarantined) ArmProbe(node);
  DisarmAssign(entry, RankEntryOn(entry, id));
  reschedule = true;
}

void Control::State::Accept(JobEntry& entry, NodeEntry& node) {
  RankEntry& rank = RankEntryOn(entry, node.node.id);
  DisarmAssign(entry, rank);
  if (!rank.accepted) node.refusals = 0;
  rank.accepted = true;
  rank.last_seen = now.monotonic;
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
  int64_t bytes = 0;
  for (const Artifact& file : checkpoint.files) bytes += file.size;
  const int64_t most = LimitsOf(job).checkpoint_bytes;
  if (most > 0 && bytes > most) return Refuse(checkpoint);
  checkpoint_files.Add(checkpoint);
  if (!job.checkpoint->exists() || checkpoint.step >= job.checkpoint->step) {
    // It goes on, so it is not what takes its nodes down.
    if (checkpoint.step > job.checkpoint->step) job.nodes_lost = 0;
    std::swap(job.checkpoint.Edit(), checkpoint);
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
  job.metrics = {};
  job.progress = 0;
  job.current_epoch = 0;
  if (!job.checkpoint->exists() || job.total_epochs < 1) return;
  job.current_epoch = std::min(job.checkpoint->epoch, job.total_epochs);
  job.progress =
      std::clamp(static_cast<double>(job.checkpoint->epoch - 1) / job.total_epochs, 0.0, 1.0);
}

void Control::State::EndAttempt(JobEntry& entry, const AttemptEnd& end) {
  entry.job.log_tail = end.log_tail;
  const JobId preempted_for = *std::exchange(entry.job.preempted_for, {});
  DisarmLimit(entry.job, TimerKind::kRunLimit, &entry.run_end);
  switch (end.kind) {
    case AttemptEnd::Kind::kSucceeded:
      return Succeed(entry);
    case AttemptEnd::Kind::kFailed:
      return Fail(entry, end);
    case AttemptEnd::Kind::kLost:
      return Lose(entry, end, preempted_for);
    case AttemptEnd::Kind::kNone:
      Require(false, "an attempt ended in no way");
  }
}

void Control::State::Succeed(JobEntry& entry) {
  Job& job = entry.job;
  job.pause_requested = false;
  job.progress = 1;
  job.current_epoch = job.total_epochs;
  job.cause = Cause::kNone;
  job.error = {};
  SetState(entry, JobState::kSucceeded, "");
}

AttemptEnd Control::State::Lost(Cause cause, std::string why, Duration wait) {
  AttemptEnd end{AttemptEnd::Kind::kLost, cause, {}, wait};
  end.error.message = std::move(why);
  return end;
}

void Control::State::Lose(JobEntry& entry, const AttemptEnd& end, const JobId& preempted_for) {
  Job& job = entry.job;
  const std::string& why = end.error.message;
  if (end.took_node) {
    if (now.monotonic - entry.running_since >= options.node_loss_reset) job.nodes_lost = 0;
    job.nodes_lost++;
  }
  counters.attempts_lost++;
  if (job.cancel_requested) return EndCancelled(entry);
  if (job.limit_hit != Cause::kNone) return FailByLimit(entry, job.limit_hit);
  job.error = {};
  if (end.cause != Cause::kNodeLost) job.nodes_lost = 0;
  if (job.nodes_lost >= options.max_nodes_lost) {
    job.cause = Cause::kKillsNodes;
    job.error =
        ErrorInfo{static_cast<int32_t>(Code::kAborted),
                  std::to_string(job.nodes_lost) +
                      " nodes were lost one after the other while they ran it; last: " + why,
                  "see the node's log; 'cyxwiz retry " + job.id.value + "' runs it again"};
    SetState(entry, JobState::kFailed, job.error->message);
    return;
  }
  job.cause = end.cause;
  if (end.cause == Cause::kNodeDrained && !preempted_for.empty()) {
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
  job.not_before = {end.wait > Duration::zero() ? now.unix.ms + Milliseconds(end.wait) : 0};
  if (mass_loss.lasts() && end.with_most) held_back.insert(job.sequence);
  SetState(entry, JobState::kQueued,
           "queued again: " + (job.cause == Cause::kPreempted
                                   ? "it made room for job '" + preempted_for.value + "'"
                                   : why));
}

void Control::State::LoseWithNode(JobEntry& entry, NodeEntry& node, const std::string& why,
                                  bool together) {
  AttemptEnd end = Lost(Cause::kNodeLost, why);
  const bool ran = entry.job.state == JobState::kRunning;
  end.took_node = ran && !entry.adopted && !mass_loss.lasts();
  end.with_most = ran && together;
  EndRank(entry, node, std::move(end));
}

void Control::State::SendStop(const JobEntry& entry, const std::string& reason) {
  for (const NodeId& id : NodesWith(entry.job)) {
    const NodeEntry& node = nodes.at(id);
    output->effects.push_back(StopEffect{
        {entry.job.id, entry.job.attempt}, id, node.node.endpoint, reason, IsToYield(entry)});
  }
}

bool Control::State::IsDrained(const Job& job) const {
  if (job.gang == nullptr) return nodes.at(job.node).node.draining;
  return std::any_of(
      job.gang->ranks.begin(), job.gang->ranks.end(),
      [this](const Gang::Rank& rank) { return !rank.ended && nodes.at(rank.node).node.draining; });
}

bool Control::State::IsToStop(const JobEntry& entry) const {
  const Job& job = entry.job;
  return job.cancel_requested || job.pause_requested || job.limit_hit != Cause::kNone ||
         !job.preempted_for->empty() || IsDrained(job) ||
         (job.gang != nullptr && job.gang->end.kind != AttemptEnd::Kind::kNone);
}

bool Control::State::IsToYield(const JobEntry& entry) const {
  const Job& job = entry.job;
  if (job.cancel_requested || job.limit_hit != Cause::kNone) return false;
  return job.gang == nullptr || job.gang->end.kind == AttemptEnd::Kind::kNone ||
         job.gang->end.yields;
}

JobEntry* Control::State::Current(const AttemptId& attempt, const NodeId& node) {
  const NodeEntry* on = FindNode(node);
  if (on == nullptr || on->jobs.count(attempt.job) == 0) return nullptr;
  JobEntry* entry = Find(attempt.job);
  return attempt.attempt == 0 || attempt.attempt == entry->job.attempt ? entry : nullptr;
}

std::string Control::State::StopMessage(const JobEntry& entry) const {
  const Job& job = entry.job;
  if (job.cancel_requested) return CancelMessage(job);
  if (job.limit_hit != Cause::kNone) return LimitMessage(job, job.limit_hit);
  if (!IsToYield(entry)) {
    const AttemptEnd& end = job.gang->end;
    return end.kind == AttemptEnd::Kind::kSucceeded
               ? "the result is there: the other ranks end"
               : "stopping the other ranks: " + end.error.message;
  }
  if (job.pause_requested) return "paused";
  return job.preempted_for->empty() ? "the node is drained" : RoomMessage(job);
}

std::string Control::State::NotCurrent(const AttemptId& attempt, const NodeId& node) {
  const Job& job = Find(attempt.job)->job;
  if (IsFinal(job.state)) return "job '" + job.id.value + "' has ended: " + JobStateName(job.state);
  return "attempt " + std::to_string(attempt.attempt) + " on node '" + node.value +
         "' is not the current one of job '" + job.id.value + "'";
}

void Control::State::Fail(JobEntry& entry, const AttemptEnd& end) {
  Job& job = entry.job;
  if (job.cancel_requested) return EndCancelled(entry);
  if (job.limit_hit != Cause::kNone) return FailByLimit(entry, job.limit_hit);
  job.cause = end.cause;
  job.error = end.error;
  job.nodes_lost = 0;
  if (!IsRetried(job.cause) || job.retries >= job.max_retries) {
    SetState(entry, JobState::kFailed, job.error->message);
    return;
  }
  std::string with;
  if (WasEstimatedTooLow(end)) {
    // With as much as before it would only happen again.
    int64_t most = 0;
    for (const auto& [id, node] : nodes) most = std::max(most, node.node.capacity.memory_bytes);
    const int64_t before = job.resources.memory_bytes;
    if (most <= before) {
      SetState(entry, JobState::kFailed,
               job.error->message + "; no node has more memory than the " + FormatBytes(before) +
                   " that it had");
      return;
    }
    job.resources.memory_bytes = most - before < before ? most : 2 * before;
    with = " with " + FormatBytes(job.resources.memory_bytes) +
           " of memory, for what was estimated was too little";
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
               job.error->message + "), retry " + std::to_string(job.retries) + " of " +
               std::to_string(job.max_retries) + with);
}

}  // namespace cyxwiz::control
