// Runs the control core: one thread that takes all waiting commands, applies them, commits what
// they changed in one transaction, and only then sends replies, AssignJob calls and updates. Woken
// by a command or the next deadline; never polls.
//
//   any thread ── Post(command) ──► bounded queue ──► core thread: Apply → Commit → effects
//
// The steps themselves, and what becomes of a full disk, are the committer's (committer.h). Any
// other failure of a commit ends the process with code 70.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "central/committer.h"
#include "control/control.h"
#include "store/job_store.h"

namespace cyxwiz::central {

// Time as the core's thread sees it: the machine's, unless a test has one that moves when told.
class CoreClock {
 public:
  virtual ~CoreClock() = default;
  virtual Now Read() const { return ReadClocks(); }
  // Returns once `ready` says so or `deadline` has come (Never(): does not). `lock` holds the mutex
  // of `wake`, which is notified when `ready` may have changed.
  virtual void Wait(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
                    MonotonicTime deadline, const std::function<bool()>& ready);
};

// What the core tells of itself, on its thread.
class CoreObserver {
 public:
  virtual ~CoreObserver() = default;
  // A command was taken from the queue, where it had waited for so long.
  virtual void OnTaken(double seconds) = 0;
  // A batch was applied, with the scheduling that follows from it, until its commit begins (or its
  // effects, when there is nothing to commit).
  virtual void OnApplied(double seconds) = 0;
  // A batch was committed: durable, or the disk is full.
  virtual void OnCommitted(double seconds) = 0;
};

class Core {
 public:
  using OnReply = Committer::OnReply;  // called on the core thread; must not block

  struct Options {
    control::Options control;
    size_t max_queued_commands = 100'000;
    // The reserve for a full disk (committer.h); empty: none. Smaller when little space is left.
    std::string reserve_path;
    int64_t reserve_bytes = 8 << 20;
    Duration retry_commit = std::chrono::seconds(1);
    history::Journal* journal = nullptr;  // committer.h
    CoreObserver* observer = nullptr;     // outlives the core; nullptr: nobody
    std::shared_ptr<CoreClock> clock = std::make_shared<CoreClock>();
  };
  // Loads the store. The thread starts with SetSink.
  static Result<std::unique_ptr<Core>> Start(std::unique_ptr<store::JobStore> store,
                                             Options options);
  virtual ~Core() = default;  // Stop

  virtual void SetSink(EffectSink* sink) = 0;  // once, before the first Post; outlives the core
  // Any thread. The command's reply_to is set by the core. on_reply is called exactly once, before
  // Post returns when the command is refused at once: RESOURCE_EXHAUSTED when the queue is full,
  // UNAVAILABLE after Stop. on_reply may be empty for commands without a reply.
  virtual void Post(control::Command command, OnReply on_reply) = 0;
  // Any thread. Reads stored events on the core thread, between two batches, and hands them to
  // on_page there: what has been told to the sink before is among them. UNAVAILABLE after Stop.
  using OnEvents = std::function<void(Result<std::vector<control::Event>>)>;
  virtual void ReadEvents(control::EventQuery query, OnEvents on_page) = 0;
  // Any thread. Copies the store to a new file at `path` on the core thread, a piece between each
  // two batches, so that no command waits longer than for one piece. on_done is called once, on the
  // core thread but for a refusal at once: RESOURCE_EXHAUSTED while another copy is being made,
  // UNAVAILABLE after Stop. The file is not synced, and of no use after an error.
  virtual void BackUp(std::string path, std::function<void(Status)> on_done) = 0;
  virtual control::Counters counters() const = 0;  // any thread; as of the last batch
  // The files (SHA-256 in hex) of checkpoints that jobs need; before SetSink.
  virtual std::vector<std::string> loaded_checkpoint_files() const = 0;
  // Any thread. OK; RESOURCE_EXHAUSTED while the disk is low or full; UNAVAILABLE after Stop.
  virtual Status Ready() const = 0;
  // Ends the thread after the batch in work; commands that wait, and those that come later, are
  // answered UNAVAILABLE. Not on the core thread. A second call does nothing.
  virtual void Stop() = 0;
};

}  // namespace cyxwiz::central
