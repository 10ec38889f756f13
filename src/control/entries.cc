#include "control/entries.h"

namespace cyxwiz::control {

const Limits& LimitsOf(const Job& job) {
  static const Limits kNone;
  return job.terms != nullptr ? job.terms->limits : kNone;
}

scheduler::Request RequestOf(const Job& job) {
  if (job.terms == nullptr) return {job.resources, job.device, {}, {}};
  return {job.resources, job.device, job.terms->labels, job.terms->limits.run};
}

const std::string& ProjectOf(const Job& job) {
  static const std::string kNone;
  return job.terms != nullptr ? job.terms->project : kNone;
}

LineKey LineOf(const Job& job) { return {job.priority, RequestOf(job), job.user, ProjectOf(job)}; }

}  // namespace cyxwiz::control
