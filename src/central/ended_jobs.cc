#include "central/ended_jobs.h"

#include <vector>

namespace cyxwiz::central {
namespace {

constexpr size_t kPage = 1000;

Status ForEach(store::JobStore& store, const control::JobFilter& filter,
               const std::function<Status(const control::Job&)>& take) {
  for (int64_t before = INT64_MAX;;) {
    ASSIGN_OR_RETURN(std::vector<control::Job> jobs, store.ListEnded(filter, before, kPage));
    for (const control::Job& job : jobs) {
      before = job.sequence;
      RETURN_IF_ERROR(take(job));
    }
    if (jobs.size() < kPage) return OkStatus();
  }
}

}  // namespace

Status ForEachEnded(store::JobStore& store, const control::Snapshot& snapshot,
                    const std::function<Status(const control::Job&)>& take) {
  auto take_members = [&](const control::Job& job) -> Status {
    if (job.array == nullptr) return OkStatus();
    return ForEach(store, {.array_id = job.id, .array = job.sequence}, take);
  };
  for (const control::Job& job : snapshot.jobs) RETURN_IF_ERROR(take_members(job));
  return ForEach(store, {}, [&](const control::Job& job) -> Status {
    RETURN_IF_ERROR(take(job));
    return take_members(job);
  });
}

}  // namespace cyxwiz::central
