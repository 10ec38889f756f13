// What a job needs and what a node has: exact integers, so that sums never drift.
#pragma once

#include <cstdint>
#include <string>

namespace cyxwiz {

struct Resources {
  int64_t cpu_millis = 0;  // thousandths of a core
  int64_t memory_bytes = 0;
  int64_t gpus = 0;  // whole devices

  bool operator==(const Resources&) const = default;

  // Whether `other` fits into this.
  bool Holds(const Resources& other) const {
    return other.cpu_millis <= cpu_millis && other.memory_bytes <= memory_bytes &&
           other.gpus <= gpus;
  }
  Resources operator+(const Resources& o) const {
    return {cpu_millis + o.cpu_millis, memory_bytes + o.memory_bytes, gpus + o.gpus};
  }
  Resources operator-(const Resources& o) const {
    return {cpu_millis - o.cpu_millis, memory_bytes - o.memory_bytes, gpus - o.gpus};
  }
  bool IsNegative() const { return cpu_millis < 0 || memory_bytes < 0 || gpus < 0; }
};

// "2 cores, 512 MiB" or "1.5 cores, 8.0 GiB, 1 GPU"
std::string ToString(const Resources& resources);
// "512 MiB", "1.5 GiB", "17 bytes"
std::string FormatBytes(int64_t bytes);

}  // namespace cyxwiz
