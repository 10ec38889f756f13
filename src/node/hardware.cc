#include "node/hardware.h"

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "node/cgroup.h"

namespace cyxwiz::node {
namespace {

// The few functions of NVML that we call, by its stable C interface (nvml.h), found at run time so
// that one program serves machines with and without the driver.
class Nvml {
 public:
  static const Nvml& Get() {
    static const Nvml nvml;
    return nvml;
  }
  int Count() const {
    unsigned count = 0;
    return loaded_ && device_count_(&count) == 0 ? static_cast<int>(count) : 0;
  }
  Gpu Describe(int index) const {
    Gpu gpu;
    gpu.index = index;
    Device device = nullptr;
    if (handle_(static_cast<unsigned>(index), &device) != 0) return gpu;
    char text[96] = {};
    if (name_(device, text, sizeof text) == 0) gpu.name = text;
    char uuid[96] = {};
    if (uuid_ != nullptr && uuid_(device, uuid, sizeof uuid) == 0) gpu.uuid = uuid;
    Memory memory{};
    if (memory_(device, &memory) == 0) {
      gpu.memory_total = static_cast<int64_t>(memory.total);
      gpu.memory_free = static_cast<int64_t>(memory.free);
    }
    int major = 0, minor = 0;
    if (capability_ != nullptr && capability_(device, &major, &minor) == 0) {
      gpu.compute_capability = major + minor / 10.0;
    }
    unsigned number = 0;
    if (generation_ != nullptr && generation_(device, &number) == 0) {
      gpu.pcie_generation = static_cast<int>(number);
    }
    if (lanes_ != nullptr && lanes_(device, &number) == 0) {
      gpu.pcie_lanes = static_cast<int>(number);
    }
    char driver[96] = {};
    if (driver_ != nullptr && driver_(driver, sizeof driver) == 0) gpu.driver_version = driver;
    int cuda = 0;
    if (cuda_ != nullptr && cuda_(&cuda) == 0) {
      gpu.cuda_version = std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10);
    }
    return gpu;
  }
  double Usage(int index) const {
    Device device = nullptr;
    Utilization use{};
    if (usage_ == nullptr || handle_(static_cast<unsigned>(index), &device) != 0 ||
        usage_(device, &use) != 0) {
      return 0;
    }
    return use.gpu / 100.0;
  }

 private:
  using Device = void*;
  struct Memory {
    unsigned long long total, free, used;
  };
  struct Utilization {
    unsigned gpu, memory;
  };

  Nvml() {
    void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    auto find = [&](auto* target, const char* name) {
      *target = reinterpret_cast<std::remove_pointer_t<decltype(target)>>(::dlsym(library, name));
      return *target != nullptr;
    };
    int (*init)() = nullptr;
    bool found = find(&init, "nvmlInit_v2") && find(&device_count_, "nvmlDeviceGetCount_v2") &&
                 find(&handle_, "nvmlDeviceGetHandleByIndex_v2") &&
                 find(&name_, "nvmlDeviceGetName") && find(&memory_, "nvmlDeviceGetMemoryInfo");
    find(&capability_, "nvmlDeviceGetCudaComputeCapability");
    find(&generation_, "nvmlDeviceGetMaxPcieLinkGeneration");
    find(&lanes_, "nvmlDeviceGetMaxPcieLinkWidth");
    find(&driver_, "nvmlSystemGetDriverVersion");
    find(&cuda_, "nvmlSystemGetCudaDriverVersion_v2");
    find(&usage_, "nvmlDeviceGetUtilizationRates");
    find(&uuid_, "nvmlDeviceGetUUID");
    loaded_ = found && init() == 0;
  }

