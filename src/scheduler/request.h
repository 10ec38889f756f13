// What one attempt asks for, and who asks. Jobs that are alike in that wait in the same line.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/labels.h"
#include "base/resources.h"

namespace cyxwiz::scheduler {

struct Request {
  Resources resources;      // on each node
  int32_t device = 0;       // wire DeviceType; 0 any
  Labels labels;            // that the node must have
  Duration run_limit = {};  // after its assignment it is ended; 0: no limit
  int32_t nodes = 1;        // at once; more than one: it is a gang, with a rank on each
  int32_t min_nodes = 0;    // with which it makes do; 0: with no fewer
  int32_t processes = 1;    // ranks on each node
  bool operator==(const Request&) const = default;
};

// What it may take at most to end an attempt that has reached its limit.
inline constexpr Duration kTimeToStop = std::chrono::seconds(10);

// With how many nodes it starts at least.
inline int32_t LeastNodes(const Request& request) {
  return request.min_nodes > 0 ? request.min_nodes : request.nodes;
}
// On so many nodes together.
inline Resources TotalOf(const Request& request) { return request.resources * LeastNodes(request); }

struct LineKey {
  int32_t priority = 1;  // without what they have gained by waiting
  Request request;
  std::string account;  // user
  std::string project;

  auto Tie() const {
    return std::tie(priority, account, project, request.run_limit, request.resources.cpu_millis,
                    request.resources.memory_bytes, request.resources.gpu_millis,
                    request.resources.gpu_memory_bytes, request.resources.disk_bytes,
                    request.device, request.nodes, request.min_nodes, request.processes,
                    request.resources.named, request.labels);
  }
  bool operator<(const LineKey& other) const { return Tie() < other.Tie(); }
  bool operator==(const LineKey&) const = default;
};

}  // namespace cyxwiz::scheduler
