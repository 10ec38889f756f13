// Which running attempts make room for a job of a higher class that can start nowhere. Pure, as
// scheduler.h.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "scheduler/fleet.h"
#include "scheduler/request.h"

namespace cyxwiz::scheduler {

// An attempt that may be ended for another job.
struct Victim {
  int64_t job = 0;  // its sequence
  int32_t priority = 0;
  Resources resources;  // that it holds
  Duration lost = {};   // work that may have to be done again
};

struct Preemption {
  NodeId node;
  std::vector<int64_t> victims;
};

// The node on which a job of the line, which needs one, finds room at the smallest loss: that whose
// attempts are of the lowest class, then lose the least work, then are fewest, and these attempts.
// victims: those on a node that may end for it. What others have claimed there, or a hold keeps,
// stays theirs. nullopt: nowhere.
std::optional<Preemption> PlanPreemption(
    const Fleet& fleet, const LineKey& line, MonotonicTime now,
    const std::function<std::vector<Victim>(const NodeId&)>& victims);

}  // namespace cyxwiz::scheduler
