#include "node/node_service.h"

#include <boost/asio/post.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/failpoint.h"
#include "node/attempt_log.h"
#include "node/rpc_status.h"
#include "security/job_token.h"
#include "spec/count.h"
#include "spec/model_use.h"
#include "wire/deterministic.h"
#include "wire/job_config.h"

namespace cyxwiz::node {
namespace {

constexpr size_t kLogChunkBytes = 64 << 10;
// Clients of gRPC accept 8 KiB of metadata, and an error's message is part of it.
constexpr size_t kMaxProblemBytes = 2000;

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context, const std::string& message) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, message));
  return reactor;
}

grpc::ServerUnaryReactor* NotHere(grpc::CallbackServerContext* context, const char* method) {
  return Refuse(context, std::string("the Central Server serves ") + method +
                             "; a node serves AssignJob and GetNodeMetrics");
}

constexpr char kNoDeployments[] =
    "serving of models arrives with a later release; this node runs jobs only";
constexpr char kNoTerminals[] = "terminals arrive with a later release";

// What the token says, when it is for this attempt on this node and good now.
Result<security::JobClaims> CheckToken(const ServiceContext& context, const std::string& token,
                                       const AttemptId& attempt) {
  const NodeIdentity& identity = context.client->identity();
  if (identity.server_public_key.empty()) {
    const std::string& trouble = context.executor->runner_trouble();
    return Unavailable("this node is not registered with its Central Server yet" +
                       (trouble.empty() ? "" : ": " + trouble));
  }
  Result<security::JobClaims> claims =
      security::VerifyToken(token, identity.server_public_key, ReadClocks().unix);
  if (!claims.ok()) return claims.status();
  if (claims->attempt != attempt || claims->node != identity.id) {
    return PermissionDenied("the job token is for attempt " +
                            std::to_string(claims->attempt.attempt) + " of job '" +
                            claims->attempt.job.value + "' on node '" + claims->node.value +
                            "', not for attempt " + std::to_string(attempt.attempt) + " of job '" +
                            attempt.job.value + "' on node '" + identity.id.value + "'");
  }
  return claims;
}

// All that is wrong with a job, as far as an error message of gRPC can hold it.
std::string ToSentence(const spec::Problems& problems) {
  std::string text = "the job is not valid";
  size_t told = 0;
  for (const spec::Problem& problem : problems.list()) {
    std::string one = problem.ToString();
    if (told > 0 && text.size() + one.size() > kMaxProblemBytes) break;
    text += (told++ == 0 ? ": " : "; ") + one;
  }
  if (told < problems.count()) text += "; and " + std::to_string(problems.count() - told) + " more";
  return ToUtf8(text);
}

