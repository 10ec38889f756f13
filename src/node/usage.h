// The load of this machine over the last while, for GetNodeMetrics.
#pragma once

#include <deque>
#include <vector>

#include "base/clock.h"
#include "node/hardware.h"

namespace cyxwiz::node {

// One moment: shares are 0.0 to 1.0 of the machine.
struct UsageSample {
  UnixTime time;
  double cpu = 0, memory = 0, gpu = 0;
  double network_bytes_per_second = 0;
};

// Executor thread only.
class UsageHistory {
 public:
  static constexpr size_t kMost = 1200;  // one hour at a heartbeat every 3 s

  // The first call only sets where counting begins.
  void Add(Now now, const UsageCounters& counters, double memory, double gpu) {
    if (last_time_.ns != 0 && now.monotonic > last_time_) {
      double seconds = std::chrono::duration<double>(now.monotonic - last_time_).count();
      int64_t total = counters.cpu_total - last_.cpu_total;
      UsageSample sample{now.unix, 0, memory, gpu, 0};
      if (total > 0) {
        sample.cpu =
            static_cast<double>(counters.cpu_busy - last_.cpu_busy) / static_cast<double>(total);
      }
      sample.network_bytes_per_second =
          static_cast<double>(counters.network_bytes - last_.network_bytes) / seconds;
      samples_.push_back(sample);
      if (samples_.size() > kMost) samples_.pop_front();
    }
    last_ = counters;
    last_time_ = now.monotonic;
  }
  // Samples from `start` to `end`, both included, Unix seconds; end 0 means now.
  std::vector<UsageSample> Between(int64_t start, int64_t end) const {
    std::vector<UsageSample> found;
    for (const UsageSample& sample : samples_) {
      int64_t second = sample.time.seconds();
      if (second >= start && (end == 0 || second <= end)) found.push_back(sample);
    }
    return found;
  }

 private:
  std::deque<UsageSample> samples_;
  UsageCounters last_;
  MonotonicTime last_time_;
};

}  // namespace cyxwiz::node
