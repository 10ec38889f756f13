#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

void Control::State::Apply(SubmitJob& c) {
  auto existing = c.fresh_id ? NoSuchJob(c.job.id) : Recall(c.job.id);
  if (!existing.ok() && existing.status().code() != Code::kNotFound)
    return Answer(c.reply_to, existing.status());
  if (existing.ok()) {
    const Job& old = (*existing)->job;
    bool same = (*existing)->body->sha256 == c.body->sha256 && old.name == c.job.name &&
                old.user == c.job.user;
    if (!same) {
      return Answer(c.reply_to, AlreadyExists("a different job with the id '" + c.job.id.value +
                                                  "' exists already",
                                              "leave job_id empty, or choose another"));
    }
    pending.push_back({c.reply_to, c.job.id, true, true});
    return;
  }
  JobId id = c.job.id;
  Status accepted = Submit(c);
  if (!accepted.ok()) return Answer(c.reply_to, std::move(accepted));
  pending.push_back({c.reply_to, id, true, false});
}

Status Control::State::Submit(SubmitJob& c) {
  int64_t queued = counters.jobs_by_state[static_cast<int>(JobState::kQueued)];
  if (queued >= options.max_queued) {
    return ResourceExhausted("the queue is full: " + std::to_string(queued) + " jobs wait",
                             "try again later");
  }
  RETURN_IF_ERROR(scheduler::CouldEverRun(RequestOf(c.job), fleet.nodes()));
  RETURN_IF_ERROR(quotas.CouldEverRun(LineOf(c.job)));
  RETURN_IF_ERROR(CheckArrayId(c));
  if (c.job.terms != nullptr) RETURN_IF_ERROR(CheckTerms(c.job));
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

Status Control::State::CheckArrayId(const SubmitJob& c) {
  const std::string& id = c.job.id.value;
  if (c.job.array != nullptr) {
    if (id.size() > kMaxArrayIdBytes) {
      return InvalidArgument("job_id: that of an array has at most " +
                             std::to_string(kMaxArrayIdBytes) + " bytes, found " +
                             std::to_string(id.size()));
    }
    if (c.fresh_id) return OkStatus();
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
  if (c.fresh_id) return OkStatus();
  if (ViewUnstarted(c.job.id)) {
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
  auto found = Recall(c.job);
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
