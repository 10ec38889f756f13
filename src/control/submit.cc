#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

Result<JobEntry*> Control::State::FindSame(const Job& job, const JobBody& body, bool fresh_id) {
  if (fresh_id) return nullptr;
  auto existing = Recall(job.id);
  if (!existing.ok()) {
    if (existing.status().code() == Code::kNotFound) return nullptr;
    return existing.status();
  }
  const Job& old = (*existing)->job;
  bool same =
      (*existing)->body->sha256 == body.sha256 && old.name == job.name && old.user == job.user;
  if (same) return *existing;
  return AlreadyExists("a different job with the id '" + job.id.value + "' exists already",
                       "leave job_id empty, or choose another");
}

void Control::State::Apply(SubmitJob& c) {
  auto same = FindSame(c.job, *c.body, c.fresh_id);
  if (!same.ok()) return Answer(c.reply_to, same.status());
  JobId id = c.job.id;
  const bool existed = *same != nullptr;
  if (!existed) {
    if (Status accepted = Submit(c); !accepted.ok()) return Answer(c.reply_to, std::move(accepted));
  }
  pending.push_back({c.reply_to, id, true, existed});
}

Status Control::State::CheckRoomInQueue() const {
  int64_t queued = counters.jobs_by_state[static_cast<int>(JobState::kQueued)];
  if (queued < options.max_queued) return OkStatus();
  return ResourceExhausted("the queue is full: " + std::to_string(queued) + " jobs wait",
                           "try again later");
}

Status Control::State::CheckSubmission(const Job& job, bool fresh_id) {
  RETURN_IF_ERROR(CheckArrayId(job, fresh_id));
  return job.terms != nullptr ? CheckTerms(job) : OkStatus();
}

Status Control::State::Submit(SubmitJob& c) {
  RETURN_IF_ERROR(CheckRoomInQueue());
  RETURN_IF_ERROR(scheduler::CouldEverRun(RequestOf(c.job), fleet.nodes()));
  RETURN_IF_ERROR(quotas.CouldEverRun(LineOf(c.job)));
  RETURN_IF_ERROR(CheckSubmission(c.job, c.fresh_id));
  auto entry = std::make_unique<JobEntry>();
  Job& job = entry->job;
  job = std::move(c.job);
  job.sequence = next_sequence++;
  job.state = JobState::kQueued;
  job.created_at = now.unix;
  job.attempt = removed.LastAttempt(job.id);
  if (job.array != nullptr) {
    auto array = std::make_shared<Array>(*job.array);
    array->base_attempt = job.attempt;
    job.array = std::move(array);
  }
  const BodyEntry& body = bodies.Use(c.body);
  job.body = body.number;
  entry->body = body.body;
  JobEntry& inserted = Insert(std::move(entry));
  counters.jobs_by_state[static_cast<int>(JobState::kQueued)]++;
  counters.submitted++;
  events.push_back(SubmittedEvent(inserted.job));
  StartWaiting(inserted);
  ArmLimits(inserted);
  EnterLine(inserted);
  MarkChanged(inserted);
  return OkStatus();
}

Status Control::State::CheckArrayId(const Job& job, bool fresh_id) {
  const std::string& id = job.id.value;
  if (job.array != nullptr) {
    if (id.size() > kMaxArrayIdBytes) {
      return InvalidArgument("job_id: that of an array has at most " +
                             std::to_string(kMaxArrayIdBytes) + " bytes, found " +
                             std::to_string(id.size()));
    }
    if (fresh_id) return OkStatus();
    // Its members must have theirs to themselves.
    const std::string prefix = id + ".";
    bool taken = std::any_of(jobs.begin(), jobs.end(),
                             [&](const auto& one) { return one.first.value.starts_with(prefix); });
    if (!taken && options.archive != nullptr) {
      ASSIGN_OR_RETURN(taken, options.archive->HasPrefix(prefix));
    }
    if (taken) {
      return AlreadyExists("there are jobs whose ids begin with '" + prefix +
                               "', as those of the array's members would",
                           "leave job_id empty, or choose another");
    }
    return OkStatus();
  }
  if (fresh_id) return OkStatus();
  if (ViewUnstarted(job.id)) {
    return AlreadyExists("'" + id + "' is a member of an array that has not started yet",
                         "choose another job_id");
  }
  return OkStatus();
}

