#include "scheduler/scheduler.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <tuple>

namespace cyxwiz::scheduler {
namespace {

constexpr int32_t kCpu = 1;  // wire DeviceType: every node has one

bool HasDevice(const NodeState& node, int32_t device) {
  return device == 0 || device == kCpu ||
         std::find(node.devices.begin(), node.devices.end(), device) != node.devices.end();
}

const char* DeviceName(int32_t device) {
  static constexpr const char* kNames[] = {"any", "CPU", "CUDA", "OpenCL", "Metal", "Vulkan"};
  return device >= 0 && device <= 5 ? kNames[device] : "unknown";
}

bool IsGang(const Request& request) { return request.nodes > 1; }
bool HasRanks(const Request& request) { return IsGang(request) || request.processes > 1; }

// "4 nodes", "2 to 4 nodes"
std::string NodesOf(const Request& request) {
  const int32_t least = LeastNodes(request);
  return (least < request.nodes ? std::to_string(least) + " to " : "") +
         std::to_string(request.nodes) + " nodes";
}

bool HasLabelsOf(const NodeState& node, const Request& request) {
  return request.labels.empty() ||
         (node.labels != nullptr && HasLabels(*node.labels, request.labels));
}

// Whether the node is in a pool that the request does not ask for.
bool IsInOtherPool(const NodeState& node, const Request& request) {
  return node.labels != nullptr && node.labels->contains(kPoolLabel) &&
         !request.labels.contains(kPoolLabel);
}

// "0.5 of one GPU with 20.0 GiB", "20.0 GiB of one GPU", "2 whole GPUs"
std::string GpuNeed(const Resources& request) {
  if (request.gpu_millis == 0) return FormatBytes(request.gpu_memory_bytes) + " of one GPU";
  const int64_t whole = request.gpu_millis / kWholeGpu;
  std::string text = whole == 0   ? FormatMillis(request.gpu_millis) + " of one GPU"
                     : whole == 1 ? "a whole GPU"
                                  : std::to_string(whole) + " whole GPUs";
  if (request.gpu_memory_bytes > 0) text += " with " + FormatBytes(request.gpu_memory_bytes);
  return text;
}

// "0.25 with 10.0 GiB, of GPU 1 of node 'a'"
std::string GpuPiece(const GpuPart& part, const NodeState& node) {
  if (part.millis == 0 && part.memory_bytes == 0) return "nothing";
  return FormatMillis(part.millis) + " with " + FormatBytes(part.memory_bytes) + ", of GPU " +
         std::to_string(part.index) + " of node '" + node.id.value + "'";
}

// The checks a node must pass, each with the reason that it gives: first what can never change.
enum class Obstacle {
  kNone,
  kNoDevice,
  kNoLabel,
  kOtherPool,
  kNoGangs,
  kTooLarge,
  kOffline,
  kCordoned,
  kQuarantined,
  kHeld,
  kNotEnoughFree,
  kNoSingleGpu,
  kAntiAffinity,
  kKept
};

bool IsLasting(Obstacle obstacle) {
  return obstacle >= Obstacle::kNoDevice && obstacle <= Obstacle::kTooLarge;
}

// Calls visit with each of them that stands between the request and the node, until it returns
// false. Where one can never change only such ones count: the rest would not help.
template <typename Visit>
void ForEachObstacle(const Request& request, const NodeState& node, Visit visit) {
  const bool has_device = HasDevice(node, request.device);
  if (!has_device && !visit(Obstacle::kNoDevice)) return;
  const bool has_labels = HasLabelsOf(node, request);
  if (!has_labels && !visit(Obstacle::kNoLabel)) return;
  const bool other_pool = IsInOtherPool(node, request);
  if (other_pool && !visit(Obstacle::kOtherPool)) return;
  const bool takes_ranks = node.gangs || !HasRanks(request);
  if (!takes_ranks && !visit(Obstacle::kNoGangs)) return;
  // GPUs that go with another device are told of with that.
  const bool large_enough = has_device ? HasRoom(node.capacity, node.capacity, request.resources)
                                       : node.capacity.HoldsAllButGpus(request.resources);
  if (!large_enough && !visit(Obstacle::kTooLarge)) return;
  if (!has_device || !has_labels || other_pool || !takes_ranks || !large_enough) return;
  if (!node.online && !visit(Obstacle::kOffline)) return;
  if (node.cordoned && !visit(Obstacle::kCordoned)) return;
  if (node.quarantined && !node.probe && !visit(Obstacle::kQuarantined)) return;
  if (!HasRoom(node.free, node.capacity, request.resources)) {
    const bool has_room = !request.resources.named.empty() &&
                          HasRoom(node.free, node.capacity, request.resources.Explicit());
    const Obstacle missing =
        has_room ? Obstacle::kAntiAffinity
        : request.resources.AsksForGpu() && node.free.HoldsAllButGpus(request.resources)
            ? Obstacle::kNoSingleGpu
            : Obstacle::kNotEnoughFree;
    if (!visit(missing)) return;
  }
  if (node.online && node.held) visit(Obstacle::kHeld);
}

// The first of them; kNone: the request can start here now.
Obstacle Check(const Request& request, const NodeState& node) {
  Obstacle first = Obstacle::kNone;
  ForEachObstacle(request, node, [&first](Obstacle obstacle) {
    first = obstacle;
    return false;
  });
  return first;
}

// All of them. is_kept: see Explain.
std::vector<Obstacle> ObstaclesOf(const Request& request, const NodeState& node,
                                  const std::function<bool(const NodeState&)>& is_kept) {
  std::vector<Obstacle> obstacles;
  ForEachObstacle(request, node, [&obstacles](Obstacle obstacle) {
    obstacles.push_back(obstacle);
    return true;
  });
  const bool lasts = std::any_of(obstacles.begin(), obstacles.end(), IsLasting);
  if (!lasts && is_kept && is_kept(node)) obstacles.push_back(Obstacle::kKept);
  return obstacles;
}

bool EndsBefore(const Hold& hold, const Request& request, MonotonicTime now) {
  return request.run_limit > Duration::zero() && hold.start != MonotonicTime::Never() &&
         now + request.run_limit + kTimeToStop <= hold.start;
}

// What is free of the node, of its GPUs only what a job of the line may have that starts there now.
Resources RoomOnGpus(const Fleet& fleet, const NodeState& node, const LineKey& line,
                     MonotonicTime now) {
  Resources room = fleet.GpusLeftFor(node, line);
  if (const Hold* hold = HoldBefore(fleet, node, line, now))
    LimitGpus(hold->On(node.id)->spare, &room);
  return room;
}

constexpr double kCostOfOpeningAGpu = 16;

// How much of the node's capacity would stay free, summed over its resources: the smaller, the
// better the fit.
double RoomLeft(const Request& request, const NodeState& node) {
  auto part = [](int64_t free, int64_t need, int64_t capacity) {
    return capacity > 0 ? static_cast<double>(free - need) / static_cast<double>(capacity) : 0.0;
  };
  const Resources& free = node.free;
  const Resources& need = request.resources;
  // A node with GPUs is spared for those who need them, and so is one with a named resource.
  double named = 0;
  for (const NamedAmount& n : node.capacity.named)
    named += part(free.Named(n.name), need.Named(n.name), n.amount);
  const double room =
      part(free.cpu_millis, need.cpu_millis, node.capacity.cpu_millis) +
      part(free.memory_bytes, need.memory_bytes, node.capacity.memory_bytes) +
      4 * (part(free.gpu_millis, need.gpu_millis, node.capacity.gpu_millis) + named);
  // Shares go first where a GPU is shared already.
  return OpensGpu(free, node.capacity, need) ? room + kCostOfOpeningAGpu : room;
}

// The nodes that a line may still go to, the best first. Entries of a node that has changed since
// are passed over: it has got another one.
class Candidates {
 public:
  using Entry = std::tuple<double, uint32_t, size_t, uint32_t>;  // room, rank, node, version
  bool made() const { return made_; }
  void Make(std::vector<Entry> entries) {
    heap_ = decltype(heap_)(std::greater<>(), std::move(entries));
    made_ = true;
  }
  void Add(double room, uint32_t rank, size_t node, uint32_t version) {
    heap_.emplace(room, rank, node, version);
  }
  std::optional<size_t> Best(const std::vector<uint32_t>& versions) {
    while (!heap_.empty()) {
      auto [room, rank, node, version] = heap_.top();
      if (version == versions[node]) return node;
      heap_.pop();
    }
    return std::nullopt;
  }

