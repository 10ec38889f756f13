#include "central/dispatcher.h"

#include <grpcpp/client_context.h>

#include <chrono>

#include "base/failpoint.h"
#include "base/logging.h"
#include "central/convert.h"
#include "cyxwiz/protocol/agent.grpc.pb.h"
#include "cyxwiz/protocol/node.grpc.pb.h"
#include "wire/deterministic.h"
#include "wire/job_config.h"

namespace cyxwiz::central {
namespace {

// Less than control's assign_timeout, so that the outcome is known before it is given up.
constexpr auto kCallDeadline = std::chrono::seconds(5);

// Whether the node itself said no, as opposed to not having been reached.
bool IsRefusal(grpc::StatusCode code) {
  switch (code) {
    case grpc::UNAVAILABLE:
    case grpc::DEADLINE_EXCEEDED:
    case grpc::CANCELLED:
    case grpc::UNKNOWN:
      return false;
    default:
      return true;
  }
}

}  // namespace

struct Dispatcher::AssignCall {
  grpc::ClientContext context;
  std::unique_ptr<protocol::NodeService::Stub> stub;
  protocol::AssignJobRequest request;
  protocol::AssignJobResponse response;
  AttemptId attempt;
  NodeId node;
};

struct Dispatcher::StopCall {
  grpc::ClientContext context;
  std::unique_ptr<protocol::NodeAgentService::Stub> stub;
  protocol::StopAttemptRequest request;
  protocol::StopAttemptResponse response;
};

Dispatcher::Dispatcher(NodeChannels* channels, StreamHub* hub, EventHub* events,
                       artifacts::ArtifactStore* checkpoints, const security::TokenSigner* signer,
                       std::function<void(control::AssignOutcome)> post,
                       std::function<void(const NodeId&)> forget)
    : channels_(channels),
      hub_(hub),
      events_(events),
      checkpoints_(checkpoints),
      signer_(signer),
      post_(std::move(post)),
      forget_(std::move(forget)) {}

Dispatcher::~Dispatcher() {
  std::unique_lock lock(mutex_);
  ending_ = true;
  for (grpc::ClientContext* context : in_flight_) context->TryCancel();
  all_done_.wait(lock, [this] { return in_flight_.empty(); });
}

bool Dispatcher::Begin(grpc::ClientContext* context) {
  std::lock_guard lock(mutex_);
  if (ending_) return false;
  context->set_deadline(std::chrono::system_clock::now() + kCallDeadline);
  in_flight_.insert(context);
  return true;
}

void Dispatcher::End(grpc::ClientContext* context) {
  std::lock_guard lock(mutex_);
  in_flight_.erase(context);
  if (in_flight_.empty()) all_done_.notify_all();
}

std::string Dispatcher::Token(const AttemptId& attempt, const NodeId& node,
                              const std::string& permitted) const {
  return signer_->Sign({.attempt = attempt,
                        .node = node,
                        .expires_at = ReadClocks().unix.seconds() + kTokenLifetimeSeconds,
                        .request_sha256 = permitted.empty()
                                              ? ""
                                              : security::HexEncode(security::Sha256(permitted))});
}

std::string Dispatcher::GangSecret(const AttemptId& attempt) const {
  // Ed25519 signs the same with the same, so nothing need be kept; and only this server can.
  return security::HexEncode(
      security::Sha256(signer_->Sign({.attempt = attempt, .node = {"rendezvous"}})));
}

void Dispatcher::Assign(control::AssignEffect effect) {
  worker_.Post([this, effect = std::move(effect)]() mutable { CallAssign(std::move(effect)); });
}

void Dispatcher::Stop(control::StopEffect effect) {
  worker_.Post([this, effect = std::move(effect)] { CallStop(effect); });
}

void Dispatcher::Tell(const control::Event& event) {
  if (event.kind == control::EventKind::kMassLoss) spdlog::error("{}", event.message);
  if (event.kind == control::EventKind::kMassLossOver) spdlog::warn("{}", event.message);
  events_->Publish(event);
}

void Dispatcher::Release(control::ReleaseEffect effect) {
  deleting_.Post([this, effect = std::move(effect)] {
    for (const std::string& sha256 : effect.sha256) {
      Status removed = checkpoints_->Remove(sha256);
      // The next start of the server deletes it.
      if (!removed.ok()) spdlog::warn("a checkpoint's file stays: {}", removed.message());
    }
  });
}

void Dispatcher::Close(control::CloseEffect effect) {
  channels_->Remove(effect.endpoint);
  if (!effect.node.empty()) forget_(effect.node);
}

void Dispatcher::CallAssign(control::AssignEffect effect) {
  auto call = std::make_shared<AssignCall>();
  call->attempt = effect.attempt;
  call->node = effect.node;
  call->request.set_node_id(effect.node.value);
  ToJobConfig(effect.job, *effect.body, call->request.mutable_job());
  call->request.set_attempt(effect.attempt.attempt);
  call->request.set_session_token(effect.session);
  *call->request.mutable_resources() = ResourcesToWire(effect.job.resources);
  GpusToWire(effect.gpus, call->request.mutable_gpus());
  if (effect.job.checkpoint->exists()) {
    ToCheckpoint(*effect.job.checkpoint, call->request.mutable_checkpoint());
  }
  if (effect.ranks > 1) {
    protocol::GangRank* gang = call->request.mutable_gang();
    gang->set_rank(effect.rank);
    gang->set_size(effect.ranks);
    gang->set_rendezvous(effect.rendezvous);
    gang->set_secret(GangSecret(effect.attempt));
  }
  // Last, because the token is for all of the request.
  call->request.set_authorization_token(
      Token(effect.attempt, effect.node, PermittedBytes(call->request)));
  call->stub = protocol::NodeService::NewStub(channels_->Get(effect.endpoint));
  if (!Begin(&call->context)) return;
  CYXWIZ_FAILPOINT("server.assign.before");
  call->stub->async()->AssignJob(
      &call->context, &call->request, &call->response, [this, call](grpc::Status status) {
        CYXWIZ_FAILPOINT("server.assign.after");
        using Kind = control::AssignOutcome::Kind;
        control::AssignOutcome outcome{.attempt = call->attempt, .node = call->node};
        if (!status.ok()) {
          outcome.kind = IsRefusal(status.error_code()) ? Kind::kRejected : Kind::kUnreachable;
          outcome.message = status.error_message();
        } else if (!call->response.accepted()) {
          outcome.kind = Kind::kRejected;
          outcome.message = call->response.error().message();
        }
        if (outcome.kind != Kind::kAccepted) {
          spdlog::warn("job {} attempt {}: node {} {}: {}", call->attempt.job.value,
                       call->attempt.attempt, call->node.value,
                       outcome.kind == Kind::kRejected ? "refused it" : "was not reached",
                       outcome.message);
        }
        post_(std::move(outcome));
        End(&call->context);
      });
}

void Dispatcher::CallStop(const control::StopEffect& effect) {
  auto call = std::make_shared<StopCall>();
  call->request.set_job_id(effect.attempt.job.value);
  call->request.set_attempt(effect.attempt.attempt);
  call->request.set_reason(effect.reason);
  call->request.set_yield(effect.yield);
  call->request.set_authorization_token(Token(effect.attempt, effect.node));
  call->stub = protocol::NodeAgentService::NewStub(channels_->Get(effect.endpoint));
  if (!Begin(&call->context)) return;
  call->stub->async()->StopAttempt(&call->context, &call->request, &call->response,
                                   [this, call](grpc::Status status) {
                                     // The node's next heartbeat is told again.
                                     if (!status.ok())
                                       spdlog::info("job {}: StopAttempt did not arrive: {}",
                                                    call->request.job_id(), status.error_message());
                                     End(&call->context);
                                   });
}

}  // namespace cyxwiz::central