Status Control::State::CheckTerms(const Job& job) {
  for (const Dependency& dependency : job.terms->after) {
    const std::string& id = dependency.job.value;
    if (dependency.job == job.id)
      return InvalidArgument("job '" + id + "' cannot come after itself");
    auto other = Recall(dependency.job);
    if (!other.ok() && other.status().code() != Code::kNotFound) return other.status();
    if (const auto view = other.ok() ? std::nullopt : ViewUnstarted(dependency.job)) {
      return FailedPrecondition("'" + id +
                                    "', after which this one shall come, is a member of an " +
                                    "array that has not started yet",
                                "let it come after the array '" + view->job.member->array.value +
                                    "', or submit it once that member has started");
    }
    if (!other.ok()) {
      return NotFound("job '" + id + "', after which this one shall come, is not known",
                      "submit that one first");
    }
    JobState state = (*other)->job.state;
    if (!dependency.any_end && IsFinal(state) && state != JobState::kSucceeded) {
      return FailedPrecondition("job '" + id + "' has ended " + JobStateName(state) +
                                    ": this one, which comes after its success, would never start",
                                "let it come after any end (\"end\"), or after another job");
    }
  }
  const Limits& limits = job.terms->limits;
  if (limits.deadline.ms > 0 && limits.deadline.ms <= now.unix.ms) {
    return FailedPrecondition("the deadline has passed already",
                              "limits.deadline is a moment in seconds since 1970, UTC");
  }
  return OkStatus();
}

void Control::State::Apply(RetryJob& c) {
  auto found = RecallStarted(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  const Job& old = entry->job;
  if (old.member != nullptr) {
    return Answer(c.reply_to,
                  FailedPrecondition("job '" + old.id.value + "' is a member of an array",
                                     "retry the array, or submit the member as a job"));
  }
  if (old.state != JobState::kFailed && old.state != JobState::kCancelled) {
    return Answer(c.reply_to,
                  FailedPrecondition("job '" + old.id.value + "' is " + JobStateName(old.state) +
                                         ": only failed and cancelled jobs can be retried",
                                     IsFinal(old.state) ? "" : "wait until it has ended"));
  }
  Job job = AskedLike(old, c.new_job);
  if (old.terms != nullptr) {  // but not what it came after: that is over
    Terms terms = *old.terms;
    terms.after.clear();
    if (terms.limits.deadline.ms <= now.unix.ms) terms.limits.deadline = {};
    if (terms != Terms()) job.terms = std::make_shared<const Terms>(std::move(terms));
  }
  if (old.array != nullptr) {
    Array array;
    array.size = old.array->size;
    array.max_parallel = old.array->max_parallel;
    job.array = std::make_shared<const Array>(array);
  }
  job.retry_of = old.id;
  auto taken = Recall(c.new_job);
  if (taken.ok()) return Answer(c.reply_to, AlreadyExists("job '" + c.new_job.value + "' exists"));
  if (taken.status().code() != Code::kNotFound) return Answer(c.reply_to, taken.status());
  // Only the new job's own acceptance tells whether it is retried.
  SubmitJob submit{0, std::move(job), entry->body};
  Status accepted = Submit(submit);
  if (!accepted.ok()) return Answer(c.reply_to, std::move(accepted));
  Tell(old, EventKind::kRetried, c.new_job.value);
  pending.push_back({c.reply_to, c.new_job, false, false});
}

}  // namespace cyxwiz::control
