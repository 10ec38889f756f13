#include <algorithm>

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
    dependents[dependency.job].push_back(job.id);
    entry.waits_for++;
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
    std::erase(found->second, entry.job.id);
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
    for (const JobId& one : waiting.mapped()) {
      JobEntry& entry = *Find(one);
      if (IsFinal(entry.job.state)) continue;  // it was named twice
      entry.waits_for--;
      const auto& after = entry.job.terms->after;
      bool fine = over.state == JobState::kSucceeded ||
                  std::all_of(after.begin(), after.end(), [&](const Dependency& dependency) {
                    return dependency.job != id || dependency.any_end;
                  });
      if (!fine) {
        entry.job.cause = Cause::kDependencyFailed;
        SetState(entry, JobState::kCancelled,
                 "job '" + id.value + "', which had to succeed first, has ended " +
                     JobStateName(over.state));
        continue;
      }
      if (entry.waits_for == 0 && entry.job.state == JobState::kQueued) EnterLine(entry);
      Touch(entry);
    }
  }
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
