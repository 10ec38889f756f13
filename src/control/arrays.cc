// An array is one job that stands for many alike, its members. In the queue it is one job; a member
// becomes a job of its own, and needs memory and a row, when it gets a node. They start in order,
// so what has not started is told by one number.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

void Control::State::ChangeArray(JobEntry& array, const std::function<void(Array&)>& change) {
  auto changed = std::make_shared<Array>(*array.job.array);
  change(*changed);
  array.job.progress = static_cast<double>(changed->ended()) / static_cast<double>(changed->size);
  array.job.array = std::move(changed);
  MarkChanged(array);
}

JobEntry& Control::State::StartMember(JobEntry& array) {
  const Job& of = array.job;
  const int64_t number = of.array->started;
  auto entry = std::make_unique<JobEntry>();
  Job& job = entry->job;
  job = AskedLike(of, MemberId(of.id, number));
  Require(Find(job.id) == nullptr, "a member of an array was started twice");
  job.sequence = next_sequence++;
  job.member = std::make_shared<const Member>(Member{of.id, of.sequence, number});
  job.created_at = of.created_at;
  job.attempt = of.array->base_attempt;
  if (of.terms != nullptr) {  // what comes before the first start is the array's
    if (array.member_terms == nullptr) {
      Terms terms = *of.terms;
      terms.after.clear();
      terms.limits.queue = {};
      array.member_terms = std::make_shared<const Terms>(std::move(terms));
    }
    if (*array.member_terms != Terms()) job.terms = array.member_terms;
  }
  job.body = of.body;
  entry->body = bodies.UseStored(of.body, array.body).body;
  JobEntry& member = Insert(std::move(entry));
  counters.jobs_by_state[static_cast<int>(JobState::kQueued)]++;
  counters.submitted++;
  events.push_back(SubmittedEvent(member.job));
  ArmLimits(member);
  if (of.started_at.ms == 0) {
    array.job.started_at = now.unix;
    DisarmLimit(array.job, TimerKind::kQueueLimit, &array.queue_end);
  }
  ChangeArray(array, [](Array& a) { a.started++; });
  if (of.array->started == of.array->size) {
    SetState(array, JobState::kRunning, "");
  } else if (of.array->room() == 0) {
    LeaveLine(of);
  }
  return member;
}

void Control::State::EndMember(const JobEntry& member) {
  JobEntry* array = Find(member.job.member->array);
  Require(array != nullptr && array->job.array != nullptr, "a member without its array");
  ChangeArray(*array, [&](Array& a) {
    if (member.job.state == JobState::kSucceeded) a.succeeded++;
    if (member.job.state == JobState::kFailed) a.failed++;
    if (member.job.state == JobState::kCancelled) a.cancelled++;
  });
  if (member.job.state == JobState::kFailed) array->job.cause = member.job.cause;
  SettleArray(*array);
}

void Control::State::SettleArray(JobEntry& array) {
  Job& job = array.job;
  const Array& counts = *job.array;
  const bool stops = job.cancel_requested || job.limit_hit != Cause::kNone;
  if (counts.alive() > 0 || (counts.started < counts.size && !stops)) {
    if (job.state == JobState::kQueued && !IsInLine(job)) EnterLine(array);
    return;
  }
  if (job.cancel_requested) return EndCancelled(array);
  if (job.limit_hit != Cause::kNone) return FailByLimit(array, job.limit_hit);
  if (job.state != JobState::kRunning) SetState(array, JobState::kRunning, "");
  job.progress = 1;
  if (counts.failed + counts.cancelled == 0) {
    job.cause = Cause::kNone;
    return SetState(array, JobState::kSucceeded, "");
  }
  job.error =
      ErrorInfo{static_cast<int32_t>(Code::kAborted),
                "of " + std::to_string(counts.size) + " members " + std::to_string(counts.failed) +
                    " failed and " + std::to_string(counts.cancelled) + " were cancelled",
                "list them with 'cyxwiz ps --array " + job.id.value + "'"};
  SetState(array, JobState::kFailed, job.error->message);
}

