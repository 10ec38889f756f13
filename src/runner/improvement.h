// Whether a metric goes on getting better, epoch after epoch.
#pragma once

#include <cstdint>
#include <limits>

namespace cyxwiz::runner {

class Improvement {
 public:
  // greater: whether a greater value is better. least_change: an improvement is more than this.
  Improvement(bool greater, double least_change) : greater_(greater), least_change_(least_change) {
    best_ = greater ? -std::numeric_limits<double>::infinity()
                    : std::numeric_limits<double>::infinity();
  }

  // Takes an epoch's value; whether it is an improvement. What is no number is none.
  bool Add(double value) {
    const bool better = greater_ ? value > best_ + least_change_ : value < best_ - least_change_;
    if (better) best_ = value;
    waited_ = better ? 0 : waited_ + 1;
    return better;
  }

  double best() const { return best_; }
  int64_t waited() const { return waited_; }  // epochs since the last improvement

  void Resume(double best, int64_t waited) {
    best_ = best;
    waited_ = waited;
  }

 private:
  bool greater_;
  double least_change_, best_;
  int64_t waited_ = 0;
};

}  // namespace cyxwiz::runner