 private:
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap_;
  bool made_ = false;
};

}  // namespace

const Hold* HoldBefore(const Fleet& fleet, const NodeState& node, const LineKey& line,
                       MonotonicTime now) {
  const Hold* hold = fleet.HoldOn(node);
  if (hold == nullptr || line.priority > hold->line.priority || line == hold->line) return nullptr;
  return EndsBefore(*hold, line.request, now) ? nullptr : hold;
}

bool IsFitFor(const NodeState& node, const Request& request) {
  return HasDevice(node, request.device) && HasLabelsOf(node, request) &&
         !IsInOtherPool(node, request) && (node.gangs || !HasRanks(request)) &&
         HasRoom(node.capacity, node.capacity, request.resources) && node.online &&
         !node.cordoned && !node.quarantined;
}

bool IsKeptFrom(const Fleet& fleet, const NodeState& node, const LineKey& line, MonotonicTime now) {
  const Hold* hold = HoldBefore(fleet, node, line, now);
  return hold != nullptr &&
         !HasRoom(hold->On(node.id)->spare, node.capacity, line.request.resources);
}

bool CanStartOn(const Fleet& fleet, const NodeState& node, const LineKey& line, MonotonicTime now) {
  const Resources& request = line.request.resources;
  return Check(line.request, node) == Obstacle::kNone && fleet.IsLeftFor(node, line) &&
         !IsKeptFrom(fleet, node, line, now) &&
         (!request.AsksForGpu() || (node.claims == 0 && !node.kept) ||
          HasRoomOnGpus(RoomOnGpus(fleet, node, line, now), node.capacity, request));
}

std::vector<Placement> Schedule(Fleet* fleet, const std::vector<Line>& lines, Shares* shares,
                                MonotonicTime now, Quotas* quotas) {
  // Heads of the lines; the top is the one that is served next.
  struct Head {
    bool borrows;  // both only grow within a pass: this, and the share
    int32_t priority;
    Share share;
    int64_t sequence;
    size_t line;
    size_t position;
    bool operator<(const Head& other) const {
      if (borrows != other.borrows) return borrows;
      if (priority != other.priority) return priority < other.priority;
      if (share != other.share) return share > other.share;
      return sequence > other.sequence;
    }
  };
  std::priority_queue<Head> heads;
  auto standing_of = [&](size_t line) {
    return quotas != nullptr ? quotas->Of(lines[line].key) : Standing::kWithin;
  };
  auto push = [&](size_t line, size_t position) {
    const Waiting& job = lines[line].jobs[position];
    Standing standing = standing_of(line);
    if (standing == Standing::kBlocked) return;
    heads.push({standing == Standing::kBorrows, job.priority,
                shares->Of(lines[line].key.account, lines[line].key.project, now), job.job, line,
                position});
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].jobs.empty()) push(i, 0);
  }
  const std::vector<NodeState>& nodes = fleet->nodes();
  const std::vector<uint32_t>& ranks = fleet->ranks();
  std::vector<uint32_t> versions(nodes.size());
  std::vector<Candidates> candidates(lines.size());
  std::vector<size_t> waiting;  // lines whose candidates were made and that have jobs left

  auto fits = [&](const Line& line, const NodeState& node) {
    return CanStartOn(*fleet, node, line.key, now);
  };
  auto for_each_node = [&](const Line& line, auto visit) {
    if (line.fresh) {
      for (size_t i = 0; i < nodes.size(); ++i) visit(i);
    } else {
      for (size_t i : fleet->loosened()) visit(i);
    }
  };
  auto scan = [&](const Line& line) -> std::optional<size_t> {
    std::optional<std::tuple<double, uint32_t, size_t>> best;
    for_each_node(line, [&](size_t i) {
      if (!fits(line, nodes[i])) return;
      std::tuple<double, uint32_t, size_t> one(RoomLeft(line.key.request, nodes[i]), ranks[i], i);
      if (!best || one < *best) best = one;
    });
    if (!best) return std::nullopt;
    return std::get<2>(*best);
  };
  auto choose = [&](const Line& line, Candidates& of_line, bool last) -> std::optional<size_t> {
    // A heap is for those who come again.
    if (last && !of_line.made()) return scan(line);
    if (!of_line.made()) {
      std::vector<Candidates::Entry> entries;
      for_each_node(line, [&](size_t i) {
        if (fits(line, nodes[i]))
          entries.emplace_back(RoomLeft(line.key.request, nodes[i]), ranks[i], i, versions[i]);
      });
      of_line.Make(std::move(entries));
    }
    return of_line.Best(versions);
  };

  // Of the nodes that keep what the job reads the best; `best` when it fits on none of them.
  auto prefer_data = [&](const Line& line, ContentKey data, size_t best) {
    std::optional<std::tuple<double, uint32_t, size_t>> nearest;
    for (size_t i : fleet->WithData(data)) {
      if (!fits(line, nodes[i])) continue;
      std::tuple<double, uint32_t, size_t> one(RoomLeft(line.key.request, nodes[i]), ranks[i], i);
      if (!nearest || one < *nearest) nearest = one;
    }
    return nearest ? std::get<2>(*nearest) : best;
  };

  // How many of so many nodes a gang gets.
  auto gang_size = [&](const Line& line, int64_t fitting) {
    LineKey key = line.key;
    Request& request = key.request;
    request.nodes = static_cast<int32_t>(std::min<int64_t>(request.nodes, fitting));
    request.min_nodes = 0;  // so that all of them are counted
    while (quotas != nullptr && request.nodes > LeastNodes(line.key.request) &&
           quotas->Of(key) > quotas->Of(line.key)) {
      --request.nodes;
    }
    return request.nodes;
  };
  // The best nodes for a gang; empty: there are too few. One that has changed may be what was
  // missing beside others that have not, so all of them are looked at.
  auto choose_gang = [&](const Line& line) {
    std::vector<std::tuple<double, uint32_t, size_t>> fitting;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (fits(line, nodes[i]))
        fitting.emplace_back(RoomLeft(line.key.request, nodes[i]), ranks[i], i);
    }
    std::vector<size_t> chosen;
    if (std::ssize(fitting) < LeastNodes(line.key.request)) return chosen;
    const int32_t size = gang_size(line, std::ssize(fitting));
    std::partial_sort(fitting.begin(), fitting.begin() + size, fitting.end());
    for (int32_t i = 0; i < size; ++i)
      chosen.push_back(std::get<2>(fitting[static_cast<size_t>(i)]));
    return chosen;
  };
  auto take = [&](const Line& line, size_t index, Placement* placement) {
    NodeState& node = fleet->at(index);
    Resources held = line.key.request.resources;
    if (held.AsksForGpu()) {
      held = Placed(RoomOnGpus(*fleet, node, line.key, now), node.capacity, held);
      placement->gpus.push_back(*held.gpus);
    }
    node.free -= held;
    node.probe = false;
    if (HoldBefore(*fleet, node, line.key, now) != nullptr)
      fleet->AddGuest(node, placement->job, held);
  };
  // Lines that wait may use what is left of it.
  auto offer = [&](size_t index) {
    const NodeState& node = nodes[index];
    ++versions[index];
    for (size_t other : waiting) {
      if (fits(lines[other], node))
        candidates[other].Add(RoomLeft(lines[other].key.request, node), ranks[index], index,
                              versions[index]);
    }
  };

  std::vector<Placement> placements;
  std::vector<NodeId> kept;  // or claimed, until one of their line was placed
  while (!heads.empty()) {
    Head head = heads.top();
    heads.pop();
    const Line& line = lines[head.line];
    Standing standing = standing_of(head.line);
    if (standing == Standing::kBlocked) {
      std::erase(waiting, head.line);
      continue;
    }
    if (shares->Of(line.key.account, line.key.project, now) > head.share ||
        (standing == Standing::kBorrows && !head.borrows)) {  // it has got something meanwhile
      push(head.line, head.position);
      continue;
    }
    const int64_t job = line.jobs[head.position].job;
    bool last = head.position + 1 == line.jobs.size();
    bool was_made = candidates[head.line].made();
    std::vector<size_t> chosen;  // a node for each rank
    if (IsGang(line.key.request)) {
      chosen = choose_gang(line);
    } else if (std::optional<size_t> best = choose(line, candidates[head.line], last)) {
      chosen = {prefer_data(line, line.jobs[head.position].data, *best)};
    }
    if (!was_made && candidates[head.line].made()) waiting.push_back(head.line);
    // Free room only shrinks within a pass: where the head does not fit, none of its line does.
    if (chosen.empty() || last) std::erase(waiting, head.line);
    if (chosen.empty()) continue;
    const Resources total = line.key.request.resources * std::ssize(chosen);
    shares->Take(line.key.account, line.key.project, total, now);
    if (quotas != nullptr) quotas->Take(line.key, total);
    if (const Hold* hold = fleet->HoldFor(nodes[chosen.front()], line.key)) {
      for (const Hold::Place& place : hold->places) kept.push_back(place.node);
      fleet->DropHold(*hold);
    }
    Placement& placement = placements.emplace_back();
    placement.job = job;
    placement.borrows = head.borrows;
    placement.share = head.share;
    placement.node = nodes[chosen.front()].id;
    const Claim* claim = nullptr;
    for (size_t index : chosen) {
      if (index != chosen.front()) placement.others.push_back(nodes[index].id);
      take(line, index, &placement);
      if (claim == nullptr) claim = fleet->ClaimFor(nodes[index], line.key);
    }
    if (claim != nullptr) {
      for (const Claim::Place& place : claim->places) kept.push_back(place.node);
      fleet->DropClaim(*claim);
    }
    for (size_t index : chosen) offer(index);
    if (!last) push(head.line, head.position + 1);
  }
  fleet->PassDone();
  // Lines that were looked at before may use what was kept.
  for (const NodeId& id : kept) fleet->Change(id, [](NodeState&) {});
  return placements;
}

