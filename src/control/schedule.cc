#include <algorithm>
#include <tuple>
#include <utility>

#include "control/state.h"

namespace cyxwiz::control {
namespace {

// Nodes are kept for so many jobs at most; beyond those of the first of them, one of so many nodes.
constexpr size_t kMostHolds = 16;
constexpr int64_t kOneNodeKeptOf = 4;
// At a time for so many jobs: each costs a look at all nodes.
constexpr size_t kMostTries = 4;
// So many jobs are known to have been passed by.
constexpr size_t kMostOvertaken = 64;

// Who has had so many times the share of the one that waits makes way for it. Who has had hardly
// more keeps its room: jobs of different sizes never have quite the same (bench/fairness).
constexpr double kClearlyMore = 1.1;

std::shared_ptr<const Gang> GangOf(const scheduler::Placement& placement) {
  auto gang = std::make_shared<Gang>();
  gang->ranks.push_back({placement.node});
  for (const NodeId& node : placement.others) gang->ranks.push_back({node});
  for (size_t i = 0; i < placement.gpus.size(); ++i) gang->ranks[i].gpus = placement.gpus[i];
  return gang;
}

// host:port at which its ranks meet, on the node of rank 0. Another port for each attempt, so that
// gangs which meet on one machine, or one whose port somebody else has taken, soon have their own.
std::string RendezvousOf(const Job& job, const Node& node) {
  const int64_t port = node.rendezvous_port + (job.sequence + job.attempt) % node.rendezvous_ports;
  return node.endpoint.substr(0, node.endpoint.rfind(':')) + ":" + std::to_string(port);
}

}  // namespace

std::vector<scheduler::Occupant> Control::State::Occupants(const NodeId& id,
                                                           const LineKey& line) const {
  const scheduler::Share share = shares.Of(line.account, line.project, now.monotonic);
  std::vector<scheduler::Occupant> occupants;
  for (const JobId& one : nodes.at(id).jobs) {
    const JobEntry& entry = *jobs.at(one);
    scheduler::Occupant occupant{entry.job.sequence, HeldOn(entry.job, id)};
    if (entry.run_end != MonotonicTime::Never())
      occupant.end = entry.run_end + scheduler::kTimeToStop;
    if (auto left = Remaining(entry)) occupant.expected = now.monotonic + *left;
    occupant.owes =
        shares.Of(entry.job.user, ProjectOf(entry.job), now.monotonic).Exceeds(share, kClearlyMore);
    occupants.push_back(std::move(occupant));
  }
  return occupants;
}

const scheduler::Hold* Control::State::HoldFor(const Job& job) const {
  const LineKey key = LineOf(job);
  int64_t before = 0;  // older ones of its line
  for (int64_t sequence : lines.at(key).jobs) {
    if (sequence == job.sequence || before >= std::ssize(fleet.holds())) break;
    before += MostStarts(by_sequence.at(sequence)->job);
  }
  return fleet.HoldOf(key, before);
}

std::optional<scheduler::Hold> Control::State::PlanHold(const LineKey& line,
                                                        const scheduler::Hold* present) const {
  return scheduler::PlanHold(fleet, line, present, now.monotonic,
                             [&](const NodeId& id) { return Occupants(id, line); });
}

void Control::State::UpdateHolds() {
  std::map<LineKey, int64_t> held;
  for (size_t i = 0; i < fleet.holds().size();) {
    const scheduler::Hold& present = fleet.holds()[i];
    auto line = lines.find(present.line);
    std::optional<scheduler::Hold> hold;
    if (line != lines.end() && MoreWaitThan(held[present.line], line->second) &&
        quotas.Of(present.line) != scheduler::Standing::kBlocked)
      hold = PlanHold(present.line, &present);
    if (hold) {
      held[hold->line]++;
      fleet.SetHold(i++, std::move(*hold));
    } else {
      fleet.DropHold(present);
    }
  }
}

void Control::State::AddHold() {
  if (next_hold > now.monotonic) return;
  std::vector<Rank> due;
  for (const auto& [sequence, since] : overtaken) {
    if (now.monotonic - since < options.hold_after) continue;
    const Job& job = by_sequence.at(sequence)->job;
    const LineKey key = LineOf(job);
    if (quotas.Of(key) != scheduler::Standing::kBlocked && MayKeep(LeastNodes(key.request)))
      due.push_back(RankOf(job));
  }
  std::sort(due.begin(), due.end());
  if (due.size() > kMostTries) due.resize(kMostTries);
  for (const Rank& rank : due) {
    const int64_t sequence = std::get<int64_t>(rank);
    overtaken.erase(sequence);
    next_hold = now.monotonic + options.hold_after;
    auto hold = PlanHold(LineOf(by_sequence.at(sequence)->job), nullptr);
    if (!hold) continue;  // it can start nowhere, and lets the next one have its turn
    fleet.AddHold(std::move(*hold));
    return;
  }
}

bool Control::State::MayKeep(int32_t more) const {
  if (fleet.holds().empty()) return true;
  int64_t kept = more;
  for (const scheduler::Hold& hold : fleet.holds()) kept += std::ssize(hold.places);
  return fleet.holds().size() < kMostHolds && kept <= counters.nodes_online / kOneNodeKeptOf;
}

void Control::State::Schedule() {
  UpdateHolds();
  AddHold();
  CompleteClaims();
  size_t holds = 0, claims = 0;
  do {
    holds = fleet.holds().size();
    claims = fleet.claims().size();
    PlaceJobs();
    DropClaims();
    // What was kept, or claimed, is free for others.
  } while (fleet.claims().size() < claims || fleet.holds().size() < holds);
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
      int64_t times = std::min(MostStarts(job), most);
      const scheduler::Waiting waits{sequence, EffectivePriority(job), job.data};
      one.jobs.insert(one.jobs.end(), static_cast<size_t>(times), waits);
      if ((most -= times) == 0) break;
    }
    waiting.push_back(std::move(one));
  }
  const std::vector<Rank> front = Front();
  std::optional<Rank> last;  // of the jobs that are placed
  for (const scheduler::Placement& placement :
       scheduler::Schedule(&fleet, waiting, &shares, now.monotonic, &quotas)) {
    JobEntry& placed = *by_sequence.at(placement.job);
    JobEntry& entry = placed.job.array != nullptr ? StartMember(placed) : placed;
    Job& job = entry.job;
    const Rank rank{placement.borrows, -EffectivePriority(job), placement.share, placement.job};
    if (!last || *last < rank) last = rank;
    job.attempt++;
    job.log_tail = {};
    if (job.member != nullptr) {
      JobEntry& array = *Find(job.member->array);
      array.job.attempt = std::max(array.job.attempt, job.attempt);
      MarkChanged(array);
    }
    job.attempt_started_at = now.unix;
    job.node = placement.node;
    job.gpus = placement.gpus.empty() ? std::vector<GpuPart>() : placement.gpus.front();
    job.not_before = {};
    job.gang = placement.others.empty() ? nullptr : GangOf(placement);
    entry.adopted = false;
    BeginRanks(entry, {.last_seen = now.monotonic});
    timers.Arm(now.monotonic + options.assign_timeout, TimerKind::kAssign, job.id.value);
    ArmRunLimit(entry);
    SetState(entry, JobState::kAssigned, "");
    Assign(entry, placement.node, 0);
    for (size_t i = 0; i < placement.others.size(); ++i)
      Assign(entry, placement.others[i], static_cast<int32_t>(i + 1));
  }
  if (!quotas.empty()) {  // what one stops may fit anywhere once it lets it
    for (auto& [key, line] : lines) {
      if (quotas.Of(key) == scheduler::Standing::kBlocked) line.fresh = true;
    }
  }
  if (last) NoteOvertaken(front, *last);
}

