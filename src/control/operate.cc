#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

void Control::State::Apply(CancelJob& c) {
  auto found = RecallStarted(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  Job& job = entry->job;
  if (IsFinal(job.state)) {
    if (job.state == JobState::kCancelled) {
      pending.push_back({c.reply_to, job.id, false, false});
      return;
    }
    return Answer(c.reply_to, FailedPrecondition("job '" + job.id.value + "' has ended already: " +
                                                 JobStateName(job.state)));
  }
  Cancel(*entry, c.reason);
  pending.push_back({c.reply_to, job.id, false, false});
}

void Control::State::Cancel(JobEntry& entry, const std::string& reason) {
  Job& job = entry.job;
  if (job.array != nullptr) return CancelArray(entry, reason, LiveMembers(entry));
  bool fresh = !job.cancel_requested;
  if (fresh) {
    job.cancel_requested = true;
    job.cancel_reason = reason;
  }
  if (job.state == JobState::kQueued || job.state == JobState::kPaused) return EndCancelled(entry);
  if (fresh) Tell(job, EventKind::kCancelRequested, reason);
  job.message = "cancelling";
  MarkChanged(entry);
  SendStop(entry, CancelMessage(job));
}

void Control::State::EndCancelled(JobEntry& entry) {
  Job& job = entry.job;
  job.cause = Cause::kCancelled;
  job.error = {};
  SetState(entry, JobState::kCancelled, CancelMessage(job));
}

void Control::State::Apply(PauseJob& c) {
  auto found = RecallStarted(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  Job& job = entry->job;
  if (IsFinal(job.state)) return Answer(c.reply_to, HasEnded(job));
  if (job.cancel_requested || IsDoomed(*entry)) {
    return Answer(c.reply_to, FailedPrecondition("job '" + job.id.value + "' is being cancelled"));
  }
  Pause(*entry);
  pending.push_back({c.reply_to, job.id, false, false});
}

void Control::State::Pause(JobEntry& entry) {
  Job& job = entry.job;
  if (job.array != nullptr) return PauseArray(entry);
  if (job.cancel_requested) return;
  if (job.state == JobState::kQueued) {
    job.not_before = {};
    SetState(entry, JobState::kPaused, "paused");
  } else if (job.state != JobState::kPaused && !job.pause_requested) {
    job.pause_requested = true;
    job.message = "pausing";
    Tell(job, EventKind::kPauseRequested, "");
    MarkChanged(entry);
    SendStop(entry, "paused");
  }
}

void Control::State::Apply(ResumeJob& c) {
  auto found = RecallStarted(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  Job& job = entry->job;
  if (IsFinal(job.state)) return Answer(c.reply_to, HasEnded(job));
  if (job.array != nullptr) {
    if (Status resumed = ResumeArray(*entry); !resumed.ok()) return Answer(c.reply_to, resumed);
  } else if (job.state == JobState::kPaused) {
    SetState(*entry, JobState::kQueued, "");
  } else if (job.pause_requested) {
    return Answer(c.reply_to, FailedPrecondition("job '" + job.id.value + "' is still pausing",
                                                 "resume it once it is paused"));
  }
  pending.push_back({c.reply_to, job.id, false, false});
}

void Control::State::Apply(SetPriority& c) {
  auto found = RecallStarted(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  Job& job = entry->job;
  if (c.priority < 0 || c.priority > 3) {
    return Answer(c.reply_to, InvalidArgument("priority: expected 0 (low) to 3 (critical), found " +
                                              std::to_string(c.priority)));
  }
  if (IsFinal(job.state)) return Answer(c.reply_to, HasEnded(job));
  ChangePriority(*entry, c.priority);
  if (job.array != nullptr) {
    for (JobEntry* member : LiveMembers(*entry)) ChangePriority(*member, c.priority);
  }
  pending.push_back({c.reply_to, job.id, false, false});
}

void Control::State::ChangePriority(JobEntry& entry, int32_t priority) {
  Job& job = entry.job;
  if (job.priority == priority) return;
  Tell(job, EventKind::kPriorityChanged,
       std::string(PriorityName(job.priority)) + " to " + PriorityName(priority));
  bool in_line = job.state == JobState::kQueued && IsInLine(job);
  const auto placed = std::ssize(NodesWith(job));
  if (in_line) LeaveLine(job);
  CountPlaced(job, -placed);
  job.priority = priority;
  CountPlaced(job, placed);
  reschedule |= placed > 0 && options.preemption.on;
  if (in_line) EnterLine(entry);
  MarkChanged(entry);
}

void Control::State::Apply(RemoveJob& c) {
  auto found = RecallStarted(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  if (!IsFinal(entry->job.state)) {
    return Answer(c.reply_to,
                  FailedPrecondition(
                      "job '" + c.job.value + "' has not ended: " + JobStateName(entry->job.state),
                      "cancel it first with 'cyxwiz cancel " + c.job.value + "'"));
  }
  if (entry->job.member != nullptr) {
    return Answer(c.reply_to,
                  FailedPrecondition(
                      "job '" + c.job.value + "' is a member of an array",
                      "delete the array: 'cyxwiz delete " + entry->job.member->array.value + "'"));
  }
  UpdateEffect update{std::make_shared<const JobView>(View(*entry)), true};
  output->effects.push_back(std::move(update));
  Tell(entry->job, EventKind::kDeleted, "");
  counters.jobs_by_state[static_cast<int>(entry->job.state)]--;
  if (entry->job.array != nullptr) EraseMembers(*entry);
  if (entry->touched) std::erase(touched, entry);
  if (entry->stored) {
    removals.push_back(DeleteJob{c.job});
    removed.Remember({c.job, entry->job.sequence, entry->job.attempt}, options.max_removed,
                     &removals);
    removed_lately.insert(entry->job.sequence);
  }
  const int64_t body = entry->job.body;
  const bool stored = bodies.at(body).stored;
  if (Erase(*entry) && stored) removals.push_back(DeleteBody{body});
  Answer(c.reply_to, OkStatus(), RemoveReply{});
}

}  // namespace cyxwiz::control
