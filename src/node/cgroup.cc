#include "node/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sstream>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/logging.h"
#include "base/text.h"

namespace cyxwiz::node {
namespace {

constexpr char kGroupPrefix[] = "cyxwiz-node-";

std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::optional<std::string> ReadTrimmed(const std::string& path) {
  Result<std::string> content = ReadFile(path, 1 << 20);
  if (!content.ok()) return std::nullopt;
  return Trimmed(std::move(*content));
}

std::optional<int64_t> ReadNumber(const std::string& path) {
  auto text = ReadTrimmed(path);
  return text ? ParseInt(*text) : std::nullopt;
}

Status WriteValue(const std::string& path, const std::string& value) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus("cannot open '" + path + "'", errno);
  Status written = WriteAll(fd.get(), value);
  if (!written.ok()) return Status(written.code(), "'" + path + "': " + written.message());
  return OkStatus();
}

bool HasWord(const std::string& text, std::string_view word, char separator) {
  std::stringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    if (part == word) return true;
  }
  return false;
}

// The value after `key` in a file of lines "key value".
int64_t ReadKey(const std::string& path, const std::string& key) {
  auto text = ReadTrimmed(path);
  if (!text) return 0;
  std::istringstream lines(*text);
  std::string name, value;
  while (lines >> name >> value) {
    if (name == key) return ParseInt(value).value_or(0);
  }
  return 0;
}

// Calls visit(folder) for the process's group and each group above it.
template <typename Visit>
void Walk(const CgroupPlace& place, Visit visit) {
  std::string folder = place.folder;
  for (;;) {
    visit(folder);
    if (folder.size() <= place.mount.size()) return;
    folder.erase(folder.rfind('/'));
  }
}

