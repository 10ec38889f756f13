// Runs the control core: one thread that takes all waiting commands, applies them, commits what they changed in one
// transaction, and only then sends replies, AssignJob calls and updates. Woken by a command or the next deadline; never polls.
//
//   any thread ── Post(command) ──► bounded queue ──► core thread: Apply → Commit → effects
#pragma once

#include <functional>
#include <memory>

#include "base/status.h"
#include "control/control.h"
#include "store/job_store.h"

namespace cyxwiz::central {

// Carries out effects; called on the core thread after the commit, must not block.
class EffectSink {
 public:
  virtual ~EffectSink() = default;
  virtual void Assign(control::AssignEffect effect) = 0;
  virtual void Stop(control::StopEffect effect) = 0;
  virtual void Update(const control::UpdateEffect& effect) = 0;
};

class Core {
 public:
  using OnReply = std::function<void(control::Reply)>;  // called on the core thread; must not block

  struct Options {
    control::Options control;
    size_t max_queued_commands = 100'000;
  };
  // Loads the store. A commit that fails for another reason than a full disk ends the process with a message; while the disk
  // is full, commands that need a record are answered RESOURCE_EXHAUSTED and tried again once space returns.
  static Result<std::unique_ptr<Core>> Start(std::unique_ptr<store::JobStore> store, Options options);
  virtual ~Core() = default;  // stops the thread after the batch in work; waiting commands are answered UNAVAILABLE

  virtual void SetSink(EffectSink* sink) = 0;  // before the first Post; outlives the core
  // Any thread. The command's reply_to is set by the core. on_reply is called exactly once; RESOURCE_EXHAUSTED when
  // the queue is full. on_reply may be empty for commands without a reply.
  virtual void Post(control::Command command, OnReply on_reply) = 0;
  virtual control::Counters counters() const = 0;  // any thread; as of the last batch
};

}  // namespace cyxwiz::central
