#include "scheduler/preemption.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "scheduler/scheduler.h"

namespace cyxwiz::scheduler {
namespace {

// What it costs to end and begin an attempt besides the work that is lost, so that one victim is
// better than two that lose as much.
constexpr Duration kRestart = std::chrono::seconds(10);

// A node with what is free of it once all that has been promised is kept: others make room and have
// claimed it.
struct Room {
  const NodeState* node;
  Resources free;
  std::vector<Victim> victims;  // the cheapest first
};

// Of the victims those that must end so that there is room for what is needed: as many as it takes,
// without those that turn out not to be needed. nullopt: all of them are not enough.
std::optional<std::vector<const Victim*>> Choose(const Room& room, const Resources& need) {
  const Resources& capacity = room.node->capacity;
  Resources free = room.free;
  std::vector<const Victim*> chosen;
  for (const Victim& victim : room.victims) {
    if (HasRoom(free, capacity, need)) break;
    free += victim.resources;
    chosen.push_back(&victim);
  }
  if (!HasRoom(free, capacity, need)) return std::nullopt;
  for (size_t i = chosen.size(); i-- > 0;) {
    if (!HasRoom(free - chosen[i]->resources, capacity, need)) continue;
    free -= chosen[i]->resources;
    chosen.erase(chosen.begin() + static_cast<ptrdiff_t>(i));
  }
  return chosen;
}

// The nodes that the line may use.
std::vector<Room> RoomsFor(const Fleet& fleet, const LineKey& line, MonotonicTime now,
                           const std::function<std::vector<Victim>(const NodeId&)>& victims) {
  std::vector<Room> rooms;
  for (const NodeState& node : fleet.nodes()) {
    if (!IsFitFor(node, line.request) || node.held) continue;
    if (IsKeptFrom(fleet, node, line, now)) continue;
    // A GPU that becomes free may be the one that is kept.
    if (line.request.resources.AsksForGpu() && HoldBefore(fleet, node, line, now) != nullptr)
      continue;
    Room room{&node, node.free, victims(node.id)};
    for (const Claim& claim : fleet.claims()) {
      const Claim::Place* place = claim.On(node.id);
      if (place == nullptr) continue;
      for (const auto& [job, resources] : place->victims) room.free += resources;
    }
    for (const Claim& claim : fleet.claims()) {
      if (claim.On(node.id) != nullptr)
        room.free -= Placed(room.free, node.capacity, claim.line.request.resources);
    }
    std::sort(room.victims.begin(), room.victims.end(), [](const Victim& a, const Victim& b) {
      return std::tuple(a.priority, a.lost, a.job) < std::tuple(b.priority, b.lost, b.job);
    });
    rooms.push_back(std::move(room));
  }
  return rooms;
}

}  // namespace

std::optional<Preemption> PlanPreemption(
    const Fleet& fleet, const LineKey& line, MonotonicTime now,
    const std::function<std::vector<Victim>(const NodeId&)>& victims) {
  const Resources& need = line.request.resources;
  const auto needed = static_cast<size_t>(LeastNodes(line.request));
  std::vector<Room> rooms = RoomsFor(fleet, line, now, victims);
  using Cost = std::tuple<int32_t, Duration, size_t, NodeId>;
  std::vector<std::pair<Cost, Room*>> best;  // as many as are needed, the best first
  for (Room& room : rooms) {
    auto chosen = Choose(room, need);
    if (!chosen) continue;
    int32_t highest = -1;  // nobody's class
    Duration lost = {};
    for (const Victim* one : *chosen) {
      highest = std::max(highest, one->priority);
      lost += one->lost + kRestart;
    }
    // What is free a single job does not need to be told of.
    if (chosen->empty() && needed == 1) continue;
    std::pair one(Cost(highest, lost, chosen->size(), room.node->id), &room);
    best.insert(std::upper_bound(best.begin(), best.end(), one), one);
    if (best.size() > needed) best.pop_back();
  }
  if (best.size() < needed) return std::nullopt;
  Preemption preemption;
  std::set<int64_t> ending;  // a gang that ends on one node ends on all
  for (const auto& [cost, room] : best) {
    Preemption::Place place{room->node->id, {}};
    std::erase_if(room->victims, [&](const Victim& one) {
      if (ending.count(one.job) == 0) return false;
      room->free += one.resources;
      place.victims.push_back(one.job);
      return true;
    });
    const auto chosen = Choose(*room, need);
    for (const Victim* one : *chosen) {
      place.victims.push_back(one->job);
      ending.insert(one->job);
    }
    preemption.places.push_back(std::move(place));
  }
  if (ending.empty()) return std::nullopt;
  return preemption;
}

}  // namespace cyxwiz::scheduler
