// When and where a job that waits will start, as far as that can be told: the scheduler's own
// passes on a copy of what it decides by. No I/O, no clock, no randomness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/resources.h"
#include "scheduler/fleet.h"
#include "scheduler/quotas.h"
#include "scheduler/scheduler.h"
#include "scheduler/shares.h"

namespace cyxwiz::scheduler {

// An attempt, or a rank of one, that holds resources until it ends.
struct Running {
  NodeId node;
  Resources resources;                // that it holds
  std::optional<Duration> remaining;  // absent: not known
  std::string account, project;
  int64_t job = 0;    // its sequence
  int64_t array = 0;  // of rank 0 of a member of an array: the sequence of that
};

// What is known now. The fleet has its holds and claims, and what nodes keep.
struct Prospect {
  Fleet fleet;
  std::vector<Line> lines;
  std::vector<Running> running;
  Shares shares = Shares();
  Quotas quotas = {};
  MonotonicTime now = {};
  // Nodes that are held, each with the time after which it is asked again.
  std::vector<std::pair<NodeId, Duration>> resting = {};
  // Of arrays, by sequence: members that may start only as others of theirs end, one for one.
  struct Rest {
    size_t line = 0;
    Waiting waits;
    int64_t members = 0;
  };
  std::map<int64_t, Rest> rests = {};
};

// Whose start is asked for.
struct Target {
  int64_t job = 0;             // its sequence
  Duration not_before = {};    // after so long it joins its line, in which it stands already
  int64_t members_before = 0;  // of an array: that start before the one that is meant
};

struct Forecast {
  NodeId node;
  Duration start = {};
};
// By running Schedule again and again as attempts end. duration tells how long a queued job is
// expected to run; a job of unknown duration is taken to never end. Absent when that cannot be
// told, or more than `most_steps` moments would have to be looked at.
std::optional<Forecast> ForecastStart(
    Prospect prospect, const Target& target,
    const std::function<std::optional<Duration>(int64_t)>& duration, size_t most_steps = 1000);

}  // namespace cyxwiz::scheduler
