// An array: one job file that stands for many jobs, its members, numbered from 0. They differ in
// hyperparameters that a sweep names, or in their seed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "spec/object_reader.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

inline constexpr int64_t kMaxArraySize = 1'000'000;
// Of a sweep: values of combinations in all, or single points. Each is checked before the job is
// accepted.
inline constexpr size_t kMaxSweepValues = 1000, kMaxSweepPoints = 10'000;

using Hyperparameters = std::map<std::string, std::string>;

struct SweepAxis {
  std::string name;
  std::vector<std::string> values;
  bool operator==(const SweepAxis&) const = default;
};

struct JobArray {
  int64_t size = 0;                     // 0 without a sweep: no array
  int64_t max_parallel = 0;             // members at a time; 0: no limit
  std::vector<SweepAxis> grid;          // every combination, the last name varying fastest
  std::vector<Hyperparameters> points;  // or these, one a member
  bool operator==(const JobArray&) const = default;
};

// The members "array" and "sweep" of a job file.
JobArray ReadJobArray(ObjectReader& reader, Problems* problems);
void CheckJobArray(const JobArray& array, Problems* problems);

// How many members it has; 0: it is none. Beyond kMaxArraySize: one more than that.
int64_t MembersOf(const JobArray& array);
// Sets what makes the member of this number, below MembersOf.
void MakeMember(const JobArray& array, int64_t number, Hyperparameters* hyperparameters);
// Numbers of members in which each value of the sweep comes at least once.
std::vector<int64_t> MembersToCheck(const JobArray& array);

}  // namespace cyxwiz::spec
