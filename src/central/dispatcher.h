// Carries out what the core decided about nodes and followers: AssignJob and StopAttempt calls,
// updates for the hub, and the deletion of checkpoints.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include "artifacts/artifact_store.h"
#include "central/core.h"
#include "central/event_hub.h"
#include "central/hub.h"
#include "central/node_channels.h"
#include "central/work_pool.h"
#include "security/job_token.h"

namespace grpc {
class ClientContext;
}

namespace cyxwiz::central {

// A token allows a node to *begin* an attempt, once, within this time of the assignment, however
// long the attempt then runs: reports are fenced by the attempt's number, and their token's expiry
// is not looked at.
inline constexpr int64_t kTokenLifetimeSeconds = 24 * 3600;

class Dispatcher : public EffectSink {
 public:
  // post: gives an outcome to the core. forget: told of each node that is no longer known. None of
  // the arguments is owned.
  Dispatcher(NodeChannels* channels, StreamHub* hub, EventHub* events,
             artifacts::ArtifactStore* checkpoints, const security::TokenSigner* signer,
             std::function<void(control::AssignOutcome)> post,
             std::function<void(const NodeId&)> forget);
  // Cancels calls that are still in flight and waits for their end.
  ~Dispatcher() override;

  // Core thread.
  void Assign(control::AssignEffect effect) override;
  void Stop(control::StopEffect effect) override;
  void Update(const control::UpdateEffect& effect) override { hub_->Publish(effect); }
  void Tell(const control::Event& event) override;
  void Release(control::ReleaseEffect effect) override;
  void Close(control::CloseEffect effect) override;

 private:
  struct AssignCall;
  struct StopCall;
  void CallAssign(control::AssignEffect effect);
  void CallStop(const control::StopEffect& effect);
  // False once the dispatcher ends: the call must not be made.
  bool Begin(grpc::ClientContext* context);
  void End(grpc::ClientContext* context);
  // What the ranks of an attempt, and nobody else, have in common.
  std::string GangSecret(const AttemptId& attempt) const;
  // permitted: the bytes of the AssignJob request that the token is for; empty: for none.
  std::string Token(const AttemptId& attempt, const NodeId& node,
                    const std::string& permitted = "") const;

  NodeChannels* const channels_;
  StreamHub* const hub_;
  EventHub* const events_;
  artifacts::ArtifactStore* const checkpoints_;
  const security::TokenSigner* const signer_;
  const std::function<void(control::AssignOutcome)> post_;
  const std::function<void(const NodeId&)> forget_;

  std::mutex mutex_;  // of the two below
  std::set<grpc::ClientContext*> in_flight_;
  bool ending_ = false;
  std::condition_variable all_done_;

  WorkPool worker_{1};    // signs and serialises, off the core thread and in order
  WorkPool deleting_{1};  // of files: a large one takes a while
};

}  // namespace cyxwiz::central
