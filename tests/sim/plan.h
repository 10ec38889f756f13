// What a seed stands for: a cluster, its settings, and a list of what clients do and what breaks.
// The list can be cut shorter, which is how a failure is made small.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/resources.h"
#include "control/control.h"
#include "sim/network.h"

namespace cyxwiz::sim {

// What clients do, then what breaks. To add one: a name in kActionNames, its place in MakePlan, and
// what it does in World::Do.
enum class ActionKind {
  kSubmit,
  kCancel,
  kRemove,
  kGet,
  kList,
  kListNodes,
  kPause,
  kResume,
  kSetPriority,
  kRetry,
  kCancelMany,
  kExplain,
  kPlan,
  kCordon,  // or drains, or neither any more
  kForget,  // a node

  kServerKill,          // the process alone
  kServerKillInCommit,  // at one of its next operations on the disk
  kPowerLoss,           // with all that was not synced
  kPowerLossInCommit,
  kServerStop,  // in order
  kServerFreeze,
  kDiskFull,
  kDiskError,
  kNodeKill,
  kNodeStop,    // in order: attempts are stopped and reported
  kNodeFreeze,  // its runners go on
  kMachineFreeze,
  kRunnersCrash,
  kCut,  // one way or both, one node or several
  kClockJump,
};
inline constexpr const char* kActionNames[] = {
    "submit",
    "cancel",
    "remove",
    "get",
    "list",
    "list-nodes",
    "pause",
    "resume",
    "set-priority",
    "retry",
    "cancel-many",
    "explain",
    "plan",
    "cordon",
    "forget",
    "server-kill",
    "commit-kill",
    "power-loss",
    "commit-power-loss",
    "server-stop",
    "server-freeze",
    "disk-full",
    "disk-error",
    "node-kill",
    "node-stop",
    "node-freeze",
    "machine-freeze",
    "runners-crash",
    "cut",
    "clock-jump",
};
static_assert(std::size(kActionNames) == static_cast<size_t>(ActionKind::kClockJump) + 1);
inline bool IsFault(ActionKind kind) { return kind >= ActionKind::kServerKill; }

struct Action {
  Duration at;  // since the beginning
  ActionKind kind = ActionKind::kGet;
  int64_t who = 0;     // client, or node
  int64_t target = 0;  // number of a job
  std::string job;     // its id, when it is not made from target
  int64_t n = 0;       // see World::Do and Client::Try
  Duration length = Duration::zero();
  std::string ToString() const;
};

struct RunnerOptions {
  Duration least = std::chrono::milliseconds(50), most = std::chrono::seconds(5);  // of an attempt
  double crash = 0, fail = 0;  // fail: with a cause of any kind
  double ignores_stop = 0, ignores_term = 0;
};

struct Plan {
  uint64_t seed = 0;
  control::Options control;
  Duration heartbeat;
  Duration retry_commit;
  Duration commit_time;  // at most; of one transaction
  Duration token_lifetime;
  int64_t max_batch = 0;
  int64_t checkpoint_pages = 0;
  int64_t reserve_bytes = 0;
  int64_t body_bytes = 0;
  bool quota_like = false;
  bool copies_on_write = false;
  std::vector<Resources> nodes;
  int64_t clients = 1;
  NetworkOptions network;
  RunnerOptions runner;
  int64_t most_drift_ppm = 0;
  Duration chaos;               // faults end after it
  std::vector<Action> actions;  // in order of time
};

Plan MakePlan(uint64_t seed);

}  // namespace cyxwiz::sim
