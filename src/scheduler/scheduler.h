// Which queued job goes to which node. A pure function: snapshot in, plan out, with the reason why
// each of the others waits. No I/O, no clock, no randomness.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/resources.h"

namespace cyxwiz::scheduler {

// What one attempt asks for. Jobs that ask for the same wait in the same line.
struct Request {
  Resources resources;
  int32_t device = 0;  // wire DeviceType; 0 any
  bool operator==(const Request&) const = default;
};

struct NodeState {
  NodeId id;
  bool online = false;
  bool held = false;      // online, but given nothing for a moment: it refused or did not answer
  bool cordoned = false;  // an operator wants it to get nothing
  Resources capacity;
  Resources free;
  std::vector<int32_t> devices;
};

// Jobs of one priority that ask for the same, oldest first. The caller need not list more than
// could be placed (MostPlacements), so a pass costs what the free nodes can take, not what waits.
struct Line {
  int32_t priority = 1;
  Request request;
  std::vector<std::pair<int64_t, JobId>> jobs;  // (sequence, id), ascending
};

struct Snapshot {
  std::vector<NodeState> nodes;
  std::vector<Line> lines;
};

struct Placement {
  JobId job;
  NodeId node;
};

// One reason why a job waits.
struct Reason {
  std::string code;  // NO_NODES, NODES_OFFLINE, NODES_HELD, NODES_CORDONED, NO_SUCH_DEVICE,
                     // TOO_LARGE, NOT_ENOUGH_FREE, BACKOFF, QUEUED
  std::string message;
  std::vector<NodeId> nodes;
  bool operator==(const Reason&) const = default;
};

// Highest priority first, then oldest; each to the node that it leaves with the least room to
// spare. A job that does not fit now does not hold up later ones that do.
std::vector<Placement> Schedule(Snapshot snapshot);

// Upper bound of how many of `request` the nodes could take now.
int64_t MostPlacements(const Request& request, const std::vector<NodeState>& nodes);

// Everything that keeps `request` from starting now; empty when a node could take it at once.
std::vector<Reason> Explain(const Request& request, const std::vector<NodeState>& nodes);

// The least that would have to change for `request` to start now, in one sentence; empty when
// nothing need change or nothing is known that would do.
std::string SmallestChange(const Request& request, const std::vector<NodeState>& nodes);

// An attempt that holds resources until it ends.
struct Running {
  NodeId node;
  Resources resources;
  std::optional<Duration> remaining;  // absent: not known
};
struct Forecast {
  NodeId node;
  Duration start = {};
};
// When and where `target` would start, by running Schedule again and again as attempts end.
// duration tells how long a queued job is expected to run; a job of unknown duration is taken to
// never end. Absent when that cannot be told, or more than `most_steps` ends would have to be
// looked at.
std::optional<Forecast> ForecastStart(
    Snapshot snapshot, std::vector<Running> running, const JobId& target,
    const std::function<std::optional<Duration>(const JobId&)>& duration, size_t most_steps = 1000);

// Whether some node, online or not, could hold the request if it were empty. reason tells the
// numbers when not.
bool CouldEverRun(const Request& request, const std::vector<NodeState>& nodes, std::string* reason);

}  // namespace cyxwiz::scheduler
