// Which queued job goes to which node. A pure function: snapshot in, plan out, with the reason why
// each of the others waits. No I/O, no clock, no randomness.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

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
  bool held = false;  // online, but given nothing for a moment: it refused or did not answer
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
  std::string code;  // NO_NODES, NODES_OFFLINE, NODES_HELD, NO_SUCH_DEVICE, TOO_LARGE,
                     // NOT_ENOUGH_FREE, BACKOFF
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

// Whether some node, online or not, could hold the request if it were empty. reason tells the
// numbers when not.
bool CouldEverRun(const Request& request, const std::vector<NodeState>& nodes, std::string* reason);

}  // namespace cyxwiz::scheduler