// The assignment, once everything about the request is found to be right. Whoever may call the node
// is not thereby trusted to have checked the job.
Result<Assignment> AssignmentOf(const ServiceContext& context,
                                const protocol::AssignJobRequest& request) {
  Assignment assignment;
  const std::string& job = request.job().job_id();
  if (!IsValidId(job)) return InvalidArgument("job.job_id: '" + job + "' is not a job id");
  if (request.attempt() < 1) {
    return InvalidArgument("attempt: expected 1 or more, found " +
                           std::to_string(request.attempt()));
  }
  assignment.id = {{job}, request.attempt()};
  assignment.token = request.authorization_token();
  ASSIGN_OR_RETURN(security::JobClaims claims,
                   CheckToken(context, assignment.token, assignment.id));
  if (claims.request_sha256 != security::HexEncode(security::Sha256(PermittedBytes(request)))) {
    return PermissionDenied(
        claims.request_sha256.empty()
            ? "the job token permits no AssignJob"
            : "the job token is for another AssignJob request than this one: it was altered, or "
              "the token was taken from another",
        "only the server that signs the token can change what it is for");
  }
  assignment.token_expires_at = claims.expires_at;
  if (!request.node_id().empty() && request.node_id() != context.client->identity().id.value) {
    return PermissionDenied("node_id: the job is for node '" + request.node_id() +
                            "', this is node '" + context.client->identity().id.value + "'");
  }
  assignment.resources = ResourcesFromWire(request.resources());
  assignment.resources.gpus = GpusFromWire(request.gpus());
  if (assignment.resources.IsNegative()) {
    return InvalidArgument("resources: amounts must not be negative");
  }
  const std::string& session = request.session_token();
  if (session.empty()) {
    return InvalidArgument("session_token is empty: expected the one of this node's registration");
  }
  if (session != context.client->identity().session) {
    return Unavailable("this node has registered again since it was chosen");
  }
  if (!context.client->has_lease()) {
    return Unavailable("this node has lost touch with its Central Server");
  }
  spec::Problems problems;
  const spec::JobTerms terms = TermsFromConfig(request.job());
  spec::CheckJobTerms(terms, &problems);
  if (request.has_gang() || terms.least_nodes() > 1) {
    const protocol::GangRank& gang = request.gang();
    const int64_t least = std::max<int64_t>(terms.least_nodes(), 2);
    if (gang.size() < least || gang.size() > terms.nodes || gang.rank() < 0 ||
        gang.rank() >= gang.size() || gang.secret().empty()) {
      return InvalidArgument(
          "gang: expected one of " + (least < terms.nodes ? std::to_string(least) + " to " : "") +
          std::to_string(terms.nodes) + " ranks, counted from 0, and their secret, found rank " +
          std::to_string(gang.rank()) + " of " + std::to_string(gang.size()));
    }
    ASSIGN_OR_RETURN(ListenAddress rendezvous,
                     ParseListenAddress(gang.rendezvous(), "gang.rendezvous"));
    assignment.gang = {gang.rank(), gang.size(), std::move(rendezvous), gang.secret()};
  }
  assignment.processes = terms.processes;
  assignment.run_limit = std::chrono::seconds(terms.limits.run_seconds);
  assignment.log_bytes = terms.limits.log_bytes;
  assignment.checkpoint_bytes = terms.limits.checkpoint_bytes;
  assignment.job = DescriptionFromConfig(request.job());
  assignment.checkpoint = request.checkpoint();
  if (!spec::HasModel(assignment.job)) {
    problems.Add({spec::kModelFromPath, "the model has not been looked up", "a job of the server's",
                  "nothing of the model", "only a Central Server gives such jobs"});
  }
  std::optional<spec::JobSpec> spec = spec::CheckJobBeforeData(assignment.job, &problems);
  if (!problems.empty()) return InvalidArgument(ToSentence(problems));
  if (spec) {
    assignment.result_bytes =
        spec::Sum(spec->estimate.artifact_bytes, assignment.job.model_from.weights_bytes);
  }
  // What the server leaves out is as the job asks, or as it is estimated.
  Resources needed = terms.OnNode(spec ? spec->resources : assignment.job.requested);
  Resources& given = assignment.resources;
  if (!request.has_resources()) given = needed;
  if (given.cpu_millis == 0) given.cpu_millis = needed.cpu_millis;
  if (given.cpu_millis == 0) given.cpu_millis = 1000;
  if (given.memory_bytes == 0) given.memory_bytes = needed.memory_bytes;
  if (given.memory_bytes == 0) given.memory_bytes = assignment.job.estimated_memory;
  return assignment;
}

// One ReadLog call. All but the constructor and OnDone acts on the executor thread. Holds itself
// until OnDone; wake-ups of the log hold it weakly.
class LogStream final : public grpc::ServerWriteReactor<protocol::LogChunk>,
                        public std::enable_shared_from_this<LogStream> {
 public:
  static LogStream* Start(const ServiceContext& context, const protocol::ReadLogRequest& request) {
    std::shared_ptr<LogStream> stream(new LogStream(context, request));
    stream->self_ = stream;
    boost::asio::post(*context.io, [stream] { stream->Open(); });
    return stream.get();
  }

  void OnWriteDone(bool ok) override {
    boost::asio::post(*context_.io, [stream = shared_from_this(), ok] {
      if (ok) {
        stream->SendNext();
      } else {
        stream->End(grpc::Status(grpc::StatusCode::CANCELLED, "the reader is gone"));
      }
    });
  }
  void OnCancel() override {
    boost::asio::post(*context_.io, [stream = shared_from_this()] {
      stream->End(grpc::Status(grpc::StatusCode::CANCELLED, "the reader is gone"));
    });
  }
  void OnDone() override { self_.reset(); }

 private:
  LogStream(const ServiceContext& context, const protocol::ReadLogRequest& request)
      : context_(context), request_(request), offset_(request.offset()) {}

  void Open() {
    if (request_.offset() < 0) {
      return End(ToGrpc(InvalidArgument("offset: expected 0 or more, found " +
                                        std::to_string(request_.offset()))));
    }
    Result<AttemptId> found = context_.logs->Find({request_.job_id()}, request_.attempt());
    if (!found.ok()) return End(ToGrpc(found.status()));
    attempt_ = *found;
    SendNext();
  }

  void SendNext() {
    if (ended_) return;
    Result<AttemptLog*> log = context_.logs->LogOf(attempt_);
    if (!log.ok()) return End(ToGrpc(log.status()));
    Result<LogPiece> piece = (*log)->Read(offset_, kLogChunkBytes);
    if (!piece.ok()) return End(ToGrpc(piece.status()));
    if (piece->data.empty()) {
      if (!request_.follow() || (*log)->closed()) return End(grpc::Status::OK);
      (*log)->Wait([weak = weak_from_this()] {
        if (auto stream = weak.lock()) stream->SendNext();
      });
      return;
    }
    chunk_.set_attempt(attempt_.attempt);
    chunk_.set_offset(piece->offset);
    chunk_.set_dropped(piece->dropped);
    offset_ = piece->offset + static_cast<int64_t>(piece->data.size());
    chunk_.set_data(std::move(piece->data));
    StartWrite(&chunk_);
  }

  void End(const grpc::Status& status) {
    if (std::exchange(ended_, true)) return;
    Finish(status);
  }

  ServiceContext context_;
  protocol::ReadLogRequest request_;
  AttemptId attempt_;
  int64_t offset_;
  protocol::LogChunk chunk_;
  bool ended_ = false;
  std::shared_ptr<LogStream> self_;
};

}  // namespace