Status LimitMemory(const std::string& folder, bool v2, int64_t bytes) {
  const std::string limit = std::to_string(bytes);
  RETURN_IF_ERROR(WriteValue(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"), limit));
  // Without swap in the sum a job over its limit would crawl instead of ending; both may be absent.
  Status swap = v2 ? WriteValue(folder + "/memory.swap.max", "0")
                   : WriteValue(folder + "/memory.memsw.limit_in_bytes", limit);
  (void)swap;
  return OkStatus();
}

// How much of a core that others want too a group gets: as one thread for each of these cores.
Status WeighCpu(const std::string& folder, bool v2, int64_t millis) {
  return v2 ? WriteValue(folder + "/cpu.weight",
                         std::to_string(std::clamp<int64_t>(millis / 10, 1, 10'000)))
            : WriteValue(folder + "/cpu.shares",
                         std::to_string(std::clamp<int64_t>(millis * 1024 / 1000, 2, 1 << 18)));
}

constexpr int64_t kLeastCpuMillis = 10;  // the kernel's: 1 ms of each 100

// So much time of a core in each tenth of a second.
Status LimitCpu(const std::string& folder, bool v2, int64_t millis) {
  constexpr int64_t kPeriod = 100'000;  // microseconds
  const std::string quota = std::to_string(std::max(kLeastCpuMillis, millis) * kPeriod / 1000),
                    period = std::to_string(kPeriod);
  RETURN_IF_ERROR(WeighCpu(folder, v2, millis));
  if (v2) return WriteValue(folder + "/cpu.max", quota + " " + period);
  RETURN_IF_ERROR(WriteValue(folder + "/cpu.cfs_period_us", period));
  return WriteValue(folder + "/cpu.cfs_quota_us", quota);
}

void Tighten(std::optional<int64_t>* limit, std::optional<int64_t> other) {
  if (other && (!*limit || *other < **limit)) *limit = other;
}

}  // namespace

std::optional<CgroupPlace> FindCgroup(std::string_view controller, const std::string& proc_cgroup,
                                      const std::string& mountinfo) {
  // /proc/self/cgroup: "4:memory:/path" for v1, "0::/path" for v2.
  std::optional<std::string> v1_path, v2_path;
  std::istringstream groups(proc_cgroup);
  for (std::string line; std::getline(groups, line);) {
    size_t first = line.find(':');
    size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string names = line.substr(first + 1, second - first - 1);
    if (names.empty()) v2_path = line.substr(second + 1);
    if (HasWord(names, controller, ',')) v1_path = line.substr(second + 1);
  }
  // mountinfo: id parent major:minor root mount-point options [tags] - type source super-options
  std::istringstream mounts(mountinfo);
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream in(line);
    std::string id, parent, device, root, mount, word, type, source, super_options;
    in >> id >> parent >> device >> root >> mount;
    while (in >> word && word != "-") {
    }
    in >> type >> source >> super_options;
    bool v1 = type == "cgroup" && v1_path && HasWord(super_options, controller, ',');
    bool v2 = type == "cgroup2" && !v1_path && v2_path;
    if (!v1 && !v2) continue;
    std::string path = v1 ? *v1_path : *v2_path;
    // Inside a container the mount shows only a part of the tree.
    if (root != "/" && path.starts_with(root)) path.erase(0, root.size());
    if (path == "/") path.clear();
    return CgroupPlace{v1 ? 1 : 2, mount, mount + path};
  }
  return std::nullopt;
}

std::optional<CgroupPlace> FindCgroup(std::string_view controller) {
  auto groups = ReadTrimmed("/proc/self/cgroup");
  auto mounts = ReadTrimmed("/proc/self/mountinfo");
  if (!groups || !mounts) return std::nullopt;
  auto place = FindCgroup(controller, *groups, *mounts);
  if (!place) return std::nullopt;
  if (::access(place->folder.c_str(), R_OK | X_OK) != 0) place->folder = place->mount;
  if (place->version == 2) {
    auto controllers = ReadTrimmed(place->folder + "/cgroup.controllers");
    if (!controllers || !HasWord(*controllers, controller, ' ')) return std::nullopt;
  }
  return place;
}

std::optional<int64_t> CpuMillisFromCpuMax(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::string quota, period;
  in >> quota >> period;
  auto q = ParseInt(quota), p = ParseInt(period);
  if (!q || !p || *q <= 0 || *p <= 0) return std::nullopt;
  return *q * 1000 / *p;
}

std::optional<int64_t> CgroupCpuMillis() {
  auto place = FindCgroup("cpu");
  std::optional<int64_t> limit;
  if (!place) return limit;
  Walk(*place, [&](const std::string& folder) {
    if (place->version == 2) {
      if (auto text = ReadTrimmed(folder + "/cpu.max")) Tighten(&limit, CpuMillisFromCpuMax(*text));
    } else {
      auto quota = ReadNumber(folder + "/cpu.cfs_quota_us");
      auto period = ReadNumber(folder + "/cpu.cfs_period_us");
      if (quota && period && *quota > 0 && *period > 0) Tighten(&limit, *quota * 1000 / *period);
    }
  });
  return limit;
}

std::optional<int64_t> CgroupMemoryBytes() {
  auto place = FindCgroup("memory");
  std::optional<int64_t> limit;
  if (!place) return limit;
  Walk(*place, [&](const std::string& folder) {
    auto bytes =
        ReadNumber(folder + (place->version == 2 ? "/memory.max" : "/memory.limit_in_bytes"));
    // v1 writes "no limit" as the largest multiple of the page size.
    if (bytes && *bytes > 0 && *bytes < INT64_MAX / 2) Tighten(&limit, bytes);
  });
  return limit;
}

AttemptCgroup::~AttemptCgroup() {
  for (const std::string& folder : folders_) ::rmdir(folder.c_str());
}

Status AttemptCgroup::AddProcess(pid_t pid) {
  for (const std::string& folder : folders_)
    RETURN_IF_ERROR(WriteValue(folder + "/cgroup.procs", std::to_string(pid)));
  return OkStatus();
}

int64_t AttemptCgroup::OomKills() const { return ReadKey(oom_file_, "oom_kill"); }

AttemptLimits::Parent AttemptLimits::MakeParent(const char* controller,
                                                Status (*try_limit)(const std::string&, bool)) {
  Parent parent;
  auto place = FindCgroup(controller);
  if (!place) {
    parent.why = "the " + std::string(controller) + " controller of cgroups is not available";
    return parent;
  }
  parent.v2 = place->version == 2;
  // Groups that a killed node of an earlier run left.
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(place->folder, error)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(kGroupPrefix)) continue;
    auto pid = ParseInt(name.substr(sizeof kGroupPrefix - 1));
    if (!pid || ::kill(static_cast<pid_t>(*pid), 0) == 0 || errno != ESRCH) continue;
    std::vector<std::string> inner;
    for (const auto& child : std::filesystem::directory_iterator(entry.path(), error)) {
      if (child.is_directory(error)) inner.push_back(child.path().string());
    }
    for (const std::string& folder : inner) ::rmdir(folder.c_str());
    ::rmdir(entry.path().c_str());
  }
  const std::string folder = place->folder + "/" + kGroupPrefix + std::to_string(::getpid());
  // With version 2 it may be there for another controller.
  const bool made = ::mkdir(folder.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) {
    parent.why = ErrnoStatus("cannot make the group '" + folder + "'", errno).message();
    return parent;
  }
  Status ready = OkStatus();
  if (parent.v2) {
    // Only a group without processes of its own may hand controllers down, so this works where the
    // node was started in a group whose parent already does (a systemd slice with Delegate=yes).
    ready = WriteValue(folder + "/cgroup.subtree_control", "+" + std::string(controller));
  }
  const std::string probe = folder + "/probe";
  if (ready.ok() && ::mkdir(probe.c_str(), 0755) != 0)
    ready = ErrnoStatus("cannot make the group '" + probe + "'", errno);
  if (ready.ok()) {
    ready = try_limit(probe, parent.v2);
    ::rmdir(probe.c_str());
  }
  if (ready.ok()) {
    parent.folder = folder;
  } else {
    parent.why = ready.message();
    if (made) ::rmdir(folder.c_str());
  }
  return parent;
}

std::unique_ptr<AttemptLimits> AttemptLimits::Open() {
  auto limits = std::make_unique<AttemptLimits>();
  limits->memory_ = MakeParent("memory", [](const std::string& folder, bool v2) {
    return LimitMemory(folder, v2, int64_t{1} << 30);
  });
  limits->cpu_ = MakeParent("cpu", [](const std::string& folder, bool v2) {
    return LimitCpu(folder, v2, kLeastCpuMillis);
  });
  limits->most_cpu_millis_ = CgroupCpuMillis();
  if (limits->hold_cpu()) {
    // Else all attempts together would weigh as much as one thread of another program.
    const int64_t cores = static_cast<int64_t>(std::thread::hardware_concurrency());
    Status weighed = WeighCpu(limits->cpu_.folder, limits->cpu_.v2, 1000 * cores);
    if (!weighed.ok()) spdlog::warn("attempts get less of a busy machine: {}", weighed.message());
  }
  return limits;
}

AttemptLimits::~AttemptLimits() {
  for (const Parent* parent : {&memory_, &cpu_}) {
    if (!parent->folder.empty()) ::rmdir(parent->folder.c_str());
  }
}

std::unique_ptr<AttemptCgroup> AttemptLimits::Create(const std::string& name, int64_t memory_bytes,
                                                     int64_t cpu_millis) {
  const std::string unique = "/" + name + "-" + std::to_string(next_++);
  auto group = std::make_unique<AttemptCgroup>();
  auto folder_in = [&](const Parent& parent) -> std::string {
    std::string folder = parent.folder + unique;
    if (!group->folders_.empty() && group->folders_.back() == folder) return folder;
    if (::mkdir(folder.c_str(), 0755) != 0) return "";
    group->folders_.push_back(folder);
    return folder;
  };
  if (hold_memory() && memory_bytes > 0) {
    const std::string folder = folder_in(memory_);
    if (folder.empty() || !LimitMemory(folder, memory_.v2, memory_bytes).ok()) return nullptr;
    group->oom_file_ = folder + (memory_.v2 ? "/memory.events" : "/memory.oom_control");
  }
  if (hold_cpu() && cpu_millis > 0) {
    // With version 1 a group may not be given more than those above it.
    const int64_t millis = std::min(cpu_millis, most_cpu_millis_.value_or(cpu_millis));
    const std::string folder = folder_in(cpu_);
    Status limited = folder.empty() ? ErrnoStatus("cannot make a group", errno)
                                    : LimitCpu(folder, cpu_.v2, millis);
    // Its memory is limited all the same.
    if (!limited.ok()) spdlog::warn("{} is not held to its cores: {}", name, limited.message());
  }
  return group->folders_.empty() ? nullptr : std::move(group);
}

int64_t MachineOomKills() { return ReadKey("/proc/vmstat", "oom_kill"); }

}  // namespace cyxwiz::node
