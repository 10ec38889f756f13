// What one attempt asks for, and who asks. Jobs that are alike in that wait in the same line.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/labels.h"
#include "base/resources.h"

namespace cyxwiz::scheduler {

struct Request {
  Resources resources;
  int32_t device = 0;       // wire DeviceType; 0 any
  Labels labels;            // that the node must have
  Duration run_limit = {};  // after which it is ended; 0: no limit
  bool operator==(const Request&) const = default;
};

struct LineKey {
  int32_t priority = 1;  // without what they have gained by waiting
  Request request;
  std::string account;  // user
  std::string project;

  auto Tie() const {
    return std::tie(priority, account, project, request.run_limit, request.resources.cpu_millis,
                    request.resources.memory_bytes, request.resources.gpus,
                    request.resources.disk_bytes, request.device, request.resources.named,
                    request.labels);
  }
  bool operator<(const LineKey& other) const { return Tie() < other.Tie(); }
  bool operator==(const LineKey&) const = default;
};

}  // namespace cyxwiz::scheduler
