#include <algorithm>
#include <utility>

#include "control/actors.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

// Whether a job of this id still has to end first. One that was accepted later has only taken the
// id of one that has ended and was deleted.
bool IsAwaited(const Job& other, const Job& job) {
  return !IsFinal(other.state) && other.sequence < job.sequence;
}

}  // namespace

void Control::State::StartWaiting(JobEntry& entry) {
  const Job& job = entry.job;
  if (job.terms == nullptr) return;
  for (const Dependency& dependency : job.terms->after) {
    const JobEntry* other = Find(dependency.job);
    // One that is not there was deleted, which it was only once it had ended well.
    if (other == nullptr || !IsAwaited(other->job, job)) continue;
    auto [found, fresh] = dependents[dependency.job].try_emplace(job.sequence, dependency.any_end);
    found->second &= dependency.any_end;  // it may be named twice
    entry.waits_for += fresh ? 1 : 0;
  }
}

int32_t Control::State::Awaited(const Job& job) const {
  if (job.terms == nullptr) return 0;
  return static_cast<int32_t>(std::count_if(
      job.terms->after.begin(), job.terms->after.end(), [&](const Dependency& dependency) {
        const auto other = jobs.find(dependency.job);
        return other != jobs.end() && IsAwaited(other->second->job, job);
      }));
}

void Control::State::StopWaiting(JobEntry& entry) {
  for (const Dependency& dependency : entry.job.terms->after) {
    auto found = dependents.find(dependency.job);
    if (found == dependents.end()) continue;
    found->second.erase(entry.job.sequence);
    if (found->second.empty()) dependents.erase(found);
  }
  entry.waits_for = 0;
}

void Control::State::WakeDependents() {
  while (!ended.empty()) {
    JobId id = std::move(ended.back());
    ended.pop_back();
    auto waiting = dependents.extract(id);
    if (waiting.empty()) continue;
    const Job& over = Find(id)->job;
    Cancellation never{.cause = Cause::kDependencyFailed,
                       .reason = "job '" + id.value + "', which had to succeed first, has ended " +
                                 JobStateName(over.state),
                       .actor = kDependenciesActor};
    for (const auto& [sequence, any_end] : waiting.mapped()) {
      if (over.state == JobState::kSucceeded || any_end) {
        waking[sequence]++;
      } else {
        never.jobs.push_back(sequence);
      }
    }
    if (never.jobs.empty()) continue;
    const bool at_once = FitsNow(never);
    BeginCancellation(std::move(never), at_once);
  }
}

void Control::State::WakeNext() {
  const auto [sequence, ended_since] = *waking.begin();
  waking.erase(waking.begin());
  --left_at_once;
  auto found = by_sequence.find(sequence);
  if (found == by_sequence.end() || IsFinal(found->second->job.state)) return;
  JobEntry& entry = *found->second;
  entry.waits_for -= ended_since;
  if (entry.waits_for == 0 && entry.job.state == JobState::kQueued) EnterLine(entry);
  Touch(entry);
}

std::string Control::State::WaitMessage(const JobEntry& entry) const {
  constexpr int kMostNamed = 5;
  std::string text =
      "waits for " + std::to_string(entry.waits_for) + (entry.waits_for == 1 ? " job:" : " jobs:");
  int named = 0;
  for (const Dependency& dependency : entry.job.terms->after) {
    auto other = jobs.find(dependency.job);
    if (other == jobs.end() || !IsAwaited(other->second->job, entry.job)) continue;
    if (named++ == kMostNamed) return text + ", ...";
    text += std::string(named > 1 ? ", '" : " '") + dependency.job.value + "' (" +
            JobStateName(other->second->job.state) + ")";
  }
  return text;
}

std::string Control::State::AwaitedEnds(const JobEntry& entry) const {
  constexpr int kMostNamed = 5;
  std::string text;
  int named = 0;
  for (const Dependency& dependency : entry.job.terms->after) {
    const auto other = jobs.find(dependency.job);
    if (other == jobs.end() || !IsAwaited(other->second->job, entry.job)) continue;
    if (named++ == kMostNamed) return text + ", ...";
    text += (named > 1 ? ", and job '" : "job '") + dependency.job.value +
            (dependency.any_end ? "' must end" : "' must succeed");
  }
  return text;
}

std::optional<Duration> Control::State::AwaitedIn(const JobEntry& entry) const {
  Duration last = {};
  for (const Dependency& dependency : entry.job.terms->after) {
    const auto other = jobs.find(dependency.job);
    if (other == jobs.end() || !IsAwaited(other->second->job, entry.job)) continue;
    const JobEntry& awaited = *other->second;
    const bool runs =
        awaited.job.state == JobState::kAssigned || awaited.job.state == JobState::kRunning;
    if (!runs || awaited.job.array != nullptr) return std::nullopt;
    const auto left = Remaining(awaited);
    if (!left) return std::nullopt;
    last = std::max(last, *left);
  }
  return last;
}

}  // namespace cyxwiz::control
