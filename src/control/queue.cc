#include <algorithm>

#include "control/state.h"

namespace cyxwiz::control {
namespace {

constexpr int32_t kHighestPriority = 3;
constexpr size_t kMostFront = 8;

}  // namespace

void Control::State::EnterLine(JobEntry& entry) {
  if (entry.waits_for > 0 || held_back.count(entry.job.sequence) > 0 || IsDoomed(entry)) return;
  if (entry.job.array != nullptr && entry.job.array->room() == 0) return;
  const Job& job = entry.job;
  Duration wait = std::chrono::milliseconds(job.not_before.ms - now.unix.ms);
  if (wait > Duration::zero()) {
    // not_before is calendar time because it is durable; a clock that jumped must not make a job
    // wait for ever.
    entry.wake = now.monotonic + std::min(wait, options.retry_backoff_most);
    timers.Arm(entry.wake, TimerKind::kBackoff, job.id.value);
    return;
  }
  LineJobs& line = lines[LineOf(job)];
  line.jobs.insert(job.sequence);
  if (job.array != nullptr) line.arrays.insert(job.sequence);
  // One that has joined others waits as they do until something changes, but may have room made.
  reschedule |= line.fresh || options.preemption.on;
}

void Control::State::LeaveLine(const Job& job) {
  auto line = lines.find(LineOf(job));
  if (line == lines.end()) return;
  line->second.jobs.erase(job.sequence);
  overtaken.erase(job.sequence);
  line->second.arrays.erase(job.sequence);
  if (fleet.HoldOf(line->first) != nullptr) reschedule = true;
  if (!fleet.claims().empty()) reschedule = true;
  if (line->second.jobs.empty()) lines.erase(line);
}

bool Control::State::IsInLine(const Job& job) const {
  auto line = lines.find(LineOf(job));
  return line != lines.end() && line->second.jobs.count(job.sequence) > 0;
}

void Control::State::EndBackoff(const Timer& timer) {
  JobEntry* entry = Find(JobId{timer.id});
  if (entry == nullptr || entry->job.state != JobState::kQueued || IsInLine(entry->job) ||
      entry->wake != timer.at) {
    return;
  }
  entry->job.not_before = {};
  EnterLine(*entry);
  Touch(*entry);
}

int32_t Control::State::EffectivePriority(const Job& job) const {
  if (options.ageing <= Duration::zero()) return job.priority;
  int64_t gained = std::max<int64_t>(0, Since(job.created_at) / options.ageing);
  return static_cast<int32_t>(
      std::max<int64_t>(job.priority, std::min<int64_t>(kHighestPriority, job.priority + gained)));
}

Control::State::Rank Control::State::RankOf(const Job& job, const scheduler::Share& share,
                                            scheduler::Standing standing) const {
  return {standing != scheduler::Standing::kWithin, -EffectivePriority(job), share, job.sequence};
}

Control::State::Rank Control::State::RankOf(const Job& job) const {
  return RankOf(job, shares.Of(job.user, ProjectOf(job), now.monotonic), quotas.Of(LineOf(job)));
}

bool Control::State::MoreWaitThan(int64_t number, const LineJobs& line) const {
  for (int64_t sequence : line.jobs) {
    number -= MostStarts(by_sequence.at(sequence)->job);
    if (number < 0) return true;
  }
  return false;
}

const Job* Control::State::NextWithoutHold(const LineKey& key, const LineJobs& line) const {
  int64_t number = 0;
  for (int64_t sequence : line.jobs) {
    const Job& job = by_sequence.at(sequence)->job;
    number += MostStarts(job);
    if (fleet.HoldOf(key, number - 1) == nullptr) return &job;
  }
  return nullptr;
}

std::vector<Control::State::Rank> Control::State::Front() const {
  std::vector<Rank> front;
  for (const auto& [key, line] : lines) {
    const scheduler::Standing standing = quotas.Of(key);
    if (standing == scheduler::Standing::kBlocked) continue;
    const Job* next = NextWithoutHold(key, line);
    if (next == nullptr) continue;
    front.push_back(RankOf(*next, shares.Of(key.account, key.project, now.monotonic), standing));
  }
  std::sort(front.begin(), front.end());
  if (front.size() > kMostFront) front.resize(kMostFront);
  return front;
}

bool Control::State::WaitsInLine(int64_t sequence) const {
  auto found = by_sequence.find(sequence);
  return found != by_sequence.end() && found->second->job.state == JobState::kQueued &&
         IsInLine(found->second->job);
}

}  // namespace cyxwiz::control
