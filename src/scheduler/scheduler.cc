#include "scheduler/scheduler.h"

#include <algorithm>
#include <queue>

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

// The checks a node must pass, each with the reason that it gives. kNone: the request can start
// here now.
enum class Obstacle { kNone, kOffline, kCordoned, kHeld, kNoDevice, kTooLarge, kNotEnoughFree };

Obstacle Check(const Request& request, const NodeState& node) {
  // What can never change comes first, so that the reason names the lasting obstacle.
  if (!HasDevice(node, request.device)) return Obstacle::kNoDevice;
  if (!node.capacity.Holds(request.resources)) return Obstacle::kTooLarge;
  if (!node.online) return Obstacle::kOffline;
  if (node.cordoned) return Obstacle::kCordoned;
  if (!node.free.Holds(request.resources)) return Obstacle::kNotEnoughFree;
  if (node.held) return Obstacle::kHeld;
  return Obstacle::kNone;
}

// How much of the node's capacity would stay free, summed over its resources: the smaller, the
// better the fit.
double RoomLeft(const Request& request, const NodeState& node) {
  auto part = [](int64_t free, int64_t capacity) {
    return capacity > 0 ? static_cast<double>(free) / static_cast<double>(capacity) : 0.0;
  };
  Resources left = node.free - request.resources;
  // A node with GPUs is spared for those who need them.
  return part(left.cpu_millis, node.capacity.cpu_millis) +
         part(left.memory_bytes, node.capacity.memory_bytes) +
         4 * part(left.gpus, node.capacity.gpus);
}

}  // namespace

std::vector<Placement> Schedule(Snapshot snapshot) {
  // Heads of the lines; the top is the one that is served next.
  struct Head {
    int32_t priority;
    int64_t sequence;
    size_t line;
    size_t position;
    bool operator<(const Head& other) const {
      if (priority != other.priority) return priority < other.priority;
      return sequence > other.sequence;
    }
  };
  std::priority_queue<Head> heads;
  for (size_t i = 0; i < snapshot.lines.size(); ++i) {
    const Line& line = snapshot.lines[i];
    if (!line.jobs.empty()) heads.push({line.priority, line.jobs[0].first, i, 0});
  }

  std::vector<Placement> placements;
  while (!heads.empty()) {
    Head head = heads.top();
    heads.pop();
    const Line& line = snapshot.lines[head.line];
    NodeState* best = nullptr;
    double least = 0;
    for (NodeState& node : snapshot.nodes) {
      if (Check(line.request, node) != Obstacle::kNone) continue;
      double room = RoomLeft(line.request, node);
      if (best == nullptr || room < least || (room == least && node.id < best->id)) {
        best = &node;
        least = room;
      }
    }
    // Free room only shrinks within a pass: where the head does not fit, none of its line does.
    if (best == nullptr) continue;
    best->free = best->free - line.request.resources;
    placements.push_back({line.jobs[head.position].second, best->id});
    size_t next = head.position + 1;
    if (next < line.jobs.size())
      heads.push({line.priority, line.jobs[next].first, head.line, next});
  }
  return placements;
}

int64_t MostPlacements(const Request& request, const std::vector<NodeState>& nodes) {
  constexpr int64_t kUnbounded = 1'000'000;
  int64_t total = 0;
  for (const NodeState& node : nodes) {
    if (Check(request, node) != Obstacle::kNone) continue;
    int64_t most = kUnbounded;
    auto limit = [&most](int64_t free, int64_t need) {
      if (need > 0) most = std::min(most, free / need);
    };
    limit(node.free.cpu_millis, request.resources.cpu_millis);
    limit(node.free.memory_bytes, request.resources.memory_bytes);
    limit(node.free.gpus, request.resources.gpus);
    total += most;
  }
  return std::min(total, kUnbounded);
}