std::optional<Hold> PlanHold(const Fleet& fleet, const LineKey& line, const Hold* present,
                             MonotonicTime now,
                             const std::function<std::vector<Occupant>(const NodeId&)>& occupants) {
  const Request& request = line.request;
  const auto needed = static_cast<size_t>(LeastNodes(request));
  struct Found {
    MonotonicTime start, expected;
    bool owed = false;  // enough of it is with those who have had more
    int64_t free = 0;
    Hold::Place place;
    // What the line's own jobs leave it gets anyhow. So where it is not sure when there is room,
    // that of others is kept first: else who has had more would keep it by small jobs for ever.
    bool operator<(const Found& other) const {
      return std::tuple(start, !owed, expected, -free) <
             std::tuple(other.start, !other.owed, other.expected, -other.free);
    }
  };
  std::vector<Found> best;  // as many as are needed, the best first
  const bool waits = present != nullptr && now < present->expected;
  auto look = [&](const NodeState& node) {
    if (!IsFitFor(node, request)) return;
    const Hold::Place* held = present != nullptr ? present->On(node.id) : nullptr;
    if (node.kept && held == nullptr) return;
    Found found;
    found.place.node = node.id;
    std::vector<Occupant> there = occupants(node.id);
    Resources guests;
    for (const Occupant& one : there) {
      if (held == nullptr || held->guests.count(one.job) == 0) continue;
      found.place.guests.insert(one.job);
      guests += one.resources;
    }
    const Resources beside_guests = node.capacity - guests;
    // Where there is none they were let in beside another one.
    if (!HasRoom(beside_guests, node.capacity, request.resources)) return;
    std::erase_if(there,
                  [&](const Occupant& one) { return found.place.guests.count(one.job) > 0; });
    // By what must have ended, and where that is not enough by what is expected to.
    auto first_fit = [&](auto end_of, Resources* free) {
      std::sort(there.begin(), there.end(), [&](const Occupant& a, const Occupant& b) {
        return std::tuple(end_of(a), a.job) < std::tuple(end_of(b), b.job);
      });
      *free = node.free;
      MonotonicTime at = now;
      for (const Occupant& one : there) {
        if (HasRoom(*free, node.capacity, request.resources)) break;
        at = std::max(at, end_of(one));
        *free += one.resources;
      }
      return at;
    };
    Resources at_start, free = node.free;
    found.start = first_fit([](const Occupant& one) { return one.end; }, &at_start);
    const bool sure = found.start != MonotonicTime::Never();
    for (const Occupant& one : there) {
      if (one.owes) free += one.resources;
    }
    found.owed = HasRoom(free, node.capacity, request.resources);
    if (found.owed) std::erase_if(there, [](const Occupant& one) { return !one.owes; });
    found.expected =
        first_fit([](const Occupant& one) { return std::min(one.end, one.expected); }, &free);
    // Without an end that is sure, all that runs there now may have to end first. Room that comes
    // from those who have had more is gathered at once: small jobs of theirs would only prolong it.
    if (sure || !found.owed) {
      found.place.spare = (sure ? at_start : beside_guests) -
                          Placed(sure ? at_start : free, node.capacity, request.resources);
    }
    // One that moved with each guess would gather room nowhere: it is given its time.
    if (waits && held == nullptr && found.start == MonotonicTime::Never()) return;
    found.free = node.free.cpu_millis;
    best.insert(std::upper_bound(best.begin(), best.end(), found), std::move(found));
    if (best.size() > needed) best.pop_back();
  };
  if (present != nullptr) {
    for (const Hold::Place& place : present->places) look(*fleet.Find(place.node));
    for (size_t i : fleet.loosened()) {
      if (present->On(fleet.nodes()[i].id) == nullptr) look(fleet.nodes()[i]);
    }
  } else {
    for (const NodeState& node : fleet.nodes()) look(node);
  }
  if (best.size() < needed) return std::nullopt;
  Hold hold{line, {}, {}, {}};
  for (Found& found : best) {
    hold.start = std::max(hold.start, found.start);
    hold.expected = std::max(hold.expected, found.expected);
    hold.places.push_back(std::move(found.place));
  }
  if (waits) hold.expected = present->expected;
  return hold;
}