  bool loaded_ = false;
  int (*device_count_)(unsigned*) = nullptr;
  int (*handle_)(unsigned, Device*) = nullptr;
  int (*name_)(Device, char*, unsigned) = nullptr;
  int (*memory_)(Device, Memory*) = nullptr;
  int (*capability_)(Device, int*, int*) = nullptr;
  int (*generation_)(Device, unsigned*) = nullptr;
  int (*lanes_)(Device, unsigned*) = nullptr;
  int (*driver_)(char*, unsigned) = nullptr;
  int (*cuda_)(int*) = nullptr;
  int (*usage_)(Device, Utilization*) = nullptr;
  int (*uuid_)(Device, char*, unsigned) = nullptr;
};

// Bytes of a line "MemTotal:  1024 kB" of /proc/meminfo; 0 when absent.
int64_t MemInfo(const std::string& name) {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string key;
    int64_t kib = 0;
    if (words >> key >> kib && key == name + ":") return kib * 1024;
  }
  return 0;
}

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    size_t colon = line.find(':');
    if (line.starts_with("model name") && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "CPU";
}

int CoresOfAffinity() {
  // Machines with more than 1024 cores need a larger set; grow until the kernel is content.
  for (int cpus = 1024; cpus <= 1 << 16; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) break;
    size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    int count = ::sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

std::vector<Gpu> VisibleGpus(const std::vector<Gpu>& gpus, std::string_view visible) {
  std::vector<Gpu> left;
  while (!visible.empty()) {
    const size_t comma = std::min(visible.find(','), visible.size());
    const std::string_view name = visible.substr(0, comma);
    visible.remove_prefix(std::min(comma + 1, visible.size()));
    auto named = std::find_if(gpus.begin(), gpus.end(), [name](const Gpu& gpu) {
      return name == std::to_string(gpu.index) ||
             (name.starts_with("GPU-") && gpu.uuid.starts_with(name));
    });
    const bool again = named != gpus.end() &&
                       std::any_of(left.begin(), left.end(),
                                   [&](const Gpu& gpu) { return gpu.index == named->index; });
    if (named == gpus.end() || again) break;
    left.push_back(*named);
  }
  return left;
}

Hardware ProbeHardware() {
  Hardware hardware;
  hardware.cores = CoresOfAffinity();
  hardware.cpu_millis = int64_t{hardware.cores} * 1000;
  if (auto quota = CgroupCpuMillis()) {
    hardware.cpu_millis = std::max<int64_t>(100, std::min(hardware.cpu_millis, *quota));
  }
  hardware.memory_total = MemInfo("MemTotal");
  if (auto limit = CgroupMemoryBytes()) {
    hardware.memory_total = std::min(hardware.memory_total, *limit);
  }
  hardware.cpu_model = CpuModel();
  for (int i = 0; i < Nvml::Get().Count(); ++i) hardware.gpus.push_back(Nvml::Get().Describe(i));
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES"))
    hardware.gpus = VisibleGpus(hardware.gpus, visible);
  return hardware;
}

int64_t MemoryAvailable() {
  int64_t available = MemInfo("MemAvailable");
  if (auto limit = CgroupMemoryBytes()) available = std::min(available, *limit);
  return available;
}

double GpuUsage() {
  int count = Nvml::Get().Count();
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += Nvml::Get().Usage(i);
  return count == 0 ? 0 : sum / count;
}

UsageCounters ReadUsageCounters() {
  UsageCounters counters;
  std::ifstream stat("/proc/stat");
  std::string word;
  stat >> word;
  // user nice system idle iowait irq softirq steal
  for (int i = 0; i < 8; ++i) {
    int64_t ticks = 0;
    if (!(stat >> ticks)) break;
    counters.cpu_total += ticks;
    if (i != 3 && i != 4) counters.cpu_busy += ticks;
  }
  std::ifstream net("/proc/net/dev");
  for (std::string line; std::getline(net, line);) {
    size_t colon = line.find(':');
    if (colon == std::string::npos || line.find("lo:") != std::string::npos) continue;
    std::istringstream in(line.substr(colon + 1));
    int64_t value = 0;
    for (int i = 0; i < 9 && in >> value; ++i) {
      if (i == 0 || i == 8) counters.network_bytes += value;
    }
  }
  return counters;
}

}  // namespace cyxwiz::node