std::vector<Reason> Explain(const Request& request, const std::vector<NodeState>& nodes) {
  if (nodes.empty()) {
    return {
        {"NO_NODES",
         "no Server Node has registered yet; start one with 'cyxwiz-server-node' or 'cyxwiz up'",
         {}}};
  }
  Reason offline{"NODES_OFFLINE", "", {}}, held{"NODES_HELD", "", {}},
      no_device{"NO_SUCH_DEVICE", "", {}}, too_large{"TOO_LARGE", "", {}},
      cordoned{"NODES_CORDONED", "", {}}, not_free{"NOT_ENOUGH_FREE", "", {}};
  const NodeState* roomiest = nullptr;
  const NodeState* largest = nullptr;
  for (const NodeState& node : nodes) {
    switch (Check(request, node)) {
      case Obstacle::kNone:
        return {};
      case Obstacle::kOffline:
        offline.nodes.push_back(node.id);
        break;
      case Obstacle::kHeld:
        held.nodes.push_back(node.id);
        break;
      case Obstacle::kCordoned:
        cordoned.nodes.push_back(node.id);
        break;
      case Obstacle::kNoDevice:
        no_device.nodes.push_back(node.id);
        break;
      case Obstacle::kTooLarge:
        too_large.nodes.push_back(node.id);
        if (largest == nullptr || node.capacity.memory_bytes > largest->capacity.memory_bytes)
          largest = &node;
        break;
      case Obstacle::kNotEnoughFree:
        not_free.nodes.push_back(node.id);
        if (roomiest == nullptr || node.free.cpu_millis > roomiest->free.cpu_millis)
          roomiest = &node;
        break;
    }
  }
  auto count = [](const Reason& reason) {
    size_t n = reason.nodes.size();
    return std::to_string(n) + (n == 1 ? " node" : " nodes");
  };
  std::vector<Reason> reasons;
  if (!not_free.nodes.empty()) {
    not_free.message =
        "needs " + ToString(request.resources) + "; " + count(not_free) +
        (not_free.nodes.size() == 1 ? " could hold it but is busy: it has "
                                    : " could hold it but are busy, the roomiest has ") +
        ToString(roomiest->free) + " free";
    reasons.push_back(std::move(not_free));
  }
  if (!held.nodes.empty()) {
    held.message =
        count(held) + " refused the last assignment or did not answer it; tried again in a moment";
    reasons.push_back(std::move(held));
  }
  if (!cordoned.nodes.empty()) {
    cordoned.message = count(cordoned) + " that could hold it: cordoned by an operator";
    reasons.push_back(std::move(cordoned));
  }
  if (!offline.nodes.empty()) {
    offline.message = count(offline) + " that could hold it: offline";
    reasons.push_back(std::move(offline));
  }
  if (!no_device.nodes.empty()) {
    no_device.message =
        count(no_device) + " without a device of type " + DeviceName(request.device);
    reasons.push_back(std::move(no_device));
  }
  if (!too_large.nodes.empty()) {
    too_large.message = "needs " + ToString(request.resources) + "; too large for " +
                        count(too_large) + ", the largest of which has " +
                        ToString(largest->capacity);
    reasons.push_back(std::move(too_large));
  }
  return reasons;
}

