#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

void AddMetrics(const std::map<std::string, double>& metrics, Job* job) {
  if (metrics.empty()) return;
  std::map<std::string, double>& known = job->metrics.Edit();
  for (const auto& [name, value] : metrics) {
    if (name.size() > kMaxMetricNameBytes) continue;
    if (known.size() < kMaxMetrics || known.count(name) > 0) known[name] = value;
  }
}

}  // namespace

template <typename Report>
JobEntry* Control::State::Reported(const Report& c) {
  if (auto known = Recall(c.attempt.job); !known.ok()) {
    if (known.status().code() == Code::kNotFound) Refuse(c.checkpoint);
    Answer(c.reply_to, known.status());
    return nullptr;
  }
  JobEntry* entry = Current(c.attempt, c.node);
  if (entry == nullptr) {
    Refuse(c.checkpoint);
    Answer(c.reply_to, OkStatus(), ReportReply{false, NotCurrent(c.attempt, c.node)});
  }
  return entry;
}

void Control::State::Apply(ReportProgress& c) {
  JobEntry* entry = Reported(c);
  if (entry == nullptr) return;
  NodeEntry& node = nodes.at(c.node);
  Accept(*entry, node);
  RankEntryOn(*entry, c.node).started = true;
  Job& job = entry->job;
  const bool leads = RankOn(job, c.node) == 0;  // what the others tell of is the same
  leads ? Keep(*entry, std::move(c.checkpoint)) : Refuse(c.checkpoint);
  const bool winds_up = job.gang != nullptr && job.gang->end.kind != AttemptEnd::Kind::kNone;
  if (job.state == JobState::kAssigned && !winds_up && AllStarted(*entry)) {
    if (job.started_at.ms == 0) job.started_at = now.unix;
    counters.attempts_started++;
    job.attempt_started_at = now.unix;
    entry->running_since = entry->saved_at = now.monotonic;
    DisarmLimit(job, TimerKind::kQueueLimit, &entry->queue_end);
    SetState(*entry, JobState::kRunning,
             job.cancel_requested            ? "cancelling"
             : job.limit_hit != Cause::kNone ? LimitMessage(job, job.limit_hit) + ": stopping"
             : job.pause_requested           ? "pausing"
             : !job.preempted_for->empty()   ? RoomMessage(job)
             : c.resumed                     ? "resumed from " + Place(*c.resumed)
                                             : "");
    // What went wrong with the attempt before is in its log and in the events.
    job.cause = Cause::kNone;
    job.error = {};
  }
  if (leads) {
    job.progress = c.progress;
    job.current_epoch = c.epoch;
    AddMetrics(c.metrics, &job);
  }
  if (!entry->progressed) {
    entry->progressed = true;
    unflushed.insert(job.sequence);
    if (!flush_armed) timers.Arm(now.monotonic + options.progress_flush, TimerKind::kFlush, "");
    flush_armed = true;
  }
  Touch(*entry);
  Answer(c.reply_to, OkStatus(),
         ReportReply{!IsToStop(*entry), IsToStop(*entry) ? StopMessage(*entry) : "",
                     IsToStop(*entry) && IsToYield(*entry)});
}

void Control::State::Apply(ReportCompletion& c) {
  JobEntry* entry = Reported(c);
  if (entry == nullptr) return;
  NodeEntry& node = nodes.at(c.node);
  AttemptEnd end = Judge(*entry, node, c);
  end.log_tail = std::move(c.log_tail);
  EndRank(*entry, node, std::move(end));
  Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
}

AttemptEnd Control::State::Judge(JobEntry& entry, NodeEntry& node, ReportCompletion& c) {
  Job& job = entry.job;
  const bool leads = RankOn(job, c.node) == 0;
  leads ? Keep(entry, std::move(c.checkpoint)) : Refuse(c.checkpoint);
  using Outcome = ReportCompletion::Outcome;
  using Kind = AttemptEnd::Kind;
  // Stopped by the node's own decision: it shuts down, or its lease ended.
  bool stopped = c.outcome == Outcome::kCancelled && !job.cancel_requested;
  // Another rank has left as it was told to, before this one was told.
  stopped |= c.outcome == Outcome::kFailed && c.cause == Cause::kPeerLost && IsToStop(entry) &&
             IsToYield(entry);
  // What fails on a node in quarantine is the node's failure.
  bool nodes_fault =
      c.outcome == Outcome::kFailed && node.node.quarantined && MayBeTheNodes(c.cause);
  if (stopped || nodes_fault) {
    if (stopped && !IsToStop(entry)) {
      EndSession(node);  // it is going away, or its lease was over
    }
    std::string what = c.error.message.empty() ? "" : ": " + c.error.message;
    if (nodes_fault) Suspect(node, entry, CauseName(c.cause));
    return Lost(
        stopped ? Cause::kNodeDrained : c.cause,
        "node " + c.node.value + (stopped ? " stopped it" : ", in quarantine, failed it") + what);
  }
  if (c.outcome == Outcome::kFailed && c.cause == Cause::kNodeLost) {
    // The node's own trouble, such as a full disk. Its hold outlasts the job's wait, so that
    // another node gets the job if there is one.
    Duration wait = Backoff(job, ++entry.node_faults);
    LetRest(node, 2 * wait);
    return Lost(Cause::kNodeLost,
                "node " + c.node.value + " could not go on with it: " + c.error.message, wait);
  }
  if (leads) AddMetrics(c.metrics, &job);
  job.compute_seconds += c.compute_seconds;
  if (c.outcome == Outcome::kSucceeded) {
    node.node.jobs_completed++;
    MarkChanged(node);
    ReleaseNode(node, "job '" + job.id.value + "' succeeded there");
    if (leads) TakeResult(entry, c);
    return {Kind::kSucceeded};
  }
  AttemptEnd end{Kind::kFailed, c.cause == Cause::kNone ? Cause::kInternal : c.cause,
                 std::move(c.error)};
  const bool ends_anyhow =
      job.cancel_requested || job.limit_hit != Cause::kNone ||
      (job.gang != nullptr && job.gang->end.kind != Kind::kNone &&
       job.gang->end.cause != Cause::kPeerLost);  // then it may be no more than what follows
  if (!ends_anyhow && MayBeTheNodes(end.cause)) Suspect(node, entry, CauseName(end.cause));
  return end;
}

void Control::State::TakeResult(JobEntry& entry, ReportCompletion& c) {
  Job& job = entry.job;
  job.artifacts = std::move(c.artifacts);
  if (job.state != JobState::kRunning) return;
  double ran = static_cast<double>(now.unix.ms - job.attempt_started_at.ms) / 1e3;
  bodies.at(job.body).seconds.Add(std::max(0.0, ran));
  epoch_seconds.Add(std::max(0.0, ran) / EpochsOf(job));
}

}  // namespace cyxwiz::control