int64_t MostPlacements(const Request& request, const Fleet& fleet, bool changed_only) {
  constexpr int64_t kUnbounded = 1'000'000;
  int64_t total = 0, nodes = 0;
  auto count = [&](const NodeState& node) {
    if (Check(request, node) != Obstacle::kNone) return;
    int64_t most = node.quarantined ? 1 : kUnbounded;
    auto limit = [&most](int64_t free, int64_t need) {
      if (need > 0) most = std::min(most, free / need);
    };
    limit(node.free.cpu_millis, request.resources.cpu_millis);
    limit(node.free.memory_bytes, request.resources.memory_bytes);
    limit(node.free.disk_bytes, request.resources.disk_bytes);
    if (request.resources.AsksForGpu())
      most = std::min(most, TimesOnGpus(node.free, node.capacity, request.resources));
    for (const NamedAmount& n : request.resources.named) limit(node.free.Named(n.name), n.amount);
    total += most;
    ++nodes;
  };
  if (changed_only) {
    for (size_t i : fleet.loosened()) count(fleet.nodes()[i]);
    if (!IsGang(request) || total == 0) return std::min(total, kUnbounded);
    total = nodes = 0;  // a gang may go to one that has changed and others that have not
  }
  for (const NodeState& node : fleet.nodes()) count(node);
  if (nodes < LeastNodes(request)) return 0;
  return std::min(total / LeastNodes(request), kUnbounded);
}