void Control::State::StopArray(JobEntry& array, const std::string& message) {
  Job& job = array.job;
  if (IsFinal(job.state)) return;  // the last member has just ended it
  if (job.array->alive() == 0) return SettleArray(array);
  if (job.state != JobState::kRunning) SetState(array, JobState::kRunning, message);
  job.message = message;
  MarkChanged(array);
}

std::vector<JobEntry*> Control::State::LiveMembers(const JobEntry& array) {
  std::vector<JobEntry*> live;
  auto found = members.find(array.job.sequence);
  if (found == members.end()) return live;
  for (int64_t sequence : found->second) {
    JobEntry* member = by_sequence.at(sequence);
    if (!IsFinal(member->job.state)) live.push_back(member);
  }
  return live;
}

void Control::State::CancelArray(JobEntry& array, const std::string& reason,
                                 const std::vector<JobEntry*>& live) {
  Job& job = array.job;
  if (!job.cancel_requested) Tell(job, EventKind::kCancelRequested, reason);
  job.cancel_requested = true;
  if (job.cancel_reason->empty()) job.cancel_reason = reason;
  MarkChanged(array);
  for (JobEntry* member : live) Cancel(*member, reason);
  StopArray(array, "cancelling");
}

std::vector<JobEntry*> Control::State::ArraysWithMembers(const JobFilter& filter) {
  std::vector<JobEntry*> arrays;
  for (const auto& [sequence, _] : members) {
    auto found = by_sequence.find(sequence);
    if (found == by_sequence.end()) continue;
    const Job& job = found->second->job;
    if (!IsFinal(job.state) && (filter.user.empty() || job.user == filter.user) &&
        (filter.type == 0 || job.type == filter.type) &&
        (filter.project.empty() || ProjectOf(job) == filter.project))
      arrays.push_back(found->second);
  }
  std::sort(arrays.begin(), arrays.end(),
            [](const JobEntry* a, const JobEntry* b) { return a->job.sequence < b->job.sequence; });
  return arrays;
}

std::vector<JobEntry*> Control::State::CancelMembers(JobEntry& array,
                                                     const std::vector<JobState>& states,
                                                     const std::string& reason) {
  auto is_meant = [&states](JobState state) {
    return std::count(states.begin(), states.end(), state) > 0;
  };
  const Job& job = array.job;
  const bool some_wait = job.array->started < job.array->size && !job.cancel_requested &&
                         job.limit_hit == Cause::kNone;
  const bool stops =
      some_wait && is_meant(job.state == JobState::kPaused ? JobState::kPaused : JobState::kQueued);
  const std::vector<JobEntry*> live = LiveMembers(array);
  std::vector<JobEntry*> meant;
  std::copy_if(live.begin(), live.end(), std::back_inserter(meant),
               [&](const JobEntry* member) { return is_meant(member->job.state); });
  if (meant.size() == live.size() && stops == some_wait) {
    Cancel(array, reason);
    return {&array};
  }
  if (!stops) {
    for (JobEntry* member : meant) Cancel(*member, reason);
    return meant;
  }
  CancelArray(array, reason, meant);
  meant.push_back(&array);
  return meant;
}

void Control::State::PauseArray(JobEntry& array) {
  if (array.job.state != JobState::kPaused) SetState(array, JobState::kPaused, "paused");
  for (JobEntry* member : LiveMembers(array)) Pause(*member);
}

Status Control::State::ResumeArray(JobEntry& array) {
  Job& job = array.job;
  std::vector<JobEntry*> live = LiveMembers(array);
  for (const JobEntry* member : live) {
    if (!member->job.pause_requested) continue;
    return FailedPrecondition("member '" + member->job.id.value + "' is still pausing",
                              "resume it once it is paused");
  }
  bool waits = job.array->started < job.array->size;
  if (job.state == JobState::kPaused)
    SetState(array, waits ? JobState::kQueued : JobState::kRunning, "");
  for (JobEntry* member : live) {
    if (member->job.state == JobState::kPaused) SetState(*member, JobState::kQueued, "");
  }
  return OkStatus();
}

