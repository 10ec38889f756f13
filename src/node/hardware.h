// What this machine has, as far as this process may use it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cyxwiz::node {

struct Gpu {
  std::string name, driver_version, cuda_version;
  int64_t memory_total = 0, memory_free = 0;  // bytes
  int multiprocessors = 0;                    // 0: not known
  double compute_capability = 0;              // 9.0
  int pcie_generation = 0, pcie_lanes = 0;
};

struct Hardware {
  int cores = 1;              // that the process may run on
  int64_t cpu_millis = 1000;  // cores, less when a cgroup's quota is tighter
  int64_t memory_total = 0;   // bytes; the machine's, less when a cgroup's limit is tighter
  std::string cpu_model;
  std::vector<Gpu> gpus;  // through NVML; empty without NVIDIA's driver
};

// Asks the machine. Loads NVIDIA's library when it is there.
Hardware ProbeHardware();

// Bytes that could be used now without swapping; never more than a cgroup leaves.
int64_t MemoryAvailable();

// Mean use of all GPUs now, 0.0 to 1.0; 0 without one.
double GpuUsage();

// Counters of the whole machine since it started.
struct UsageCounters {
  int64_t cpu_busy = 0, cpu_total = 0;  // ticks
  int64_t network_bytes = 0;            // sent and received, without loopback
};
UsageCounters ReadUsageCounters();

}  // namespace cyxwiz::node