std::vector<Reason> Explain(const Request& request, const std::vector<NodeState>& nodes,
                            const std::function<bool(const NodeState&)>& is_kept) {
  if (nodes.empty()) {
    return {
        {"NO_NODES",
         "no Server Node has registered yet; start one with 'cyxwiz-server-node' or 'cyxwiz up'",
         {}}};
  }
  // One reason for all the nodes that give it.
  struct Group {
    Reason reason;
    size_t count = 0;
    void Add(const NodeState& node) {
      if (count++ < kMostNodesNamed) reason.nodes.push_back(node.id);
    }
    std::string Nodes() const { return std::to_string(count) + (count == 1 ? " node" : " nodes"); }
  };
  Group offline{{"NODES_OFFLINE", "", {}}}, held{{"NODES_HELD", "", {}}},
      no_device{{"NO_SUCH_DEVICE", "", {}}}, no_label{{"NO_SUCH_LABEL", "", {}}},
      other_pool{{"OTHER_POOL", "", {}}}, anti_affinity{{"ANTI_AFFINITY", "", {}}},
      no_gangs{{"NO_GANGS", "", {}}}, ready{{"TOO_FEW_NODES", "", {}}},
      too_large{{"TOO_LARGE", "", {}}}, cordoned{{"NODES_CORDONED", "", {}}},
      quarantined{{"NODES_QUARANTINED", "", {}}}, not_free{{"NOT_ENOUGH_FREE", "", {}}},
      no_single_gpu{{"NO_SINGLE_GPU", "", {}}}, kept{{"NODES_KEPT", "", {}}};
  const NodeState* roomiest = nullptr;
  const NodeState* with_piece = nullptr;
  GpuPart piece;  // of a GPU, the largest that is free
  const NodeState* largest = nullptr;
  auto add = [&](Obstacle obstacle, const NodeState& node) {
    switch (obstacle) {
      case Obstacle::kNone:
        break;
      case Obstacle::kOffline:
        offline.Add(node);
        break;
      case Obstacle::kHeld:
        held.Add(node);
        break;
      case Obstacle::kCordoned:
        cordoned.Add(node);
        break;
      case Obstacle::kQuarantined:
        quarantined.Add(node);
        break;
      case Obstacle::kKept:
        kept.Add(node);
        break;
      case Obstacle::kNoDevice:
        no_device.Add(node);
        break;
      case Obstacle::kNoLabel:
        no_label.Add(node);
        break;
      case Obstacle::kOtherPool:
        other_pool.Add(node);
        break;
      case Obstacle::kNoSingleGpu: {
        no_single_gpu.Add(node);
        const GpuPart free = LargestGpuPart(node.free, request.resources);
        const bool larger = request.resources.gpu_millis > 0
                                ? std::pair(free.millis, free.memory_bytes) >
                                      std::pair(piece.millis, piece.memory_bytes)
                                : free.memory_bytes > piece.memory_bytes;
        if (with_piece != nullptr && !larger) break;
        with_piece = &node;
        piece = free;
        break;
      }
      case Obstacle::kAntiAffinity:
        anti_affinity.Add(node);
        break;
      case Obstacle::kNoGangs:
        no_gangs.Add(node);
        break;
      case Obstacle::kTooLarge:
        too_large.Add(node);
        if (largest == nullptr || node.capacity.memory_bytes > largest->capacity.memory_bytes)
          largest = &node;
        break;
      case Obstacle::kNotEnoughFree:
        not_free.Add(node);
        if (roomiest == nullptr || node.free.cpu_millis > roomiest->free.cpu_millis)
          roomiest = &node;
        break;
    }
  };
  for (const NodeState& node : nodes) {
    const std::vector<Obstacle> obstacles = ObstaclesOf(request, node, is_kept);
    for (Obstacle obstacle : obstacles) add(obstacle, node);
    if (!obstacles.empty()) continue;
    ready.Add(node);
    if (static_cast<int64_t>(ready.count) == LeastNodes(request)) return {};
  }
  std::vector<Reason> reasons;
  auto tell = [&reasons](Group& group, auto message) {
    if (group.count == 0) return;
    group.reason.message = message();
    reasons.push_back(std::move(group.reason));
  };
  if (IsGang(request)) {
    ready.reason.message = "needs " + NodesOf(request) + " at once, each with " +
                           ToString(request.resources) + " free; " + ready.Nodes() +
                           " could take a rank now";
    reasons.push_back(std::move(ready.reason));
  }
  tell(not_free, [&] {
    return "needs " + ToString(request.resources) + "; " + not_free.Nodes() +
           (not_free.count == 1 ? " could hold it but is busy: it has "
                                : " could hold it but are busy, the roomiest has ") +
           ToString(roomiest->free) + " free";
  });
  tell(no_single_gpu, [&] {
    return "needs " + GpuNeed(request.resources) + "; " + no_single_gpu.Nodes() +
           (no_single_gpu.count == 1 ? " has" : " have") +
           " the rest free, but not that: the largest free piece of a GPU is " +
           GpuPiece(piece, *with_piece);
  });
  tell(anti_affinity, [&] {
    return anti_affinity.Nodes() +
           " with room for it: a job of the same anti-affinity group runs there";
  });
  tell(kept, [&] {
    return kept.Nodes() + " that could hold it: kept for a job that others have passed by for long";
  });
  tell(held, [&] {
    return held.Nodes() +
           " refused the last assignment or did not answer it; tried again in a moment";
  });
  tell(cordoned, [&] { return cordoned.Nodes() + " that could hold it: cordoned by an operator"; });
  tell(quarantined, [&] {
    return quarantined.Nodes() +
           " that could hold it: quarantined because unlike jobs failed there";
  });
  tell(offline, [&] { return offline.Nodes() + " that could hold it: offline"; });
  tell(no_device, [&] {
    return no_device.Nodes() + " without a device of type " + DeviceName(request.device);
  });
  tell(no_label, [&] {
    std::string wanted;
    for (const auto& [name, value] : request.labels)
      wanted += (wanted.empty() ? "" : ", ") + name + "=" + value;
    return no_label.Nodes() + " without the labels " + wanted;
  });
  tell(other_pool,
       [&] { return other_pool.Nodes() + " of pools that only jobs which name them get"; });
  tell(no_gangs, [&] {
    return no_gangs.Nodes() +
           " that take no ranks of gangs: their runner cannot, or they are reached over a network "
           "without TLS";
  });
  tell(too_large, [&] {
    return "needs " + ToString(request.resources) + "; too large for " + too_large.Nodes() +
           ", the largest of which has " + ToString(largest->capacity);
  });
  return reasons;
}

