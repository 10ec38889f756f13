// What one attempt asks for. Jobs that ask for the same wait in the same line.
#pragma once

#include <cstdint>

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

}  // namespace cyxwiz::scheduler