std::string SmallestChange(const Request& request, const std::vector<NodeState>& nodes) {
  if (nodes.empty()) return "start a Server Node";
  // The node that is nearest to taking it, by what stands in the way and then by how much is
  // missing.
  const NodeState* nearest = nullptr;
  double nearest_cost = 0;
  Obstacle nearest_obstacle = Obstacle::kNone;
  auto part = [](int64_t missing, int64_t capacity) {
    return missing > 0
               ? static_cast<double>(missing) / static_cast<double>(std::max<int64_t>(capacity, 1))
               : 0.0;
  };
  auto missing_of = [&](const Resources& have, const NodeState& node) {
    Resources missing = request.resources - have;
    return part(missing.cpu_millis, node.capacity.cpu_millis) +
           part(missing.memory_bytes, node.capacity.memory_bytes) +
           part(missing.gpus, node.capacity.gpus);
  };
  for (const NodeState& node : nodes) {
    Obstacle obstacle = Check(request, node);
    double cost = 0;
    switch (obstacle) {
      case Obstacle::kNone:
        return "";
      case Obstacle::kHeld:
        cost = 0;
        break;
      case Obstacle::kNotEnoughFree:
        cost = 1 + missing_of(node.free, node);
        break;
      case Obstacle::kCordoned:
        cost = 10;
        break;
      case Obstacle::kOffline:
        cost = 20;
        break;
      case Obstacle::kTooLarge:
        cost = 30 + missing_of(node.capacity, node);
        break;
      case Obstacle::kNoDevice:
        cost = 1e9;
        break;
    }
    if (nearest == nullptr || cost < nearest_cost) {
      nearest = &node;
      nearest_cost = cost;
      nearest_obstacle = obstacle;
    }
  }
  auto shortage = [&](const Resources& have) {
    Resources missing = request.resources - have;
    missing.cpu_millis = std::max<int64_t>(missing.cpu_millis, 0);
    missing.memory_bytes = std::max<int64_t>(missing.memory_bytes, 0);
    missing.gpus = std::max<int64_t>(missing.gpus, 0);
    // Only what is missing is named.
    std::string text = ToString(missing);
    if (missing.memory_bytes == 0) {
      size_t comma = text.find(", 0 bytes");
      if (comma != std::string::npos) text.erase(comma, std::string_view(", 0 bytes").size());
    }
    if (missing.cpu_millis == 0 && text.starts_with("0 cores, ")) text.erase(0, 9);
    return text;
  };
  const std::string id = "node '" + nearest->id.value + "'";
  switch (nearest_obstacle) {
    case Obstacle::kHeld:
      return "wait a moment: " + id + " is tried again";
    case Obstacle::kNotEnoughFree:
      return id + " must have " + shortage(nearest->free) + " more free";
    case Obstacle::kCordoned:
      return "uncordon " + id;
    case Obstacle::kOffline:
      return "bring " + id + " back";
    case Obstacle::kTooLarge:
      return "ask for " + shortage(nearest->capacity) + " less, or add a node that has it";
    default:
      return std::string("add a node with a device of type ") + DeviceName(request.device);
  }
}

std::optional<Forecast> ForecastStart(
    Snapshot snapshot, std::vector<Running> running, const JobId& target,
    const std::function<std::optional<Duration>(const JobId&)>& duration, size_t most_steps) {
  struct End {
    Duration at;
    size_t order;  // so that equal times come in a fixed order
    NodeId node;
    Resources resources;
    bool operator<(const End& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  std::priority_queue<End> ends;
  size_t order = 0;
  for (Running& one : running) {
    if (one.remaining) ends.push({*one.remaining, order++, one.node, one.resources});
  }
  // A node that is held is asked again before long.
  for (NodeState& node : snapshot.nodes) node.held = false;
  Duration now = {};
  for (size_t steps = 0; steps <= most_steps; ++steps) {
    for (const Placement& placement : Schedule(snapshot)) {
      if (placement.job == target) return Forecast{placement.node, now};
      for (Line& line : snapshot.lines) {
        auto found = std::find_if(line.jobs.begin(), line.jobs.end(),
                                  [&](const auto& job) { return job.second == placement.job; });
        if (found == line.jobs.end()) continue;
        line.jobs.erase(found);
        for (NodeState& node : snapshot.nodes) {
          if (node.id == placement.node) node.free = node.free - line.request.resources;
        }
        if (auto takes = duration(placement.job))
          ends.push({now + *takes, order++, placement.node, line.request.resources});
        break;
      }
    }
    if (ends.empty()) return std::nullopt;
    now = ends.top().at;
    while (!ends.empty() && ends.top().at == now) {
      for (NodeState& node : snapshot.nodes) {
        if (node.id == ends.top().node) node.free = node.free + ends.top().resources;
      }
      ends.pop();
    }
  }
  return std::nullopt;
}

bool CouldEverRun(const Request& request, const std::vector<NodeState>& nodes,
                  std::string* reason) {
  if (nodes.empty()) return true;
  Resources largest;
  bool device = false;
  for (const NodeState& node : nodes) {
    if (!HasDevice(node, request.device)) continue;
    device = true;
    if (node.capacity.Holds(request.resources)) return true;
    largest.cpu_millis = std::max(largest.cpu_millis, node.capacity.cpu_millis);
    largest.memory_bytes = std::max(largest.memory_bytes, node.capacity.memory_bytes);
    largest.gpus = std::max(largest.gpus, node.capacity.gpus);
  }
  if (!device) {
    *reason = std::string("no registered node has a device of type ") + DeviceName(request.device);
  } else {
    *reason = "the job needs " + ToString(request.resources) +
              ", and no registered node can hold that: the most a node has is " + ToString(largest);
  }
  return false;
}

}  // namespace cyxwiz::scheduler
