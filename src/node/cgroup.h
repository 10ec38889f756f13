// Control groups, v1 and v2: what limits this process is under, and those of attempts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

// One attempt's groups: one, or with version 1 one for each controller. Destroying it removes them;
// its processes must be gone.
class AttemptCgroup {
 public:
  AttemptCgroup() = default;
  ~AttemptCgroup();
  AttemptCgroup(const AttemptCgroup&) = delete;
  AttemptCgroup& operator=(const AttemptCgroup&) = delete;

  Status AddProcess(pid_t pid);
  bool limits_memory() const { return !oom_file_.empty(); }
  // How often the kernel killed a process of the group for want of memory.
  int64_t OomKills() const;

 private:
  friend class AttemptLimits;
  std::vector<std::string> folders_;
  std::string oom_file_;  // empty: its memory is not limited
};

// Gives each attempt groups that hold it to its memory and its cores, where the host lets us.
// Executor thread only.
class AttemptLimits {
 public:
  // Never fails: where no group can be made, nothing is held, and the why_ functions say why.
  static std::unique_ptr<AttemptLimits> Open();
  ~AttemptLimits();

  bool hold_memory() const { return !memory_.folder.empty(); }
  bool hold_cpu() const { return !cpu_.folder.empty(); }
  const std::string& why_no_memory() const { return memory_.why; }
  const std::string& why_no_cpu() const { return cpu_.why; }
  // name: unique among present attempts; 0: of that no limit. nullptr when nothing is held or a
  // group cannot be made.
  std::unique_ptr<AttemptCgroup> Create(const std::string& name, int64_t memory_bytes,
                                        int64_t cpu_millis);

 private:
  // Where the attempts' groups of one controller are made.
  struct Parent {
    std::string folder;  // empty: nowhere
    std::string why;
    bool v2 = false;
  };
  // try_limit: sets a limit in a group's folder, to see whether that works.
  static Parent MakeParent(const char* controller,
                           Status (*try_limit)(const std::string& folder, bool v2));

  Parent memory_, cpu_;
  std::optional<int64_t> most_cpu_millis_;  // that the groups above allow
  int64_t next_ = 1;
};

// Processes killed for want of memory on the whole machine since it started; 0 when not known.
int64_t MachineOomKills();

}  // namespace cyxwiz::node
