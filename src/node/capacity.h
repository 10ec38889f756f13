// What the node gives to attempts, and to which.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/resources.h"
#include "base/status.h"

namespace cyxwiz::node {

// Exact book-keeping, of each GPU too; no I/O. One thread.
class Capacity {
 public:
  explicit Capacity(const Resources& total) : total_(total), free_(total) {}

  // Gives it the GPUs that `wanted` names or, when it asks for some without naming them, chooses
  // them. RESOURCE_EXHAUSTED, with the numbers, when it does not fit; INVALID_ARGUMENT when what is
  // named is not what is asked for. The attempt must not hold any yet.
  Status Reserve(const AttemptId& attempt, const Resources& wanted) {
    if (!HasRoom(total_, total_, wanted)) {
      return ResourceExhausted("the attempt needs " + ToString(wanted) + "; this node gives " +
                               ToString(total_) + " in all" + GpusOf(total_, wanted));
    }
    if (!HasRoom(free_, total_, wanted)) {
      return ResourceExhausted("the attempt needs " + ToString(wanted) +
                               "; free on this node: " + ToString(free_) + GpusOf(free_, wanted));
    }
    RETURN_IF_ERROR(CheckNamed(wanted));
    Resources held = wanted.gpus->empty() ? Placed(free_, total_, wanted) : wanted;
    free_ -= held;
    held_[attempt] = std::move(held);
    return OkStatus();
  }
  // Fine when the attempt holds nothing.
  void Release(const AttemptId& attempt) {
    auto found = held_.find(attempt);
    if (found == held_.end()) return;
    free_ += found->second;
    held_.erase(found);
  }
  // What the attempt holds of them; empty: nothing.
  std::vector<GpuPart> GpusOf(const AttemptId& attempt) const {
    auto found = held_.find(attempt);
    return found == held_.end() ? std::vector<GpuPart>() : *found->second.gpus;
  }
  const Resources& total() const { return total_; }
  const Resources& available() const { return free_; }

 private:
  Status CheckNamed(const Resources& wanted) const {
    if (wanted.gpus->empty()) return OkStatus();
    // Each of them is there and has as much free, or there was no room.
    const bool whole = wanted.gpu_millis >= kWholeGpu;
    bool sound = whole || wanted.gpus->size() == 1;
    int64_t millis = 0;
    int32_t last = -1;
    for (const GpuPart& part : *wanted.gpus) {
      auto of = [&part](const GpuPart& one) { return one.index == part.index; };
      auto all = std::find_if(total_.gpus->begin(), total_.gpus->end(), of);
      auto free = std::find_if(free_.gpus->begin(), free_.gpus->end(), of);
      sound &= part.index > last && part.millis >= 0 &&
               part.memory_bytes >= wanted.gpu_memory_bytes &&
               (!whole || (part.millis == kWholeGpu && *all == *free));
      millis += part.millis;
      last = part.index;
    }
    if (sound && millis == wanted.gpu_millis) return OkStatus();
    return InvalidArgument("the attempt needs " + ToString(wanted) +
                           ", and is given something else: " + ToString(*wanted.gpus));
  }
  static std::string GpusOf(const Resources& amount, const Resources& wanted) {
    return wanted.AsksForGpu() ? " (" + ToString(*amount.gpus) + ")" : "";
  }

  Resources total_, free_;
  std::map<AttemptId, Resources> held_;
};

}  // namespace cyxwiz::node
