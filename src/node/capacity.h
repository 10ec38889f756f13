// What the node gives to attempts, and to which.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/resources.h"
#include "base/status.h"

namespace cyxwiz::node {

// Exact book-keeping, no I/O. One thread.
class Capacity {
 public:
  explicit Capacity(const Resources& total) : total_(total), free_(total) {
    for (int64_t i = 0; i < total.gpus; ++i) free_gpus_.insert(static_cast<int>(i));
  }

  // RESOURCE_EXHAUSTED, with the numbers, when it does not fit. The attempt must not hold any yet.
  Status Reserve(const AttemptId& attempt, const Resources& wanted) {
    if (!total_.Holds(wanted)) {
      return ResourceExhausted("the attempt needs " + ToString(wanted) + "; this node gives " +
                               ToString(total_) + " in all");
    }
    if (!free_.Holds(wanted)) {
      return ResourceExhausted("the attempt needs " + ToString(wanted) +
                               "; free on this node: " + ToString(free_));
    }
    Share share{wanted, {}};
    for (int64_t i = 0; i < wanted.gpus; ++i) {
      share.gpus.push_back(*free_gpus_.begin());
      free_gpus_.erase(free_gpus_.begin());
    }
    free_ = free_ - wanted;
    shares_[attempt] = std::move(share);
    return OkStatus();
  }
  // Fine when the attempt holds nothing.
  void Release(const AttemptId& attempt) {
    auto found = shares_.find(attempt);
    if (found == shares_.end()) return;
    free_ = free_ + found->second.resources;
    free_gpus_.insert(found->second.gpus.begin(), found->second.gpus.end());
    shares_.erase(found);
  }
  // Indices of the devices that the attempt holds.
  std::vector<int> GpusOf(const AttemptId& attempt) const {
    auto found = shares_.find(attempt);
    return found == shares_.end() ? std::vector<int>() : found->second.gpus;
  }
  const Resources& total() const { return total_; }
  const Resources& available() const { return free_; }

 private:
  struct Share {
    Resources resources;
    std::vector<int> gpus;
  };
  Resources total_, free_;
  std::set<int> free_gpus_;
  std::map<AttemptId, Share> shares_;
};

}  // namespace cyxwiz::node
