#include <algorithm>
#include <tuple>
#include <utility>

#include "control/state.h"

namespace cyxwiz::control {
namespace {

// What it may take at most to end an attempt that has reached its limit.
constexpr Duration kTimeToStop = std::chrono::seconds(10);

}  // namespace

std::vector<scheduler::Occupant> Control::State::Occupants(const NodeId& id) const {
  std::vector<scheduler::Occupant> occupants;
  for (const JobId& one : nodes.at(id).jobs) {
    const JobEntry& entry = *jobs.at(one);
    scheduler::Occupant occupant{entry.job.sequence, entry.job.resources};
    if (entry.run_end != MonotonicTime::Never()) occupant.end = entry.run_end + kTimeToStop;
    if (auto left = Remaining(entry)) occupant.expected = now.monotonic + *left;
    occupants.push_back(std::move(occupant));
  }
  return occupants;
}

void Control::State::UpdateHold() {
  int64_t sequence = 0;
  auto blocked = [this](int64_t waiting) {
    return quotas.Of(LineOf(by_sequence.at(waiting)->job)) == scheduler::Standing::kBlocked;
  };
  if (fleet.hold()) {
    if (!WaitsInLine(fleet.hold()->job) || blocked(fleet.hold()->job)) return fleet.ClearHold();
    sequence = fleet.hold()->job;
  } else {
    if (overtaken == 0 || now.monotonic - overtaken_since < options.hold_after) return;
    sequence = overtaken;
    if (!WaitsInLine(sequence) || blocked(sequence)) {
      overtaken = 0;
      return;
    }
  }
  // One that asks for the same and is older may have come back into the line: it goes first.
  sequence = *lines.at(LineOf(by_sequence.at(sequence)->job)).jobs.begin();
  const Job& job = by_sequence.at(sequence)->job;
  auto hold = scheduler::PlanHold(fleet, sequence, job.priority, RequestOf(job), now.monotonic,
                                  [this](const NodeId& id) { return Occupants(id); });
  if (hold) {
    fleet.SetHold(std::move(*hold));
  } else {
    fleet.ClearHold();
  }
}

void Control::State::Schedule() {
  UpdateHold();
  do {
    PlaceJobs();
  } while (DropClaims());
  if (options.preemption.on) Preempt();
}

void Control::State::PlaceJobs() {
  std::vector<scheduler::Line> waiting;
  for (auto& [key, line] : lines) {
    if (quotas.Of(key) == scheduler::Standing::kBlocked) continue;
    bool fresh = std::exchange(line.fresh, false);
    int64_t most = scheduler::MostPlacements(key.request, fleet, !fresh);
    if (most == 0) continue;
    scheduler::Line one{key, {}, fresh};
    for (int64_t sequence : line.jobs) {
      const Job& job = by_sequence.at(sequence)->job;
      int64_t times = std::min(job.array != nullptr ? job.array->room() : 1, most);
      const scheduler::Waiting waits{sequence, EffectivePriority(job)};
      one.jobs.insert(one.jobs.end(), static_cast<size_t>(times), waits);
      if ((most -= times) == 0) break;
    }
    waiting.push_back(std::move(one));
  }
  int64_t last = 0;  // of the jobs that are placed, the newest of the lowest priority
  int32_t lowest = INT32_MAX;
  for (const scheduler::Placement& placement :
       scheduler::Schedule(&fleet, waiting, &shares, now.monotonic, &quotas)) {
    JobEntry& placed = *by_sequence.at(placement.job);
    JobEntry& entry = placed.job.array != nullptr ? StartMember(placed) : placed;
    NodeEntry& node = *FindNode(placement.node);
    Job& job = entry.job;
    if (int32_t priority = EffectivePriority(job); priority < lowest) {
      lowest = priority;
      last = placement.job;
    } else if (priority == lowest) {
      last = std::max(last, placement.job);
    }
    job.attempt++;
    if (job.member != nullptr) {
      JobEntry& array = *Find(job.member->array);
      array.job.attempt = std::max(array.job.attempt, job.attempt);
      MarkChanged(array);
    }
    job.attempt_started_at = {};
    job.node = placement.node;
    job.not_before = {};
    node.reserved += job.resources;
    Require(node.node.capacity.Holds(node.reserved), "a node is oversold");
    node.jobs.insert(job.id);
    CountPlaced(job, +1);
    entry.accepted = entry.adopted = false;
    entry.last_seen = now.monotonic;
    timers.Arm(now.monotonic + options.assign_timeout, TimerKind::kAssign, job.id.value);
    SetState(entry, JobState::kAssigned, "");
    output->effects.push_back(AssignEffect{
        {job.id, job.attempt}, placement.node, node.node.endpoint, node.session, job, entry.body});
  }
  if (!quotas.empty()) {  // what one stops may fit anywhere once it lets it
    for (auto& [key, line] : lines) {
      if (quotas.Of(key) == scheduler::Standing::kBlocked) line.fresh = true;
    }
  }
  if (last != 0) NoteOvertaken(lowest, last);
}

void Control::State::NoteOvertaken(int32_t lowest, int64_t last) {
  const Job* first = First();
  if (first != nullptr && first->sequence == overtaken) return;
  int32_t priority = first != nullptr ? EffectivePriority(*first) : 0;
  bool passed =
      first != nullptr && (priority > lowest || (priority == lowest && first->sequence < last));
  overtaken = passed ? first->sequence : 0;
  overtaken_since = now.monotonic;
}

}  // namespace cyxwiz::control
