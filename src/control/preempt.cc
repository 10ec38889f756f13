#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

// Of one pass: what is planned costs a look at all nodes.
constexpr int kMostPlans = 16;
// Where nothing was found to end, it is looked for again only after this.
constexpr Duration kLookAgain = std::chrono::seconds(1);

// Whether the line takes back from its own class what is borrowed: who is within a quota does.
bool Reclaims(const scheduler::Quotas& quotas, const LineKey& line) {
  return !quotas.empty() && quotas.Of(line) == scheduler::Standing::kWithin;
}

// " 'a', 'b'"
template <typename Id>
std::string Named(const std::vector<Id>& ids) {
  constexpr size_t kMostNamed = 5;
  std::string text;
  for (size_t i = 0; i < std::min(ids.size(), kMostNamed); ++i)
    text += (i > 0 ? ", '" : " '") + ids[i].value + "'";
  return ids.size() > kMostNamed ? text + ", ..." : text;
}

}  // namespace

void Control::State::CountPlaced(const Job& job, int64_t change) {
  placed_by_class[static_cast<size_t>(std::clamp(job.priority, 0, 3))] += change;
}

void Control::State::Preempt() {
  int32_t lowest = 0;  // class of what is placed
  while (lowest < 4 && placed_by_class[static_cast<size_t>(lowest)] == 0) ++lowest;
  std::vector<std::pair<Rank, const LineKey*>> waiting;  // lines that go before some of it
  for (const auto& [key, line] : lines) {
    scheduler::Standing standing = quotas.Of(key);
    if (standing == scheduler::Standing::kBlocked) continue;
    if (key.priority < lowest + (Reclaims(quotas, key) ? 0 : 1)) continue;
    const Job& head = by_sequence.at(*line.jobs.begin())->job;
    waiting.emplace_back(RankOf(head, shares.Of(key.account, key.project, now.monotonic), standing),
                         &key);
  }
  std::sort(waiting.begin(), waiting.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  scheduler::Quotas promised = quotas;  // with what room is made for
  for (const scheduler::Claim& claim : fleet.claims())
    promised.Take(claim.line, TotalOf(claim.line.request));
  int plans = 0;
  for (const auto& [rank, key] : waiting) {
    LineJobs& line = lines.at(*key);
    const std::vector<scheduler::Claim>& claims = fleet.claims();
    auto claimed = std::count_if(claims.begin(), claims.end(),
                                 [&](const scheduler::Claim& claim) { return claim.line == *key; });
    for (auto job = line.jobs.begin(); job != line.jobs.end(); ++job) {
      if (claimed-- > 0) continue;  // room is made for it already
      if (promised.Of(*key) == scheduler::Standing::kBlocked) break;
      if (line.preempts_from > now.monotonic) {
        timers.Arm(line.preempts_from, TimerKind::kPreempt, "");
        break;
      }
      if (plans++ == kMostPlans) {
        timers.Arm(now.monotonic + kLookAgain, TimerKind::kPreempt, "");
        return;
      }
      MonotonicTime later = MonotonicTime::Never();
      const bool reclaims = Reclaims(promised, *key);
      auto preemption = scheduler::PlanPreemption(
          fleet, *key, now.monotonic,
          [&](const NodeId& node) { return Victims(node, key->priority, reclaims, &later); });
      if (preemption) {
        MakeRoom(by_sequence.at(*job)->job, *preemption);
        promised.Take(*key, TotalOf(key->request));
        continue;
      }
      line.preempts_from = now.monotonic + kLookAgain;
      if (later != MonotonicTime::Never())
        timers.Arm(std::max(later, line.preempts_from), TimerKind::kPreempt, "");
      break;
    }
  }
}

std::vector<scheduler::Victim> Control::State::Victims(const NodeId& node, int32_t priority,
                                                       bool reclaims, MonotonicTime* later) const {
  std::vector<scheduler::Victim> victims;
  for (const JobId& id : nodes.at(node).jobs) {
    const JobEntry& entry = *jobs.at(id);
    const Job& job = entry.job;
    const auto ranks = std::ssize(NodesWith(job));  // a gang loses the work of all of them
    bool lower = job.priority < priority || (reclaims && job.priority == priority &&
                                             quotas.IsBorrowing(job.user, ProjectOf(job)));
    if (!lower || job.preemptions >= options.preemption.most || IsToStop(entry)) continue;
    MonotonicTime from = (job.state == JobState::kRunning ? entry.running_since : now.monotonic) +
                         options.preemption.min_run;
    if (job.state != JobState::kRunning || from > now.monotonic) {
      *later = std::min(*later, from);
      continue;
    }
    victims.push_back(
        {job.sequence, job.priority, HeldOn(job, node), ranks * (now.monotonic - entry.saved_at)});
  }
  return victims;
}

void Control::State::MakeRoom(const Job& job, const scheduler::Preemption& preemption) {
  scheduler::Claim claim{job.sequence, LineOf(job), {}};
  for (const scheduler::Preemption::Place& place : preemption.places) {
    scheduler::Claim::Place& claimed = claim.places.emplace_back();
    claimed.node = place.node;
    for (int64_t sequence : place.victims) {
      JobEntry& entry = *by_sequence.at(sequence);
      claimed.victims[sequence] = HeldOn(entry.job, place.node);
      if (IsToStop(entry)) continue;  // on an earlier node
      entry.job.preempted_for = job.id;
      entry.job.message = RoomMessage(entry.job);
      Tell(entry.job, EventKind::kPreemptRequested, "for job '" + job.id.value + "'");
      MarkChanged(entry);
      SendStop(entry, RoomMessage(entry.job));
    }
  }
  fleet.AddClaim(std::move(claim));
  Touch(*by_sequence.at(job.sequence));
}

void Control::State::DropClaims() {
  const std::vector<scheduler::Claim>& claims = fleet.claims();
  std::map<LineKey, size_t> used;  // jobs of the line that have one
  for (size_t i = 0; i < claims.size();) {
    const scheduler::Claim& claim = claims[i];
    auto line = lines.find(claim.line);
    size_t waiting = line == lines.end() ? 0 : line->second.jobs.size();
    // All have ended, and still the pass has not placed it: its place has gone to one that goes
    // before it, or the node is not to be used.
    if (fleet.IsBeingMade(claim) && used[claim.line] < waiting) {
      used[claim.line]++;
      ++i;
      continue;
    }
    fleet.DropClaim(claim);
  }
}

void Control::State::LoadClaims() {
  std::map<JobId, scheduler::Claim> claims;
  for (const auto& [id, node] : nodes) {
    for (const JobId& one : node.jobs) {
      const Job& victim = jobs.at(one)->job;
      if (victim.preempted_for->empty()) continue;
      const JobEntry* entry = Find(*victim.preempted_for);
      if (entry == nullptr || !WaitsInLine(entry->job.sequence)) continue;
      const Job& job = entry->job;
      auto [found, fresh] = claims.try_emplace(job.id);
      scheduler::Claim& claim = found->second;
      if (fresh) claim = {job.sequence, LineOf(job), {}};
      if (claim.On(id) == nullptr) claim.places.push_back({id, {}});
      claim.places.back().victims[victim.sequence] = HeldOn(victim, id);
    }
  }
  for (auto& [job, claim] : claims) fleet.AddClaim(std::move(claim));
}

void Control::State::CompleteClaims() {
  for (size_t i = 0; i < fleet.claims().size(); ++i) {
    const scheduler::Claim& claim = fleet.claims()[i];
    const int32_t needed = LeastNodes(claim.line.request);
    if (std::ssize(claim.places) >= needed) continue;
    for (const scheduler::NodeState& node : fleet.nodes()) {
      if (std::ssize(claim.places) == needed) break;
      if (claim.On(node.id) == nullptr &&
          scheduler::CanStartOn(fleet, node, claim.line, now.monotonic))
        fleet.AddPlace(i, node.id);
    }
  }
}

const scheduler::Claim* Control::State::ClaimOf(const Job& job) const {
  const scheduler::Claim* of_line = nullptr;
  for (const scheduler::Claim& claim : fleet.claims()) {
    if (claim.job == job.sequence) return &claim;
    if (of_line == nullptr && claim.line == LineOf(job) && !WaitsInLine(claim.job))
      of_line = &claim;
  }
  return of_line;
}

scheduler::Preemption Control::State::RoomOf(const scheduler::Claim& claim) {
  scheduler::Preemption room;
  for (const scheduler::Claim::Place& place : claim.places) {
    std::vector<int64_t>& victims = room.places.emplace_back().victims;
    room.places.back().node = place.node;
    for (const auto& [sequence, resources] : place.victims) victims.push_back(sequence);
  }
  return room;
}

std::vector<JobId> Control::State::VictimsOf(const scheduler::Preemption& room) const {
  std::set<int64_t> victims;
  for (const scheduler::Preemption::Place& place : room.places)
    victims.insert(place.victims.begin(), place.victims.end());
  std::vector<JobId> ids;
  for (int64_t sequence : victims) ids.push_back(by_sequence.at(sequence)->job.id);
  return ids;
}

scheduler::Reason Control::State::PreemptingReason(const scheduler::Claim& claim) const {
  scheduler::Reason reason{"PREEMPTING", "", {}};
  for (const scheduler::Claim::Place& place : claim.places) reason.nodes.push_back(place.node);
  const std::vector<JobId> victims = VictimsOf(RoomOf(claim));
  reason.message = std::to_string(victims.size()) +
                   (victims.size() == 1 ? " running job makes" : " running jobs make") +
                   " room for it on" + (reason.nodes.size() == 1 ? " node" : " nodes") +
                   Named(reason.nodes) + ":" + Named(victims);
  return reason;
}

std::string Control::State::RoomToBeMade(const scheduler::Claim& claim) const {
  const std::vector<JobId> victims = VictimsOf(RoomOf(claim));
  if (victims.empty()) return "";
  return (victims.size() == 1 ? "job" : "jobs") + Named(victims) +
         " must end, to make room for it as asked";
}

}  // namespace cyxwiz::control