std::string SmallestChange(const Request& request, const std::vector<NodeState>& nodes,
                           const std::function<bool(const NodeState&)>& is_kept) {
  if (nodes.empty()) return "start a Server Node";
  // The node that is nearest to taking it, by what stands in the way and then by how much is
  // missing.
  const NodeState* nearest = nullptr;
  double nearest_cost = 0;
  std::vector<Obstacle> nearest_obstacles;
  auto part = [](int64_t missing, int64_t capacity) {
    return missing > 0
               ? static_cast<double>(missing) / static_cast<double>(std::max<int64_t>(capacity, 1))
               : 0.0;
  };
  auto missing_of = [&](const Resources& have, const NodeState& node) {
    Resources missing = request.resources - have;
    return part(missing.cpu_millis, node.capacity.cpu_millis) +
           part(missing.memory_bytes, node.capacity.memory_bytes) +
           part(missing.gpu_millis, node.capacity.gpu_millis) +
           part(missing.disk_bytes, node.capacity.disk_bytes) +
           std::accumulate(missing.named.begin(), missing.named.end(), 0.0,
                           [&](double sum, const NamedAmount& n) {
                             return sum + part(n.amount, node.capacity.Named(n.name));
                           });
  };
  auto cost_of = [&](Obstacle obstacle, const NodeState& node) {
    switch (obstacle) {
      case Obstacle::kNone:
      case Obstacle::kHeld:
        return 0.0;
      case Obstacle::kNotEnoughFree:
      case Obstacle::kNoSingleGpu:
        return 1 + missing_of(node.free, node);
      case Obstacle::kAntiAffinity:
        return 0.5;
      case Obstacle::kKept:
        return 2.0;
      case Obstacle::kCordoned:
        return 10.0;
      case Obstacle::kQuarantined:
        return 15.0;
      case Obstacle::kOffline:
        return 20.0;
      case Obstacle::kTooLarge:
        return 30 + missing_of(node.capacity, node);
      case Obstacle::kNoGangs:
      case Obstacle::kOtherPool:
        return 1e7;
      case Obstacle::kNoLabel:
        return 1e8;
      case Obstacle::kNoDevice:
        break;
    }
    return 1e9;
  };
  int32_t missing = LeastNodes(request);
  for (const NodeState& node : nodes) {
    std::vector<Obstacle> obstacles = ObstaclesOf(request, node, is_kept);
    if (obstacles.empty()) {
      if (--missing == 0) return "";
      continue;
    }
    const double cost = std::accumulate(
        obstacles.begin(), obstacles.end(), 0.0,
        [&](double sum, Obstacle obstacle) { return sum + cost_of(obstacle, node); });
    if (nearest != nullptr && cost >= nearest_cost) continue;
    nearest = &node;
    nearest_cost = cost;
    nearest_obstacles = std::move(obstacles);
  }
  auto shortage = [&](const Resources& have) {
    Resources missing = request.resources - have;
    missing.cpu_millis = std::max<int64_t>(missing.cpu_millis, 0);
    missing.memory_bytes = std::max<int64_t>(missing.memory_bytes, 0);
    missing.gpu_millis = std::max<int64_t>(missing.gpu_millis, 0);
    missing.gpu_memory_bytes = 0;
    missing.gpus = {};
    missing.disk_bytes = std::max<int64_t>(missing.disk_bytes, 0);
    std::erase_if(missing.named, [](const NamedAmount& n) { return n.amount <= 0; });
    // Only what is missing is named.
    std::string text = ToString(missing);
    if (missing.memory_bytes == 0) {
      size_t comma = text.find(", 0 bytes");
      if (comma != std::string::npos) text.erase(comma, std::string_view(", 0 bytes").size());
    }
    if (missing.cpu_millis == 0 && text.starts_with("0 cores, ")) text.erase(0, 9);
    return text;
  };
  const std::string first =
      missing > 1 ? std::to_string(missing) + " more nodes must be able to take a rank, first: "
                  : "";
  if (nearest == nullptr) return first + "add a node";
  const std::string id = "node '" + nearest->id.value + "'";
  auto change = [&](Obstacle obstacle) -> std::string {
    switch (obstacle) {
      case Obstacle::kNone:
        return "";
      case Obstacle::kHeld:
        return "wait a moment: " + id + " is tried again";
      case Obstacle::kNotEnoughFree:
        return id + " must have " + shortage(nearest->free) + " more free";
      case Obstacle::kNoSingleGpu:
        return id + " must have " + GpuNeed(request.resources) +
               " free: the largest free piece is " +
               GpuPiece(LargestGpuPart(nearest->free, request.resources), *nearest);
      case Obstacle::kAntiAffinity:
        return "a job of the same anti-affinity group must end on " + id;
      case Obstacle::kKept:
        return "the job that " + id + " is kept for must start first";
      case Obstacle::kCordoned:
        return "uncordon " + id;
      case Obstacle::kQuarantined:
        return "release " + id + " from quarantine, once it is sound: uncordon it";
      case Obstacle::kOffline:
        return "bring " + id + " back";
      case Obstacle::kNoGangs:
        return "add a node that takes ranks of gangs";
      case Obstacle::kOtherPool:
        return "add a node that is in no pool, or name the pool '" +
               nearest->labels->at(kPoolLabel) + "' in the job";
      case Obstacle::kNoLabel:
        return "add a node with the labels that it asks for, or ask for others";
      case Obstacle::kTooLarge:
        if (request.resources.AsksForGpu() && nearest->capacity.HoldsAllButGpus(request.resources))
          return "ask for less of a GPU, or add a node with " + GpuNeed(request.resources);
        return "ask for " + shortage(nearest->capacity) + " less, or add a node that has it";
      case Obstacle::kNoDevice:
        break;
    }
    return std::string("add a node with a device of type ") + DeviceName(request.device);
  };
  std::string text;
  for (Obstacle obstacle : nearest_obstacles)
    text += (text.empty() ? "" : ", and ") + change(obstacle);
  return first + text;
}

