// The control core: every decision about jobs, attempts, nodes and leases, and nothing else.
// Deterministic and single-threaded: no I/O, no clock, no randomness of its own; what it decides
// follows from its state, the commands and `now`.
//
//   commands ──► Apply(batch, now) ──► records (to be made durable) + effects (held back until they
//   are)
//
// The caller commits `records` as one transaction and only then carries out `effects` (replies
// among them). When the commit fails the process must end: the core's memory is ahead of the disk.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "control/archive.h"
#include "control/commands.h"
#include "control/records.h"

namespace cyxwiz::control {

struct Output {
  std::vector<Record> records;
  std::vector<Effect> effects;
};

// Whether jobs of a lower class make room for one that can start nowhere else.
struct PreemptionOptions {
  bool on = false;
  Duration min_run = std::chrono::minutes(1);  // an attempt that has run for less is left alone
  int32_t most = 3;                            // times that a job makes room
};

struct Options {
  Duration lease = std::chrono::seconds(10);  // of a node's attempts, from its last heartbeat
  Duration assign_timeout =
      std::chrono::seconds(10);  // an AssignJob without outcome counts as kUnreachable
  // Where jobs go that have ended, and how long they stay in memory first. nullptr: they stay.
  Archive* archive = nullptr;
  Duration keep_ended = std::chrono::minutes(1);
  Duration progress_flush =
      std::chrono::seconds(1);  // last progress values reach the store at least so often
  Duration retry_backoff =
      std::chrono::seconds(1);  // doubled at each further failure, at most retry_backoff_most
  Duration retry_backoff_most = std::chrono::seconds(60);
  // Of jobs with the same priority those of the project that has had the least of the fleet go
  // first, and within a project those of the user who has (scheduler/shares.h). Weights of users
  // ("ann") and of projects ("project:vision"); 1 for those that are not there.
  std::map<std::string, double> share_weights;
  // By owner: "user:ann", "project:vision".
  std::map<std::string, scheduler::Quota> quotas;
  Duration share_half_life = std::chrono::hours(24);
  // A waiting job gains one class of priority each time this has passed; zero: never.
  Duration ageing = std::chrono::hours(1);
  // A node is kept for the job that goes first once others have passed it by for so long.
  Duration hold_after = std::chrono::minutes(1);
  PreemptionOptions preemption;
  // In a row while they ran the same job: it is not tried again. One whose attempt wrote a
  // checkpoint, or ran for node_loss_reset, does not count as what takes its nodes down.
  int32_t max_nodes_lost = 3;
  Duration node_loss_reset = std::chrono::minutes(10);
  // When most nodes go silent at once, jobs that ran there wait for so long for half of them to
  // come back; zero: they do not wait.
  Duration mass_loss_hold = std::chrono::minutes(5);
  // So many jobs with different bodies that failed on a node without one that succeeded put it into
  // quarantine: nothing goes there but one job to probe it, after probe_wait, which doubles at each
  // probe that fails.
  int32_t quarantine_failures = 3;
  Duration probe_wait = std::chrono::minutes(5);
  Duration probe_wait_most = std::chrono::hours(1);
  int64_t cancelled_at_once = 1000;  // jobs in one batch; more are cancelled in later ones
  int64_t max_nodes = 10'000;        // RegisterNode beyond it: RESOURCE_EXHAUSTED
  // A node that has been offline for so long is forgotten, unless it is cordoned; zero: never.
  Duration forget_nodes_after = std::chrono::hours(24 * 30);
  int64_t max_queued = 1'000'000;  // SubmitJob beyond it: RESOURCE_EXHAUSTED
  int64_t max_events = 1'000'000;  // kept; the oldest go first
  int64_t max_removed = 10'000;    // deleted jobs that are remembered (RemovedJob), the newest
};

struct Counters {
  int64_t jobs_by_state[8] = {};  // indexed by JobState
  int64_t nodes_online = 0, nodes_known = 0;
  int64_t mass_loss = 0;  // 1 while jobs wait for most of the nodes to come back
  int64_t submitted = 0, succeeded = 0, failed = 0, cancelled = 0, attempts_started = 0,
          attempts_lost = 0;
};

class Control {
 public:
  explicit Control(Options options);
  ~Control();

  // Called once, before the first Apply. Attempts that were Assigned or Running keep their node,
  // which has one lease from `now` to come back and claim them.
  void Load(Snapshot snapshot, Now now);

  // Applies the commands in order, then fires deadlines that are due, then schedules. Appends to
  // `output`.
  void Apply(std::span<Command> batch, Now now, Output* output);

  // The whole state between two batches as bytes, for Restore: what it decides from then on follows
  // from it and from what Apply is given. Equal states are written alike. Appends.
  void Save(std::string* state) const;
  // archive: as in Options, which the state has with it. DATA_LOSS: it was not written by Save of
  // the same version.
  static Result<std::unique_ptr<Control>> Restore(std::string_view state, Archive* archive);

  // What Apply would answer to the heartbeat: OK, or why its node has to register again.
  Status CheckSession(const Heartbeat& beat) const;

  // When Apply must be called next though no command came; Never() when nothing is pending.
  MonotonicTime NextDeadline() const;

  Counters counters() const;
  // The files (SHA-256 in hex) that the checkpoints of all jobs consist of.
  std::vector<std::string> checkpoint_files() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cyxwiz::control
