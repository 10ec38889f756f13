// One thing that is wrong with a job. All of them are collected before a job is refused.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace cyxwiz::spec {

struct Problem {
  std::string
      path;  // JSON path into the job: "$.model.layers[2].units", "$.hyperparameters.learning_rate"
  std::string message;   // one sentence: "units must be a positive whole number"
  std::string expected;  // "a whole number from 1 to 1048576"
  std::string found;     // "-5"
  std::string hint;      // "did you mean 'dense'?"; may be empty

  // "$.model.layers[2].units: units must be ...: expected ..., found ... (hint)"
  std::string ToString() const;
};

class Problems {
 public:
  // At most this many are kept; more are counted.
  static constexpr size_t kMost = 50;

  void Add(Problem problem) {
    if (list_.size() < kMost) list_.push_back(std::move(problem));
    ++count_;
  }
  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  // Whether one of those kept lies at this path.
  bool Has(const std::string& path) const {
    return std::any_of(list_.begin(), list_.end(),
                       [&](const Problem& problem) { return problem.path == path; });
  }
  const std::vector<Problem>& list() const { return list_; }
  // All, one a line.
  std::string ToString() const;

 private:
  std::vector<Problem> list_;
  size_t count_ = 0;
};

}  // namespace cyxwiz::spec
