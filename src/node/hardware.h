// What this machine has, as far as this process may use it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cyxwiz::node {

struct Gpu {
  int index = 0;     // as the driver counts them, in the order of the PCI bus
  std::string uuid;  // empty: not known
  std::string name, driver_version, cuda_version;
  int64_t memory_total = 0, memory_free = 0;  // bytes
  int multiprocessors = 0;                    // 0: not known
  double compute_capability = 0;              // 9.0
  int pcie_generation = 0, pcie_lanes = 0;
  bool declared = false;  // by the node's settings: only its memory is known

  // Its name in CUDA_VISIBLE_DEVICES.
  std::string visible_name() const { return uuid.empty() ? std::to_string(index) : uuid; }
};

// Those that a CUDA_VISIBLE_DEVICES of this text leaves, in its order; what comes after something
// that names none is left out, as CUDA does.
std::vector<Gpu> VisibleGpus(const std::vector<Gpu>& gpus, std::string_view visible);

struct Hardware {
  int cores = 1;              // that the process may run on
  int64_t cpu_millis = 1000;  // cores, less when a cgroup's quota is tighter
  int64_t memory_total = 0;   // bytes; the machine's, less when a cgroup's limit is tighter
  std::string cpu_model;
  // Through NVML, those that this process's CUDA_VISIBLE_DEVICES leaves; empty without NVIDIA's
  // driver.
  std::vector<Gpu> gpus;
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
