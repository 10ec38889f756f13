#include "control/entries.h"

#include <algorithm>
#include <utility>

namespace cyxwiz::control {

const Limits& LimitsOf(const Job& job) {
  static const Limits kNone;
  return job.terms != nullptr ? job.terms->limits : kNone;
}

scheduler::Request RequestOf(const Job& job) {
  if (job.terms == nullptr) return {job.resources, job.device, {}, {}};
  return {job.resources,    job.device,           job.terms->labels,   job.terms->limits.run,
          job.terms->nodes, job.terms->min_nodes, job.terms->processes};
}

Job AskedLike(const Job& job, JobId id) {
  Job like;
  like.id = std::move(id);
  like.name = job.name;
  like.user = job.user;
  like.type = job.type;
  like.priority = job.priority;
  like.resources = job.resources;
  like.device = job.device;
  like.max_retries = job.max_retries;
  like.total_epochs = job.total_epochs;
  like.data = job.data;
  return like;
}

const std::string& ProjectOf(const Job& job) {
  static const std::string kNone;
  return job.terms != nullptr ? job.terms->project : kNone;
}

int32_t RanksOf(const Job& job) {
  return job.gang != nullptr ? static_cast<int32_t>(job.gang->ranks.size()) : 1;
}

double EpochsOf(const Job& job) { return std::max(1, job.total_epochs); }

LineKey LineOf(const Job& job) { return {job.priority, RequestOf(job), job.user, ProjectOf(job)}; }

int64_t MostStarts(const Job& job) { return job.array != nullptr ? job.array->room() : 1; }

}  // namespace cyxwiz::control
