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
#include "base/labels.h"
#include "base/resources.h"
#include "base/status.h"
#include "scheduler/fleet.h"
#include "scheduler/quotas.h"
#include "scheduler/request.h"
#include "scheduler/shares.h"

namespace cyxwiz::scheduler {

struct Waiting {
  int64_t job = 0;       // its sequence
  int32_t priority = 1;  // with what it has gained by waiting
  ContentKey data = 0;   // what it reads; a node that keeps it is preferred
};

// Jobs that are alike, oldest first. The caller need not
// list more than could be placed (MostPlacements), so a pass costs what the free nodes can take,
// not what waits.
struct Line {
  LineKey key;
  std::vector<Waiting> jobs;
  // It was not there at the last pass. That pass left the head of every other line without a node
  // that could take it, so only nodes that have changed since can.
  bool fresh = true;
};

struct Placement {
  int64_t job = 0;  // its sequence
  NodeId node;
  std::vector<NodeId> others;  // of a gang: those of its ranks from 1 on
  // That it got on each of its nodes; empty: it needs none.
  std::vector<std::vector<GpuPart>> gpus;
  // How its line stood then.
  bool borrows = false;
  Share share;
};

// One reason why a job waits.
struct Reason {
  std::string code;  // QUOTA_EXCEEDED, QUOTA_BORROWING, NO_NODES, NODES_OFFLINE, NODES_HELD,
                     // NODES_CORDONED, NODES_QUARANTINED, NO_SUCH_DEVICE, NO_SUCH_LABEL,
                     // OTHER_POOL, NO_GANGS, TOO_LARGE, TOO_FEW_NODES, NOT_ENOUGH_FREE,
                     // NO_SINGLE_GPU, ANTI_AFFINITY, NODES_KEPT, PREEMPTING, DEPENDENCY,
                     // ARRAY_PARALLEL, MASS_LOSS, BACKOFF, QUEUED
  std::string message;
  std::vector<NodeId> nodes;  // at most kMostNodesNamed of them
  bool operator==(const Reason&) const = default;
};
inline constexpr size_t kMostNodesNamed = 100;

// Those within a quota first, then the highest priority, then the smallest share (shares.h), then
// the oldest; each to the node that it leaves with the least room to spare, of those that keep what
// it reads if it fits on one; a gang to as many as it needs, all at once or none, and an elastic
// one to as many as it asks for of those that fit, but for none by which it would borrow from a
// quota, or go beyond one, that it keeps with its least. A job that does not fit now does not hold
// up later ones that do, unless nodes are kept for it (Hold) or attempts make room for it (Claim).
// Takes what it places from the fleet and counts it to the shares, and does away with the marks of
// what has changed: what it leaves in the lines fits nowhere. quotas: nullptr: there are none. A
// line that its quota stops is left as it is, also where nodes could take it: it must be given as
// fresh next time.
std::vector<Placement> Schedule(Fleet* fleet, const std::vector<Line>& lines, Shares* shares,
                                MonotonicTime now, Quotas* quotas = nullptr);

// An attempt on a node.
struct Occupant {
  int64_t job = 0;
  Resources resources;                              // that it holds
  MonotonicTime end = MonotonicTime::Never();       // at the latest, by its limit
  MonotonicTime expected = MonotonicTime::Never();  // Never(): not known
  bool owes = false;  // its share is clearly more than that of the line which waits
};
// The nodes on which a job of the line would start first, of those that are not kept for others,
// and what may go there meanwhile. present: the hold that this one shall replace; then only its
// places and the nodes that have changed are looked at. nullopt: nowhere.
std::optional<Hold> PlanHold(const Fleet& fleet, const LineKey& line, const Hold* present,
                             MonotonicTime now,
                             const std::function<std::vector<Occupant>(const NodeId&)>& occupants);

// Whether the node could take the request if it had more free: what Schedule asks of it besides
// room.
bool IsFitFor(const NodeState& node, const Request& request);

// The hold on the node whose job goes before one of this line that starts there now; nullptr: none.
const Hold* HoldBefore(const Fleet& fleet, const NodeState& node, const LineKey& line,
                       MonotonicTime now);

// Whether a hold keeps the node from a job of this line that starts now: it would still be there
// when the one that waits is to start, and does not fit beside it.
bool IsKeptFrom(const Fleet& fleet, const NodeState& node, const LineKey& line, MonotonicTime now);

// Whether a job of the line, or a rank of it, can start on the node now.
bool CanStartOn(const Fleet& fleet, const NodeState& node, const LineKey& line, MonotonicTime now);

// Upper bound of how many of `request` the nodes could take now; changed_only: those alone that
// have changed since the last pass.
int64_t MostPlacements(const Request& request, const Fleet& fleet, bool changed_only);

// Everything that keeps `request` from starting now; empty when there are nodes that could take it
// at once. Of a node that could hold it all that stands in the way is told. is_kept: whether a hold
// keeps a node from it; nullptr: none does.
std::vector<Reason> Explain(const Request& request, const std::vector<NodeState>& nodes,
                            const std::function<bool(const NodeState&)>& is_kept = nullptr);

// The least that would have to change for `request` to start now, in one sentence; empty when
// nothing need change or nothing is known that would do.
std::string SmallestChange(const Request& request, const std::vector<NodeState>& nodes,
                           const std::function<bool(const NodeState&)>& is_kept = nullptr);

// Whether some node, online or not, could hold the request if it were empty; for a gang, whether as
// many as it needs could. FAILED_PRECONDITION, with the numbers, when not.
Status CouldEverRun(const Request& request, const std::vector<NodeState>& nodes);

}  // namespace cyxwiz::scheduler
