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
  struct Place {
    NodeId node;
    std::vector<int64_t>
        victims;  // with a rank there; none where a rank of a gang has room already
  };
  std::vector<Place> places;
};

// The node on which a job of the line finds room at the smallest loss: that whose attempts are of
// the lowest class, then lose the least work, then are fewest, and these attempts. For a gang the
// least that it needs of them, one after another in this order. victims: those on a node that may
// end for it. What others have claimed there, or a hold keeps, stays theirs. nullopt: nowhere, or
// all that it needs becomes free without anybody's end.
std::optional<Preemption> PlanPreemption(
    const Fleet& fleet, const LineKey& line, MonotonicTime now,
    const std::function<std::vector<Victim>(const NodeId&)>& victims);

}  // namespace cyxwiz::scheduler
