#include "control/removed_jobs.h"

#include <iterator>

namespace cyxwiz::control {

void RemovedJobs::Insert(const RemovedJob& job) {
  RemovedJob& entry = jobs_[job.id];
  by_sequence_.erase(entry.sequence);
  entry = job;
  by_sequence_[job.sequence] = job.id;
}

void RemovedJobs::Remember(const RemovedJob& job, int64_t most, std::vector<Record>* records) {
  Insert(job);
  records->push_back(PutRemoved{job});
  while (std::ssize(by_sequence_) > most) {
    auto oldest = by_sequence_.extract(by_sequence_.begin());
    jobs_.erase(oldest.mapped());
    records->push_back(DeleteRemoved{oldest.mapped()});
  }
}

AttemptNumber RemovedJobs::LastAttempt(const JobId& id) const {
  auto found = jobs_.find(id);
  return found == jobs_.end() ? 0 : found->second.attempt;
}

}  // namespace cyxwiz::control
