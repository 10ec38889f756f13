// The jobs that were deleted last, so that a new job with the id of one of them goes on counting
// attempts where it stopped.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "control/records.h"

namespace cyxwiz::control {

class RemovedJobs {
 public:
  // At start: one that is stored.
  void Load(const RemovedJob& job) { Insert(job); }
  // Forgets the oldest when there are more than `most`. Appends what is to be stored to `records`.
  void Remember(const RemovedJob& job, int64_t most, std::vector<Record>* records);
  // Of the last attempt of the job that had this id; 0: not known.
  AttemptNumber LastAttempt(const JobId& id) const;
  auto Fields() { return std::tie(jobs_, by_sequence_); }

 private:
  void Insert(const RemovedJob& job);

  std::unordered_map<JobId, RemovedJob> jobs_;
  std::map<int64_t, JobId> by_sequence_;
};

}  // namespace cyxwiz::control
