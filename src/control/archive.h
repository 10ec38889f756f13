// Jobs that have ended and left the core's memory, where they are stored. What is not in memory is
// there, or nowhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "control/records.h"

namespace cyxwiz::control {

// Called within Control::Apply. Knows nothing of a batch that is not committed.
class Archive {
 public:
  virtual ~Archive() = default;
  // nullopt: no job of this id has ended.
  virtual Result<std::optional<EndedJob>> FindEnded(const JobId& id) = 0;
  // Jobs that have ended, newest first, with a sequence below `before`.
  virtual Result<std::vector<Job>> ListEnded(const JobFilter& filter, int64_t before,
                                             size_t most) = 0;
  // Whether the id of some job begins so.
  virtual Result<bool> HasPrefix(const std::string& prefix) = 0;
};

}  // namespace cyxwiz::control
