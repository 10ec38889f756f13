// What must hold, whatever happens. The checker keeps a copy of what the store has acknowledged and
// compares everything with it: what the store gives back after a crash, what replies say, what
// counters count, what runs on nodes. The first breach is thrown as Broken.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "control/control.h"
#include "store/job_store.h"

namespace cyxwiz::sim {

// An invariant that did not hold. `invariant` is one of a few fixed names.
struct Broken {
  std::string invariant;
  std::string message;
};
[[noreturn]] inline void Break(std::string invariant, std::string message) {
  throw Broken{std::move(invariant), std::move(message)};
}

// "gang=node1,node0(ended)"
std::string Describe(const control::Gang& gang);
// What an attempt's log ends with.
std::string LastLineOf(const AttemptId& attempt);

// A runner that executes now.
struct Execution {
  AttemptId attempt;
  NodeId node;
  Resources resources;
  int64_t sequence = 0;  // of the job it was given for
};

class Checker {
 public:
  struct State {
    std::map<JobId, control::Job> jobs;
    std::map<int64_t, std::shared_ptr<const control::JobBody>> bodies;
    std::map<NodeId, control::Node> nodes;
    std::map<JobId, control::RemovedJob> removed;
    std::map<int64_t, control::Event> events;
    std::map<int64_t, control::Cancellation> cancellations;
  };

  explicit Checker(const control::Options& options) : options_(options) {}

  // ---- The store
  // The server takes a RemoveJob into its next batch.
  void Removing(const JobId& id);
  void Committing(std::span<const control::Record> records);
  // ok: durable. RESOURCE_EXHAUSTED: not stored. Another error: not known before the next Loaded.
  void Committed(const Status& status);
  // A server has begun, with this from the store; events: all.
  void Loaded(const control::Snapshot& snapshot, const std::vector<control::Event>& events);

  // By control's clock, which stands still while the disk is full, a batch begins.
  void Begin(MonotonicTime clock) { clock_ = clock; }

  // ---- What leaves the server. To be called after the commit that it rests on.
  // alone: the command was the only one of its batch. unchanged: the batch has no records. Both:
  // while the disk is full.
  void Replied(const control::Command& command, const control::Reply& reply, bool alone,
               bool unchanged);
  void Assigned(const control::AssignEffect& effect);
  void Told(const control::Event& event);
  // The server has given up the node, which has its lease or not.
  void CheckLost(const NodeId& node, bool has_lease) const;
  // After a batch that is durable.
  void Counted(const control::Counters& counters);
  // Something runs, so something must be pending.
  void CheckDeadline(MonotonicTime deadline, MonotonicTime latest) const;

  // ---- Nodes
  // A runner has come to the end of its work; the name of its result, which no other has.
  std::string Result(const Execution& execution);
  void CheckExecutions(const std::vector<Execution>& executions,
                       const std::map<NodeId, Resources>& capacities, MonotonicTime now);

  const State& state() const { return state_; }
  bool AllEnded() const;
  // Of everything that happened so far.
  uint64_t hash() const { return hash_; }
  void Fold(std::string_view text);

 private:
  void Apply(const control::Record& record);
  void CheckChange(const control::Job& before, const control::Job& after) const;
  void CheckView(const control::JobView& view) const;
  void CheckNodes(const std::vector<control::NodeView>& views) const;
  static void CheckGpus(const Resources& held, const control::Job& job);
  void CheckSold() const;
  void CheckArrays() const;
  void CheckGangs() const;
  void CheckPreemption(const control::Job& victim) const;
  // It is done.
  void CheckCancelled(const control::Cancellation& cancellation) const;

  const control::Options options_;  // of the server
  State state_;
  std::vector<control::Record> batch_;
  bool open_ = false;  // whether batch_ is stored is not known
  // What the server that runs now has counted.
  int64_t submitted_ = 0, ended_[8] = {};
  int64_t last_told_ = 0;  // number of an event
  int64_t unseen_ = 0;     // removals that may have been of jobs which came and went in one batch
  std::set<JobId> removing_;  // in this run of the server
  std::set<int64_t> doomed_;  // sequences of jobs that a cancellation has had, ever
  MonotonicTime clock_;
  std::map<NodeId, MonotonicTime> answered_;  // when a heartbeat or registration was, last
  std::set<std::tuple<int64_t, AttemptNumber, NodeId>> assigned_;
  // Attempts of gangs of which some rank shall end, and since when.
  std::map<std::pair<int64_t, AttemptNumber>, MonotonicTime> winding_up_;
  std::map<std::string, Execution> results_;
  std::map<std::string, std::pair<int64_t, AttemptNumber>> used_results_;
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace cyxwiz::sim
