// What the core does with a batch of commands: apply it to control, commit what it changed in one
// transaction, and only then carry out the effects. No thread and no clock of its own: the core
// runs it on its thread, the simulator on simulated time.
//
//   batch ──► control.Apply ──► store.Commit (one fsync) ──► replies, AssignJob calls, updates
//
// A full disk. A reserve lies beside the store. The first commit that finds the disk full gives
// the reserve up and is tried again, so what was in work still becomes durable; from then on the
// disk is *low*: SubmitJob is refused (RESOURCE_EXHAUSTED) without being applied, everything else
// goes on, so running jobs can end. Once every `retry_commit` the reserve is made again; when that
// works, the disk is fine. If even the reserve was not enough the committer is *frozen*: control is
// ahead of the disk, so the batch (records and effects) is kept and its commit tried again each
// `retry_commit`, control's clock stands still (no lease runs out), and
//   - commands that need a record are refused without being applied: RESOURCE_EXHAUSTED for
//     clients, UNAVAILABLE for nodes, which try again;
//   - heartbeats and progress are answered "go on", so that nodes keep their attempts; the newest
//     heartbeat of each is applied before control's clock goes on, as its node counts from it.
//     Heartbeats of sessions that have ended are refused as ever: control would not count them;
//   - reads are answered unless they touch a job of the batch (a list touches all, what a node does
//     any): UNAVAILABLE;
//   - those who wait for the batch itself are told after five tries that its outcome is open
//     (UNAVAILABLE).
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "central/disk_reserve.h"
#include "control/control.h"
#include "history/recorder.h"
#include "store/job_store.h"

namespace cyxwiz::central {

// Carries out effects; called after the commit, must not block.
class EffectSink {
 public:
  virtual ~EffectSink() = default;
  virtual void Assign(control::AssignEffect effect) = 0;
  virtual void Stop(control::StopEffect effect) = 0;
  virtual void Update(const control::UpdateEffect& effect) = 0;
  virtual void Tell(const control::Event& event) = 0;
  // Nothing to do for who keeps no files.
  virtual void Release(control::ReleaseEffect) {}
  // Nor for who keeps no connections.
  virtual void Close(control::CloseEffect) {}
};

// Told of each commit, on the thread of Step.
class CommitObserver {
 public:
  virtual ~CommitObserver() = default;
  virtual void OnCommitBegins() = 0;
  virtual void OnCommitEnded() = 0;
};

// What is answered while the disk is low or full.
Status DiskFullStatus();

// One thread at a time, but for counters() and disk().
class Committer {
 public:
  using OnReply = std::function<void(control::Reply)>;
  struct Item {
    control::Command command;  // its reply_to is set by the committer
    OnReply on_reply;          // called exactly once; empty: nobody waits
  };
  struct Options {
    control::Options control;
    Duration retry_commit = std::chrono::seconds(1);
    // Where everything is written that control is given; outlives the committer. nullptr: nowhere.
    history::Journal* journal = nullptr;
    CommitObserver* observer = nullptr;  // outlives the committer; nullptr: nobody
  };
  enum class Disk { kFine, kLow, kFull };

  // Both outlive the committer.
  Committer(store::JobStore* store, Reserve* reserve, Options options);

  // Once, first. Errors of the store, and of a reserve that cannot be made but for want of space.
  Status Load(Now now);
  // Before the first Step; outlives the committer.
  void SetSink(EffectSink* sink) { sink_ = sink; }

  // Everything that is due: another try of a full disk, then the commands as one batch, with the
  // deadlines that have passed. An error means that a commit failed for good: control is ahead of
  // the disk, so the process must end at once, without any further call.
  Status Step(std::vector<Item> items, Now now);
  // When Step must be called though no command came; Never() when nothing is pending.
  MonotonicTime NextDeadline() const;

  // As of the last batch that is durable, set before its effects go out. Any thread.
  control::Counters counters() const;
  std::vector<std::string> checkpoint_files() const { return control().checkpoint_files(); }
  const control::Control& control() const { return recorder_.control(); }
  Disk disk() const { return disk_; }

  // Answers those who still wait: the process ends in order.
  void AnswerAll(const Status& status);
  static void Answer(Item& item, Status status,
                     decltype(control::Reply::content) content = std::monostate());

 private:
  // These return the error of a commit that failed for good.
  Status Work(std::vector<Item>& items, Now now);
  Status Commit(Now now);
  Status CommitOutput();
  Status TryDiskAgain(Now now);

  Now ControlTime(Now now) const;
  control::Command Register(Item& item);
  void Send();
  void Deliver(control::Reply reply);
  void Freeze(Now now);
  void NoteUncommitted();
  void TellThatTheOutcomeIsOpen();
  void HandleFrozen(Item& item, Now now);
  void ReadFrozen(Item& item, Now now);
  bool IsDurable(const control::Command& read, const control::Reply& reply) const;

  const Options options_;
  store::JobStore* const store_;
  Reserve* const reserve_;
  EffectSink* sink_ = nullptr;
  history::Recorder recorder_;
  std::vector<control::Command> commands_;
  control::Output output_;
  std::unordered_map<control::ReplyTo, OnReply> waiting_;
  control::ReplyTo next_reply_ = 1;
  std::atomic<Disk> disk_ = Disk::kFine;
  MonotonicTime retry_at_;  // while the disk is not fine
  // While frozen; output_ is then what could not be committed:
  MonotonicTime frozen_at_;
  int retries_ = 0;
  std::set<JobId> uncommitted_;
  bool node_uncommitted_ = false;
  bool cancellation_uncommitted_ = false;  // of any jobs
  std::vector<Item> held_;
  std::map<std::string, control::Heartbeat> beats_;  // the newest that each node was answered
  // How long it has been frozen in all: control's clock is that much behind.
  Duration clock_lag_ = Duration::zero();

  mutable std::mutex counters_mutex_;
  control::Counters counters_;
};

}  // namespace cyxwiz::central
