#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

// How long one that was asked for stays in memory.
constexpr Duration kRecalled = std::chrono::seconds(1);

}  // namespace

JobEntry& Control::State::Insert(std::unique_ptr<JobEntry> entry) {
  JobEntry& inserted = *entry;
  by_sequence[inserted.job.sequence] = &inserted;
  if (inserted.job.member != nullptr) {
    members[inserted.job.member->array_sequence].insert(inserted.job.sequence);
  } else {
    index.Insert(inserted.job);
  }
  jobs.emplace(inserted.job.id, std::move(entry));
  return inserted;
}

bool Control::State::Erase(JobEntry& entry) {
  timers.Disarm(entry.forget_at, TimerKind::kForget, entry.job.id.value);
  if (const Member* member = entry.job.member.get()) {
    auto found = members.find(member->array_sequence);
    found->second.erase(entry.job.sequence);
    if (found->second.empty()) members.erase(found);
  } else {
    index.Erase(entry.job);
  }
  by_sequence.erase(entry.job.sequence);
  unflushed.erase(entry.job.sequence);
  bool last = bodies.Drop(entry.job.body);
  jobs.erase(JobId(entry.job.id));
  return last;
}

void Control::State::ArmForget(JobEntry& entry, Duration after) {
  if (options.archive == nullptr) return;
  timers.Disarm(entry.forget_at, TimerKind::kForget, entry.job.id.value);
  // Later than now: by then what has been decided now is stored.
  entry.forget_at = now.monotonic + std::max(after, Duration(1));
  timers.Arm(entry.forget_at, TimerKind::kForget, entry.job.id.value);
}

void Control::State::Forget(const Timer& timer) {
  JobEntry* entry = Find(JobId{timer.id});
  if (entry == nullptr || entry->forget_at != timer.at) return;
  if (entry->touched) return ArmForget(*entry, kRecalled);  // followers are still to be told
  if (entry->job.member == nullptr) ended_counts.Add(entry->job, +1);
  Erase(*entry);
}

Result<JobEntry*> Control::State::Recall(const JobId& id) {
  JobEntry* entry = Find(id);
  if (entry == nullptr && options.archive != nullptr) {
    auto found = options.archive->FindEnded(id);
    if (!found.ok()) return found.status();
    auto is_gone = [this](const Job& job) {
      return removed_lately.count(job.sequence) > 0 ||
             (job.member != nullptr && removed_lately.count(job.member->array_sequence) > 0);
    };
    if (*found && !is_gone((*found)->job)) {
      auto recalled = std::make_unique<JobEntry>();
      recalled->job = std::move((*found)->job);
      recalled->body = bodies.UseStored(recalled->job.body, (*found)->body).body;
      recalled->stored = true;
      if (recalled->job.member == nullptr) ended_counts.Add(recalled->job, -1);
      entry = &Insert(std::move(recalled));
    }
  }
  if (entry == nullptr) return NoSuchJob(id);
  // So that it does not leave within this batch, which may still speak of it.
  bool leaves =
      entry->forget_at == MonotonicTime::Never() || entry->forget_at < now.monotonic + kRecalled;
  if (IsFinal(entry->job.state) && leaves) ArmForget(*entry, kRecalled);
  return entry;
}

}  // namespace cyxwiz::control
