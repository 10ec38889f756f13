#include "scheduler/preemption.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "scheduler/scheduler.h"

namespace cyxwiz::scheduler {
namespace {

// What it costs to end and begin an attempt besides the work that is lost, so that one victim is
// better than two that lose as much.
constexpr Duration kRestart = std::chrono::seconds(10);

// Of the victims, cheapest first, those that must end so that `free` holds what is needed: as many
// as it takes, without those that turn out not to be needed. Empty: all of them are not enough.
std::vector<Victim> Choose(std::vector<Victim> victims, Resources free, const Resources& capacity,
                           const Resources& need) {
  std::sort(victims.begin(), victims.end(), [](const Victim& a, const Victim& b) {
    return std::tuple(a.priority, a.lost, a.job) < std::tuple(b.priority, b.lost, b.job);
  });
  std::vector<Victim> chosen;
  for (Victim& victim : victims) {
    if (HasRoom(free, capacity, need)) break;
    free += victim.resources;
    chosen.push_back(std::move(victim));
  }
  if (!HasRoom(free, capacity, need)) return {};
  for (size_t i = chosen.size(); i-- > 0;) {
    if (!HasRoom(free - chosen[i].resources, capacity, need)) continue;
    free -= chosen[i].resources;
    chosen.erase(chosen.begin() + static_cast<ptrdiff_t>(i));
  }
  return chosen;
}

}  // namespace

std::optional<Preemption> PlanPreemption(
    const Fleet& fleet, const LineKey& line, MonotonicTime now,
    const std::function<std::vector<Victim>(const NodeId&)>& victims) {
  const Request& request = line.request;
  std::optional<Preemption> best;
  std::tuple<int32_t, Duration, size_t, NodeId> best_cost;
  for (const NodeState& node : fleet.nodes()) {
    if (!IsFitFor(node, request) || node.held) continue;
    if (IsKeptFrom(fleet, node, line, now)) continue;
    // A GPU that becomes free may be the one that is kept.
    if (request.resources.AsksForGpu() && HoldBefore(fleet, node, line, now) != nullptr) continue;
    Resources free = node.free;
    for (const Claim& claim : fleet.claims()) {
      if (claim.node != node.id) continue;
      for (const auto& [job, resources] : claim.victims) free += resources;
    }
    for (const Claim& claim : fleet.claims()) {
      if (claim.node == node.id) free -= Placed(free, node.capacity, claim.line.request.resources);
    }
    std::vector<Victim> chosen = Choose(victims(node.id), free, node.capacity, request.resources);
    if (chosen.empty()) continue;
    int32_t highest = 0;
    Duration lost = {};
    for (const Victim& one : chosen) {
      highest = std::max(highest, one.priority);
      lost += one.lost + kRestart;
    }
    std::tuple cost(highest, lost, chosen.size(), node.id);
    if (best && !(cost < best_cost)) continue;
    best = Preemption{node.id, {}};
    for (const Victim& one : chosen) best->victims.push_back(one.job);
    best_cost = cost;
  }
  return best;
}

}  // namespace cyxwiz::scheduler