grpc::ServerUnaryReactor* NodeServiceImpl::AssignJob(grpc::CallbackServerContext* context,
                                                     const protocol::AssignJobRequest* request,
                                                     protocol::AssignJobResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  boost::asio::post(*context_.io, [this, reactor, request, response] {
    context_.client->AfterRegistration([this, reactor, request, response] {
      Result<Assignment> assignment = AssignmentOf(context_, *request);
      if (!assignment.ok()) return reactor->Finish(ToGrpc(assignment.status()));
      CYXWIZ_FAILPOINT("node.assign.before");
      Status taken = context_.executor->Assign(*std::move(assignment));
      CYXWIZ_FAILPOINT("node.assign.after");
      response->set_job_id(request->job().job_id());
      response->set_accepted(taken.ok());
      response->set_status(taken.ok() ? protocol::STATUS_SUCCESS : protocol::STATUS_ERROR);
      if (taken.ok()) {
        response->set_estimated_start_time(std::to_string(ReadClocks().unix.seconds()));
      } else {
        *response->mutable_error() = ToWireError(taken);
      }
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* NodeServiceImpl::GetNodeMetrics(
    grpc::CallbackServerContext* context, const protocol::GetNodeMetricsRequest* request,
    protocol::GetNodeMetricsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  boost::asio::post(*context_.io, [this, reactor, request, response] {
    const std::string& id = context_.client->identity().id.value;
    if (!request->node_id().empty() && request->node_id() != id) {
      return reactor->Finish(
          ToGrpc(NotFound("this is node '" + id + "', not '" + request->node_id() + "'")));
    }
    for (const UsageSample& sample :
         context_.usage->Between(request->start_time(), request->end_time())) {
      protocol::MetricPoint* point = response->add_metrics();
      point->set_timestamp(sample.time.seconds());
      point->set_cpu_usage(sample.cpu);
      point->set_memory_usage(sample.memory);
      point->set_gpu_usage(sample.gpu);
      point->set_network_throughput(sample.network_bytes_per_second);
    }
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* NodeServiceImpl::RegisterNode(grpc::CallbackServerContext* context,
                                                        const protocol::RegisterNodeRequest*,
                                                        protocol::RegisterNodeResponse*) {
  return NotHere(context, "RegisterNode");
}
grpc::ServerUnaryReactor* NodeServiceImpl::Heartbeat(grpc::CallbackServerContext* context,
                                                     const protocol::HeartbeatRequest*,
                                                     protocol::HeartbeatResponse*) {
  return NotHere(context, "Heartbeat");
}
grpc::ServerUnaryReactor* NodeServiceImpl::ReportProgress(grpc::CallbackServerContext* context,
                                                          const protocol::ReportProgressRequest*,
                                                          protocol::ReportProgressResponse*) {
  return NotHere(context, "ReportProgress");
}
grpc::ServerUnaryReactor* NodeServiceImpl::ReportCompletion(
    grpc::CallbackServerContext* context, const protocol::ReportCompletionRequest*,
    protocol::ReportCompletionResponse*) {
  return NotHere(context, "ReportCompletion");
}
grpc::ServerUnaryReactor* NodeServiceImpl::NotifyJobAccepted(grpc::CallbackServerContext* context,
                                                             const protocol::JobAcceptedRequest*,
                                                             protocol::JobAcceptedResponse*) {
  return NotHere(context, "NotifyJobAccepted");
}

grpc::ServerUnaryReactor* NodeAgentServiceImpl::StopAttempt(
    grpc::CallbackServerContext* context, const protocol::StopAttemptRequest* request,
    protocol::StopAttemptResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  boost::asio::post(*context_.io, [this, reactor, request, response] {
    AttemptId attempt{{request->job_id()}, request->attempt()};
    std::string token = context_.executor->TokenOf(attempt);
    // A long job outlives its token's expiry, so the one that it came with always serves.
    if (token.empty() || token != request->authorization_token()) {
      Result<security::JobClaims> checked =
          CheckToken(context_, request->authorization_token(), attempt);
      if (!checked.ok()) return reactor->Finish(ToGrpc(checked.status()));
    }
    std::string reason =
        request->reason().empty() ? "the server asked to stop it" : request->reason();
    response->set_known(request->yield() ? context_.executor->Yield(attempt, reason)
                                         : context_.executor->Stop(attempt, reason));
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerWriteReactor<protocol::LogChunk>* JobLogServiceImpl::ReadLog(
    grpc::CallbackServerContext*, const protocol::ReadLogRequest* request) {
  return LogStream::Start(context_, *request);
}

grpc::ServerUnaryReactor* DeploymentServiceImpl::CreateDeployment(
    grpc::CallbackServerContext* context, const protocol::CreateDeploymentRequest*,
    protocol::CreateDeploymentResponse*) {
  return Refuse(context, kNoDeployments);
}
grpc::ServerUnaryReactor* DeploymentServiceImpl::GetDeployment(
    grpc::CallbackServerContext* context, const protocol::GetDeploymentRequest*,
    protocol::GetDeploymentResponse*) {
  return Refuse(context, kNoDeployments);
}
grpc::ServerUnaryReactor* DeploymentServiceImpl::ListDeployments(
    grpc::CallbackServerContext* context, const protocol::ListDeploymentsRequest*,
    protocol::ListDeploymentsResponse*) {
  return Refuse(context, kNoDeployments);
}
grpc::ServerUnaryReactor* DeploymentServiceImpl::StopDeployment(
    grpc::CallbackServerContext* context, const protocol::StopDeploymentRequest*,
    protocol::StopDeploymentResponse*) {
  return Refuse(context, kNoDeployments);
}
grpc::ServerUnaryReactor* DeploymentServiceImpl::DeleteDeployment(
    grpc::CallbackServerContext* context, const protocol::DeleteDeploymentRequest*,
    protocol::DeleteDeploymentResponse*) {
  return Refuse(context, kNoDeployments);
}
grpc::ServerUnaryReactor* DeploymentServiceImpl::GetDeploymentMetrics(
    grpc::CallbackServerContext* context, const protocol::GetDeploymentMetricsRequest*,
    protocol::GetDeploymentMetricsResponse*) {
  return Refuse(context, kNoDeployments);
}

grpc::ServerUnaryReactor* TerminalServiceImpl::CreateSession(
    grpc::CallbackServerContext* context, const protocol::CreateTerminalSessionRequest*,
    protocol::CreateTerminalSessionResponse*) {
  return Refuse(context, kNoTerminals);
}
grpc::ServerBidiReactor<protocol::TerminalData, protocol::TerminalData>*
TerminalServiceImpl::StreamTerminal(grpc::CallbackServerContext*) {
  class Refusal final
      : public grpc::ServerBidiReactor<protocol::TerminalData, protocol::TerminalData> {
   public:
    Refusal() { Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, kNoTerminals)); }
    void OnDone() override { delete this; }
  };
  return new Refusal();
}
grpc::ServerUnaryReactor* TerminalServiceImpl::ResizeTerminal(grpc::CallbackServerContext* context,
                                                              const protocol::TerminalResize*,
                                                              protocol::SimpleResponse*) {
  return Refuse(context, kNoTerminals);
}
grpc::ServerUnaryReactor* TerminalServiceImpl::CloseSession(
    grpc::CallbackServerContext* context, const protocol::CloseTerminalSessionRequest*,
    protocol::CloseTerminalSessionResponse*) {
  return Refuse(context, kNoTerminals);
}

}  // namespace cyxwiz::node
