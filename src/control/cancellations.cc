// What takes more than one batch. Cancelling a job writes its row and an event, so a million of
// them would keep heartbeats waiting until nodes lose their leases: they are cancelled some at a
// time. What all of them are is stored first, as one record, and from then on none of them starts;
// who asked is answered when the last one is cancelled. Jobs that must not start because one before
// them has failed are such a cancellation too; those that may start now leave their wait some at a
// time as well, which needs no record: after a restart there is nothing that they wait for.
#include <algorithm>
#include <utility>

#include "control/actors.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

constexpr int64_t kMostCancellations = 16;  // that clients have asked for

}  // namespace

void Control::State::Apply(CancelJobs& c) {
  Cancellation cancellation{.reason = std::move(c.reason), .actor = actor};
  bool others = false;  // some of these are being cancelled already
  for (int64_t sequence : index.All(c.filter)) {
    const JobEntry& entry = *by_sequence.at(sequence);
    // Of an array that has begun each member's own state counts.
    const bool has_begun = entry.job.array != nullptr && members.count(sequence) > 0;
    if (IsFinal(entry.job.state) || (has_begun && !c.filter.states.empty())) continue;
    if (!c.filter.project.empty() && ProjectOf(entry.job) != c.filter.project) continue;
    if (entry.doomed && !entry.job.cancel_requested) {
      others = true;
    } else {
      cancellation.jobs.push_back(sequence);
    }
  }
  const bool at_once = !others && FitsNow(cancellation);
  const int64_t in_work = std::count_if(
      cancellations.begin(), cancellations.end(),
      [](const auto& one) { return one.second.cancellation->cause == Cause::kCancelled; });
  if (!at_once && in_work >= kMostCancellations) {
    return Answer(c.reply_to, ResourceExhausted(std::to_string(in_work) +
                                                    " requests to cancel many jobs are being "
                                                    "carried out, as many as the server takes",
                                                "try again when one of them is answered"));
  }
  CancelJobsReply counts;
  if (!c.filter.states.empty()) {
    for (JobEntry* array : ArraysWithMembers(c.filter)) {
      for (JobEntry* entry : CancelMembers(*array, c.filter.states, cancellation.reason))
        (IsFinal(entry->job.state) ? counts.cancelled : counts.cancelling)++;
    }
  }
  BeginCancellation(std::move(cancellation), at_once, c.reply_to, counts);
}

bool Control::State::FitsNow(const Cancellation& cancellation) const {
  return cancellations.empty() && std::ssize(cancellation.jobs) <= left_at_once;
}

void Control::State::BeginCancellation(Cancellation cancellation, bool at_once, ReplyTo reply_to,
                                       CancelJobsReply counts) {
  if (at_once) {
    for (int64_t sequence : cancellation.jobs) CancelOne(cancellation, sequence, &counts);
    return Answer(reply_to, OkStatus(), counts);
  }
  cancellation.number = next_sequence++;
  const int64_t number = cancellation.number;
  CancellationEntry& entry = cancellations[number];
  entry.cancellation = std::make_shared<const Cancellation>(std::move(cancellation));
  entry.reply_to = reply_to;
  entry.counts = counts;
  fresh_cancellations.push_back(number);
  Doom(*entry.cancellation);
}

void Control::State::Doom(const Cancellation& cancellation) {
  for (int64_t sequence : cancellation.jobs) {
    auto found = by_sequence.find(sequence);
    if (found != by_sequence.end()) found->second->doomed = true;
  }
  if (cancellation.cause == Cause::kDependencyFailed) return;  // they are in no line
  const auto is_doomed = [this](int64_t sequence) { return IsDoomed(*by_sequence.at(sequence)); };
  std::erase_if(overtaken, [&](const auto& one) { return is_doomed(one.first); });
  for (auto line = lines.begin(); line != lines.end();) {
    const auto left = std::erase_if(line->second.jobs, is_doomed);
    std::erase_if(line->second.arrays, is_doomed);
    reschedule |= left > 0;
    line = line->second.jobs.empty() ? lines.erase(line) : std::next(line);
  }
}

bool Control::State::IsDoomed(const JobEntry& entry) const {
  if (cancellations.empty()) return false;
  if (entry.doomed || entry.job.member == nullptr) return entry.doomed;
  auto array = jobs.find(entry.job.member->array);
  return array != jobs.end() && array->second->doomed;
}

void Control::State::CancelOne(const Cancellation& cancellation, int64_t sequence,
                               CancelJobsReply* counts) {
  --left_at_once;
  auto found = by_sequence.find(sequence);
  if (found == by_sequence.end()) return;  // it has ended since
  JobEntry& entry = *found->second;
  if (IsFinal(entry.job.state)) {
    if (entry.job.state == JobState::kCancelled) counts->cancelled++;
    return;
  }
  const std::string before = std::exchange(actor, cancellation.actor);
  if (cancellation.cause == Cause::kDependencyFailed) {
    entry.job.cause = cancellation.cause;
    SetState(entry, JobState::kCancelled, cancellation.reason);
  } else {
    if (entry.job.array != nullptr) left_at_once -= std::ssize(LiveMembers(entry));
    Cancel(entry, cancellation.reason);
  }
  (IsFinal(entry.job.state) ? counts->cancelled : counts->cancelling)++;
  actor = before;
}

void Control::State::CancelNext() {
  auto first = cancellations.begin();
  CancellationEntry& entry = first->second;
  const Cancellation& cancellation = *entry.cancellation;
  while (entry.done < cancellation.jobs.size()) {
    if (left_at_once <= 0) return;
    CancelOne(cancellation, cancellation.jobs[entry.done++], &entry.counts);
  }
  Answer(entry.reply_to, OkStatus(), entry.counts);
  if (entry.stored) removals.push_back(DeleteCancellation{first->first});
  cancellations.erase(first);
}

void Control::State::GoOn() {
  for (;;) {
    WakeDependents();
    if (left_at_once <= 0) break;
    if (!waking.empty()) {
      WakeNext();
    } else if (!cancellations.empty()) {
      CancelNext();
    } else {
      return;
    }
  }
  if (goes_on || (waking.empty() && cancellations.empty())) return;
  goes_on = true;  // in a later batch, whatever commands come before
  timers.Arm(now.monotonic + Duration(1), TimerKind::kGoOn, "");
}

void Control::State::StoreCancellations() {
  for (int64_t number : std::exchange(fresh_cancellations, {})) {
    auto found = cancellations.find(number);
    if (found == cancellations.end()) continue;  // it is done already
    if (found->second.cancellation->jobs.empty()) continue;
    found->second.stored = true;
    output->records.push_back(PutCancellation{found->second.cancellation});
  }
}

void Control::State::LoadCancellations(std::vector<Cancellation> stored) {
  for (Cancellation& cancellation : stored) {
    next_sequence = std::max(next_sequence, cancellation.number + 1);
    CancellationEntry& entry = cancellations[cancellation.number];
    entry.cancellation = std::make_shared<const Cancellation>(std::move(cancellation));
    entry.stored = true;
    Doom(*entry.cancellation);
  }
  if (cancellations.empty()) return;
  left_at_once = 0;
  goes_on = true;
  timers.Arm(now.monotonic + Duration(1), TimerKind::kGoOn, "");
}

}  // namespace cyxwiz::control
