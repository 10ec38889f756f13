#include "control/job_index.h"

#include <algorithm>
#include <queue>

namespace cyxwiz::control {

void JobIndex::Change(const Job& job, JobState state, bool insert) {
  size_t type = job.type >= 0 && job.type < kTypes ? static_cast<size_t>(job.type) : 0;
  auto apply = [&](Sets& sets) {
    auto& set = sets[type][static_cast<size_t>(state)];
    if (insert) {
      set.insert(job.sequence);
    } else {
      set.erase(job.sequence);
    }
  };
  apply(all_);
  if (!job.user.empty()) apply(by_user_[job.user]);
}

JobIndex::Page JobIndex::List(const JobFilter& filter, int64_t after_sequence,
                              size_t page_size) const {
  Page page;
  const Sets* sets = &all_;
  if (!filter.user.empty()) {
    auto found = by_user_.find(filter.user);
    if (found == by_user_.end()) return page;
    sets = &found->second;
  }
  // Merges the sets from the newest down. An iterator points one past the next candidate.
  using Iterator = std::set<int64_t>::const_iterator;
  std::priority_queue<std::pair<int64_t, std::pair<Iterator, Iterator>>,
                      std::vector<std::pair<int64_t, std::pair<Iterator, Iterator>>>,
                      decltype([](const auto& a, const auto& b) { return a.first < b.first; })>
      newest;
  auto add = [&](const std::set<int64_t>& set) {
    page.total += static_cast<int64_t>(set.size());
    Iterator end = set.lower_bound(after_sequence);
    if (end != set.begin()) newest.push({*std::prev(end), {set.begin(), std::prev(end)}});
  };
  for (size_t t = 0; t < kTypes; ++t) {
    if (filter.type != 0 && t != static_cast<size_t>(filter.type)) continue;
    if (filter.states.empty()) {
      for (const auto& set : (*sets)[t]) add(set);
    } else {
      for (JobState state : filter.states) add((*sets)[t][static_cast<size_t>(state)]);
    }
  }
  while (!newest.empty()) {
    auto [sequence, range] = newest.top();
    newest.pop();
    if (page.sequences.size() == page_size) {
      page.more = true;
      break;
    }
    page.sequences.push_back(sequence);
    if (range.second != range.first) {
      Iterator next = std::prev(range.second);
      newest.push({*next, {range.first, next}});
    }
  }
  return page;
}

std::vector<int64_t> JobIndex::All(const JobFilter& filter) const {
  std::vector<int64_t> sequences;
  const Sets* sets = &all_;
  if (!filter.user.empty()) {
    auto found = by_user_.find(filter.user);
    if (found == by_user_.end()) return sequences;
    sets = &found->second;
  }
  for (size_t t = 0; t < kTypes; ++t) {
    if (filter.type != 0 && t != static_cast<size_t>(filter.type)) continue;
    for (size_t state = 0; state < kStates; ++state) {
      const bool wanted =
          filter.states.empty() ||
          std::count(filter.states.begin(), filter.states.end(), static_cast<JobState>(state)) > 0;
      const std::set<int64_t>& set = (*sets)[t][state];
      if (wanted) sequences.insert(sequences.end(), set.begin(), set.end());
    }
  }
  if (!std::is_sorted(sequences.begin(), sequences.end()))
    std::sort(sequences.begin(), sequences.end());
  return sequences;
}

}  // namespace cyxwiz::control
