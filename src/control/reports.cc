#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

void AddMetrics(const std::map<std::string, double>& metrics, Job* job) {
  for (const auto& [name, value] : metrics) {
    if (name.size() > kMaxMetricNameBytes) continue;
    if (job->metrics.size() < kMaxMetrics || job->metrics.count(name) > 0)
      job->metrics[name] = value;
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
  Accept(*entry);
  Job& job = entry->job;
  Keep(*entry, std::move(c.checkpoint));
  if (job.state == JobState::kAssigned) {
    if (job.started_at.ms == 0) job.started_at = now.unix;
    counters.attempts_started++;
    job.attempt_started_at = now.unix;
    entry->running_since = entry->saved_at = now.monotonic;
    DisarmLimit(job, TimerKind::kQueueLimit, &entry->queue_end);
    ArmRunLimit(*entry);
    SetState(*entry, JobState::kRunning,
             job.cancel_requested            ? "cancelling"
             : job.limit_hit != Cause::kNone ? LimitMessage(job, job.limit_hit) + ": stopping"
             : job.pause_requested           ? "pausing"
             : !job.preempted_for.empty()    ? RoomMessage(job)
             : c.resumed                     ? "resumed from " + Place(*c.resumed)
                                             : "");
    // What went wrong with the attempt before is in its log and in the events.
    job.cause = Cause::kNone;
    job.error = {};
  }
  job.progress = c.progress;
  job.current_epoch = c.epoch;
  AddMetrics(c.metrics, &job);
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
  Job& job = entry->job;
  Keep(*entry, std::move(c.checkpoint));
  using Outcome = ReportCompletion::Outcome;
  NodeEntry& node = *FindNode(c.node);
  // Stopped by the node's own decision: it shuts down, or its lease ended.
  bool stopped = c.outcome == Outcome::kCancelled && !job.cancel_requested;
  // What fails on a node in quarantine is the node's failure.
  bool nodes_fault =
      c.outcome == Outcome::kFailed && node.node.quarantined && MayBeTheNodes(c.cause);
  if (stopped || nodes_fault) {
    if (stopped && !IsToStop(*entry)) {
      EndSession(node);  // it is going away, or its lease was over
    }
    std::string what = c.error.message.empty() ? "" : ": " + c.error.message;
    if (nodes_fault) Suspect(node, *entry, CauseName(c.cause));
    Lose(*entry, stopped ? Cause::kNodeDrained : c.cause,
         "node " + c.node.value + (stopped ? " stopped it" : ", in quarantine, failed it") + what);
    return Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
  }
  if (c.outcome == Outcome::kFailed && c.cause == Cause::kNodeLost) {
    // The node's own trouble, such as a full disk. Its hold outlasts the job's wait, so that
    // another node gets the job if there is one.
    Duration wait = Backoff(job, ++entry->node_faults);
    LetRest(node, 2 * wait);
    Lose(*entry, Cause::kNodeLost,
         "node " + c.node.value + " could not go on with it: " + c.error.message, wait);
    return Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
  }
  Release(*entry);
  AddMetrics(c.metrics, &job);
  job.compute_seconds += c.compute_seconds;
  if (c.outcome == Outcome::kSucceeded) {
    job.pause_requested = false;
    job.artifacts = std::move(c.artifacts);
    job.progress = 1;
    job.current_epoch = job.total_epochs;
    job.cause = Cause::kNone;
    job.error = {};
    node.node.jobs_completed++;
    MarkChanged(node);
    ReleaseNode(node, "job '" + job.id.value + "' succeeded there");
    if (job.attempt_started_at.ms > 0) {
      double ran = static_cast<double>(now.unix.ms - job.attempt_started_at.ms) / 1e3;
      bodies.at(job.body).seconds.Add(std::max(0.0, ran));
      all_seconds.Add(std::max(0.0, ran));
    }
    SetState(*entry, JobState::kSucceeded, "");
  } else if (job.cancel_requested) {
    job.cause = Cause::kCancelled;
    job.error = {};
    SetState(*entry, JobState::kCancelled, CancelMessage(job));
  } else if (job.limit_hit != Cause::kNone) {
    FailByLimit(*entry, job.limit_hit);
  } else {
    Fail(*entry, node, c);
  }
  Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
}

}  // namespace cyxwiz::control
