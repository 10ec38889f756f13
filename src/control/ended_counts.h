// How many jobs have ended and left memory, by what listings filter by.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "control/records.h"

namespace cyxwiz::control {

class EndedCounts {
 public:
  void Add(const std::string& user, int32_t type, JobState state, int64_t jobs);
  void Add(const Job& job, int64_t jobs) { Add(job.user, job.type, job.state, jobs); }
  int64_t Count(const JobFilter& filter) const;
  auto Fields() { return std::tie(all_, by_user_); }

 private:
  static constexpr size_t kTypes = 5, kStates = 8;
  using Counts = std::array<std::array<int64_t, kStates>, kTypes>;

  Counts all_ = {};
  std::map<std::string, Counts> by_user_;  // jobs without a user are in all_ only
};

}  // namespace cyxwiz::control
