#include "node/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sstream>
#include <vector>

#include "base/file.h"
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

AttemptCgroup::~AttemptCgroup() { ::rmdir(folder_.c_str()); }

Status AttemptCgroup::AddProcess(pid_t pid) {
  return WriteValue(folder_ + "/cgroup.procs", std::to_string(pid));
}

int64_t AttemptCgroup::OomKills() const {
  return ReadKey(folder_ + (v2_ ? "/memory.events" : "/memory.oom_control"), "oom_kill");
}

std::unique_ptr<MemoryLimits> MemoryLimits::Open() {
  auto limits = std::make_unique<MemoryLimits>();
  auto place = FindCgroup("memory");
  if (!place) {
    limits->why_ = "the memory controller of cgroups is not available";
    return limits;
  }
  limits->v2_ = place->version == 2;
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
  std::string folder = place->folder + "/" + kGroupPrefix + std::to_string(::getpid());
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    limits->why_ = ErrnoStatus("cannot make the group '" + folder + "'", errno).message();
    return limits;
  }
  Status ready = OkStatus();
  if (limits->v2_) {
    // Only a group without processes of its own may hand controllers down, so this works where the
    // node was started in a group whose parent already does (a systemd slice with Delegate=yes).
    ready = WriteValue(folder + "/cgroup.subtree_control", "+memory");
  }
  limits->folder_ = folder;
  if (ready.ok() && limits->Create("probe", int64_t{1} << 30) == nullptr) {
    ready = FailedPrecondition("cannot set a memory limit below '" + folder + "'");
  }
  if (!ready.ok()) {
    limits->why_ = ready.message();
    limits->folder_.clear();
    ::rmdir(folder.c_str());
  }
  return limits;
}

MemoryLimits::~MemoryLimits() {
  if (!folder_.empty()) ::rmdir(folder_.c_str());
}

std::unique_ptr<AttemptCgroup> MemoryLimits::Create(const std::string& name, int64_t limit_bytes) {
  if (!enforced()) return nullptr;
  std::string folder = folder_ + "/" + name + "-" + std::to_string(next_++);
  if (::mkdir(folder.c_str(), 0755) != 0) return nullptr;
  auto group = std::make_unique<AttemptCgroup>(folder, v2_);
  std::string limit = std::to_string(limit_bytes);
  if (!WriteValue(folder + (v2_ ? "/memory.max" : "/memory.limit_in_bytes"), limit).ok()) {
    return nullptr;
  }
  // Without swap in the sum a job over its limit would crawl instead of ending; both may be absent.
  Status swap = v2_ ? WriteValue(folder + "/memory.swap.max", "0")
                    : WriteValue(folder + "/memory.memsw.limit_in_bytes", limit);
  (void)swap;
  return group;
}

int64_t MachineOomKills() { return ReadKey("/proc/vmstat", "oom_kill"); }

}  // namespace cyxwiz::node
