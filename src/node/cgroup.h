// Control groups, v1 and v2: what limits this process is under, and memory limits for attempts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cyxwiz::node {

// Where a controller keeps the files of this process's group.
struct CgroupPlace {
  int version = 0;     // 1 or 2
  std::string mount;   // "/sys/fs/cgroup/memory"
  std::string folder;  // mount, or a folder below it
};

// nullopt when the controller is not there. proc_cgroup and mountinfo: contents of
// /proc/self/cgroup and /proc/self/mountinfo.
std::optional<CgroupPlace> FindCgroup(std::string_view controller, const std::string& proc_cgroup,
                                      const std::string& mountinfo);
std::optional<CgroupPlace> FindCgroup(std::string_view controller);  // of this process

// Thousandths of a core from cpu.max ("150000 100000"); nullopt for "max" and for what is not one.
std::optional<int64_t> CpuMillisFromCpuMax(std::string_view text);

// The tightest limit on the way from this process's group up; nullopt when there is none.
std::optional<int64_t> CgroupCpuMillis();
std::optional<int64_t> CgroupMemoryBytes();

// One attempt's group. Destroying it removes the group; its processes must be gone.
class AttemptCgroup {
 public:
  explicit AttemptCgroup(std::string folder, bool v2) : folder_(std::move(folder)), v2_(v2) {}
  ~AttemptCgroup();
  AttemptCgroup(const AttemptCgroup&) = delete;
  AttemptCgroup& operator=(const AttemptCgroup&) = delete;

  Status AddProcess(pid_t pid);
  // How often the kernel killed a process of the group for want of memory.
  int64_t OomKills() const;

 private:
  std::string folder_;
  bool v2_;
};

// Gives each attempt a group with a memory limit, where the host lets us. Executor thread only.
class MemoryLimits {
 public:
  // Never fails: where no group can be made, enforced() is false and why() says why.
  static std::unique_ptr<MemoryLimits> Open();
  ~MemoryLimits();

  bool enforced() const { return !folder_.empty(); }
  const std::string& why() const { return why_; }
  // nullptr when not enforced or the group cannot be made. name: unique among present attempts.
  std::unique_ptr<AttemptCgroup> Create(const std::string& name, int64_t limit_bytes);

 private:
  std::string folder_;  // the parent of the attempts' groups
  std::string why_;
  bool v2_ = false;
  int64_t next_ = 1;
};

// Processes killed for want of memory on the whole machine since it started; 0 when not known.
int64_t MachineOomKills();

}  // namespace cyxwiz::node
