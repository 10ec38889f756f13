// Finds the jobs of a listing without looking at the others: for each user, type and state the
// sequences of its jobs in order. A page costs O(page x sets touched), however many jobs there are.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/records.h"

namespace cyxwiz::control {

class JobIndex {
 public:
  void Insert(const Job& job) { Change(job, job.state, true); }
  void Erase(const Job& job) { Change(job, job.state, false); }
  // Before job.state becomes `to`.
  void Move(const Job& job, JobState to) {
    Change(job, job.state, false);
    Change(job, to, true);
  }

  struct Page {
    std::vector<int64_t> sequences;  // newest first
    bool more = false;
    int64_t total = 0;  // of the whole listing
  };
  Page List(const JobFilter& filter, int64_t after_sequence, size_t page_size) const;
  // Of all that the filter lets through, oldest first.
  std::vector<int64_t> All(const JobFilter& filter) const;

 private:
  static constexpr int kTypes = 5, kStates = 8;
  using Sets = std::array<std::array<std::set<int64_t>, kStates>, kTypes>;
  void Change(const Job& job, JobState state, bool insert);

  Sets all_;
  std::map<std::string, Sets> by_user_;  // jobs without a user are in all_ only
};

}  // namespace cyxwiz::control