void Control::State::EraseMembers(const JobEntry& array) {
  const Array& counts = *array.job.array;
  counters.jobs_by_state[static_cast<int>(JobState::kSucceeded)] -= counts.succeeded;
  counters.jobs_by_state[static_cast<int>(JobState::kFailed)] -= counts.failed;
  counters.jobs_by_state[static_cast<int>(JobState::kCancelled)] -= counts.cancelled;
  if (auto found = members.find(array.job.sequence); found != members.end()) {
    for (int64_t sequence : std::set<int64_t>(found->second)) {
      JobEntry* member = by_sequence.at(sequence);
      if (member->touched) std::erase(touched, member);
      Erase(*member);
    }
  }
  removals.push_back(DeleteMembers{array.job.sequence});
}

std::optional<JobView> Control::State::ViewUnstarted(const JobId& id) {
  const JobId array_id = ArrayIdOf(id);
  if (array_id.empty() || array_id.value.size() + 1 == id.value.size()) return std::nullopt;
  auto number = ParseInt(std::string_view(id.value).substr(array_id.value.size() + 1));
  auto found = Recall(array_id);
  if (!number || !found.ok() || (*found)->job.array == nullptr) return std::nullopt;
  const Array& array = *(*found)->job.array;
  if (*number < array.started || *number >= array.size || MemberId((*found)->job.id, *number) != id)
    return std::nullopt;
  JobView view = View(**found);
  view.job.id = id;
  view.job.member =
      std::make_shared<const Member>(Member{(*found)->job.id, (*found)->job.sequence, *number});
  view.job.array = nullptr;
  view.job.attempt = array.base_attempt;  // the array has the last of any member
  view.job.progress = 0;
  view.job.started_at = {};
  // Once the array stops, none of them will start.
  if (view.job.state == JobState::kRunning || view.job.state == JobState::kFailed)
    view.job.state = JobState::kCancelled;
  return view;
}

Result<JobEntry*> Control::State::RecallStarted(const JobId& id) {
  auto found = Recall(id);
  if (found.ok() || found.status().code() != Code::kNotFound) return found;
  const auto view = ViewUnstarted(id);
  return view ? HasNotStarted(id, *view->job.member) : found.status();
}

void Control::State::ListMembers(ListJobs& c) {
  auto found = Recall(c.filter.array_id);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  const Job& array = (*found)->job;
  if (array.array == nullptr) {
    return Answer(c.reply_to, FailedPrecondition("job '" + array.id.value +
                                                 "' is no array: it has no members"));
  }
  const std::vector<JobState>& states = c.filter.states;
  auto wanted = [&states](JobState state) {
    return states.empty() || std::count(states.begin(), states.end(), state) > 0;
  };
  ListReply reply;
  std::map<int64_t, JobView, std::greater<>> views;  // newest first
  auto members_of = members.find(array.sequence);
  if (members_of != members.end()) {
    for (int64_t sequence : members_of->second) {
      const JobEntry& member = *by_sequence.at(sequence);
      if (!wanted(member.job.state)) continue;
      if (!IsFinal(member.job.state)) reply.total++;
      if (sequence < c.after_sequence) views.emplace(sequence, View(member));
    }
  }
  const Array& counts = *array.array;
  if (wanted(JobState::kSucceeded)) reply.total += counts.succeeded;
  if (wanted(JobState::kFailed)) reply.total += counts.failed;
  if (wanted(JobState::kCancelled)) reply.total += counts.cancelled;
  const size_t size = static_cast<size_t>(c.page_size);
  if (options.archive != nullptr) {
    c.filter.array = array.sequence;
    auto ended = options.archive->ListEnded(c.filter, c.after_sequence, size + 1);
    if (!ended.ok()) return Answer(c.reply_to, ended.status());
    for (Job& job : *ended) views.try_emplace(job.sequence, JobView{.job = std::move(job)});
  }
  for (auto& [sequence, view] : views) {
    if (reply.jobs.size() == size) {
      reply.next_after_sequence = reply.jobs.back().job.sequence;
      break;
    }
    reply.jobs.push_back(std::move(view));
  }
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

}  // namespace cyxwiz::control