Status CouldEverRun(const Request& request, const std::vector<NodeState>& nodes) {
  // Which nodes there will be is not known; but a gang waits for no nodes that take ranks.
  if (nodes.empty() && !IsGang(request)) return OkStatus();
  Resources largest;
  int64_t largest_gpu_bytes = 0;
  bool device = false, labels = false, pool = false, gangs = false;
  int32_t large_enough = 0;
  for (const NodeState& node : nodes) {
    if (!HasDevice(node, request.device)) continue;
    device = true;
    if (!HasLabelsOf(node, request)) continue;
    labels = true;
    if (IsInOtherPool(node, request)) continue;
    pool = true;
    if (HasRanks(request) && !node.gangs) continue;
    gangs = true;
    if (HasRoom(node.capacity, node.capacity, request.resources) &&
        ++large_enough == LeastNodes(request))
      return OkStatus();
    largest.cpu_millis = std::max(largest.cpu_millis, node.capacity.cpu_millis);
    largest.memory_bytes = std::max(largest.memory_bytes, node.capacity.memory_bytes);
    largest.gpu_millis = std::max(largest.gpu_millis, node.capacity.gpu_millis);
    for (const GpuPart& gpu : *node.capacity.gpus)
      largest_gpu_bytes = std::max(largest_gpu_bytes, gpu.memory_bytes);
    largest.disk_bytes = std::max(largest.disk_bytes, node.capacity.disk_bytes);
    for (const NamedAmount& n : node.capacity.named)
      largest.SetNamed(n.name, std::max(largest.Named(n.name), n.amount));
  }
  if (nodes.empty()) {
    return FailedPrecondition(
        "the job needs " + NodesOf(request) + " at once, and none is registered",
        "start them first");
  }
  if (!device) {
    return FailedPrecondition(
        std::string("no registered node has a device of type ") + DeviceName(request.device),
        "ask for another \"device\", or add a node that has one");
  }
  if (!labels) {
    std::string reason = "no registered node has the labels that it asks for";
    for (const auto& [name, value] : request.labels) reason += " " + name + "=" + value;
    return FailedPrecondition(std::move(reason),
                              "ask for other \"node_labels\" or another \"pool\", or start a node "
                              "with them: 'cyxwiz-server-node --labels NAME=VALUE'");
  }
  if (!pool) {
    return FailedPrecondition("all registered nodes are in pools, and the job names none",
                              "name one of them as its \"pool\"");
  }
  if (!gangs) {
    return FailedPrecondition(
        "the job needs " +
            (IsGang(request) ? NodesOf(request) + " at once"
                             : std::to_string(request.processes) + " processes") +
            ", and no registered node takes ranks of gangs",
        "start nodes with a port where ranks meet: 'cyxwiz-server-node --rendezvous-ports "
        "29500-29599'");
  }
  if (large_enough > 0) {
    return FailedPrecondition("the job needs " + NodesOf(request) + " with " +
                                  ToString(request.resources) + " each, and of " +
                                  std::to_string(nodes.size()) + " registered " +
                                  std::to_string(large_enough) + " can hold that",
                              "ask for fewer nodes or less of each in \"resources\", or add nodes");
  }
  std::string reason = "the job needs " + ToString(request.resources) +
                       ", and no registered node can hold that: the most a node has is " +
                       ToString(largest);
  if (request.resources.gpu_memory_bytes > 0)
    reason += "; the most memory of a GPU is " + FormatBytes(largest_gpu_bytes);
  return FailedPrecondition(std::move(reason),
                            "ask for less in \"resources\", or add a larger node");
}

}  // namespace cyxwiz::scheduler
