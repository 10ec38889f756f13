#include "control/ended_counts.h"

namespace cyxwiz::control {

void EndedCounts::Add(const std::string& user, int32_t type, JobState state, int64_t jobs) {
  size_t row = type >= 0 && type < static_cast<int32_t>(kTypes) ? static_cast<size_t>(type) : 0;
  all_[row][static_cast<size_t>(state)] += jobs;
  if (!user.empty()) by_user_[user][row][static_cast<size_t>(state)] += jobs;
}

int64_t EndedCounts::Count(const JobFilter& filter) const {
  const Counts* counts = &all_;
  if (!filter.user.empty()) {
    auto found = by_user_.find(filter.user);
    if (found == by_user_.end()) return 0;
    counts = &found->second;
  }
  int64_t total = 0;
  for (size_t type = 0; type < kTypes; ++type) {
    if (filter.type != 0 && type != static_cast<size_t>(filter.type)) continue;
    if (filter.states.empty()) {
      for (int64_t jobs : (*counts)[type]) total += jobs;
    } else {
      for (JobState state : filter.states) total += (*counts)[type][static_cast<size_t>(state)];
    }
  }
  return total;
}

}  // namespace cyxwiz::control