void Control::State::Assign(JobEntry& entry, const NodeId& id, int32_t rank) {
  const Job& job = entry.job;
  NodeEntry& node = nodes.at(id);
  const Resources held = HeldOn(job, id);
  Require(!held.AsksForGpu() || !held.gpus->empty(), "an attempt got no GPU");
  node.reserved += held;
  Require(node.node.capacity.Holds(node.reserved), "a node is oversold");
  Require(node.jobs.insert(job.id).second, "two ranks of a gang are on one node");
  CountPlaced(job, +1);
  AssignEffect effect{.attempt = {job.id, job.attempt},
                      .node = id,
                      .endpoint = node.node.endpoint,
                      .session = node.session,
                      .gpus = *held.gpus,
                      .job = job,
                      .body = entry.body};
  if (job.gang != nullptr) {
    effect.rank = rank;
    effect.ranks = RanksOf(job);
    effect.rendezvous = RendezvousOf(job, nodes.at(job.node).node);
  }
  output->effects.push_back(std::move(effect));
}

void Control::State::NoteOvertaken(const std::vector<Rank>& front, const Rank& last) {
  for (const Rank& rank : front) {
    const int64_t sequence = std::get<int64_t>(rank);
    if (!(rank < last)) break;
    if (!WaitsInLine(sequence) || overtaken.count(sequence) > 0) continue;
    if (overtaken.size() == kMostOvertaken) {  // who would be kept a node for last makes way
      Rank worst = rank;
      for (const auto& [other, since] : overtaken)
        worst = std::max(worst, RankOf(by_sequence.at(other)->job));
      if (worst == rank) break;
      overtaken.erase(std::get<int64_t>(worst));
    }
    overtaken[sequence] = now.monotonic;
  }
}

}  // namespace cyxwiz::control
