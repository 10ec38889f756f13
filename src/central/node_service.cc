// The server's half of NodeService, and JobStatusService, its short form.
//
// Who may speak for a node: who shows the session token of its last registration (metadata
// "cyxwiz-session") on heartbeats, and the attempt's job token on reports. Both may be absent,
// because this release listens on loopback only and older nodes send neither; when present they
// must be right. A right job token is enough for a report: it may have been on its way while the
// node registered again.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/listen_address.h"
#include "central/convert.h"
#include "central/services.h"
#include "cyxwiz/protocol/node.grpc.pb.h"
#include "spec/dataset_reference.h"
#include "spec/job_spec.h"
#include "wire/job_config.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr char kSessionKey[] = "cyxwiz-session";
constexpr size_t kMostErrorBytes = 16 << 10;
constexpr size_t kMostLogTailBytes = 4 << 10;
constexpr int kMostKeptData = 1000;
constexpr size_t kMostInfoBytes = 64 << 10;
constexpr auto kMostForMetrics = std::chrono::seconds(10);

struct MetricsCall {
  grpc::ClientContext context;
  std::unique_ptr<protocol::NodeService::Stub> stub;
};

ServerUnaryReactor* Refuse(CallbackServerContext* context, const Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

std::string SessionOf(const CallbackServerContext& context) {
  auto found = context.client_metadata().find(kSessionKey);
  if (found == context.client_metadata().end()) return "";
  return std::string(found->second.data(), found->second.size());
}

void SetError(Code code, const std::string& message, protocol::Error* error) {
  error->set_code(static_cast<int32_t>(code));
  error->set_message(message);
}

// gRPC's code for a failure whose node gave none.
Code CodeOf(control::Cause cause) {
  switch (cause) {
    case control::Cause::kUserError:
      return Code::kInvalidArgument;
    case control::Cause::kDataUnavailable:
      return Code::kFailedPrecondition;
    case control::Cause::kOutOfMemory:
    case control::Cause::kOutOfGpuMemory:
      return Code::kResourceExhausted;
    case control::Cause::kCancelled:
      return Code::kCancelled;
    case control::Cause::kDiverged:
      return Code::kOutOfRange;
    default:
      return Code::kInternal;
  }
}

// The core drops metrics beyond its limits; the report of a progress is refused, so that someone
// notices. (A completion is not: it would be lost.)
Status CheckMetrics(const std::map<std::string, double>& metrics) {
  if (metrics.size() > control::kMaxMetrics) {
    return InvalidArgument("metrics: expected at most " + std::to_string(control::kMaxMetrics) +
                           ", found " + std::to_string(metrics.size()));
  }
  for (const auto& [name, value] : metrics) {
    if (name.empty() || name.size() > control::kMaxMetricNameBytes) {
      return InvalidArgument("metrics: expected names of 1 to " +
                             std::to_string(control::kMaxMetricNameBytes) +
                             " bytes, found one of " + std::to_string(name.size()));
    }
  }
  return OkStatus();
}

std::map<std::string, double> ToMap(const google::protobuf::Map<std::string, double>& map) {
  return {map.begin(), map.end()};
}

double ToProgress(double progress) {
  return std::isfinite(progress) ? std::clamp(progress, 0.0, 1.0) : 0.0;
}

// What NodeService and JobStatusService share.
class Reports {
 public:
  explicit Reports(const ServiceParts& parts)
      : core_(parts.core),
        artifacts_(parts.artifacts),
        checkpoints_(parts.checkpoints),
        datasets_(parts.datasets->store()),
        sessions_(parts.sessions),
        public_key_(parts.signer->public_key()) {}

  // Whether the caller, with `token` (may be empty) of the report, may report of this attempt.
  Status CheckCaller(const CallbackServerContext& context, const std::string& token,
                     const AttemptId& attempt, const NodeId& node) const {
    if (token.empty()) {
      std::string session = SessionOf(context);
      if (session.empty() || sessions_->Allows(node, session)) return OkStatus();
      return Unauthenticated("the session of node '" + node.value + "' is not the current one",
                             "register again");
    }
    // Expiry limits when an attempt may begin; a long one reports after it.
    auto claims = security::VerifyToken(token, public_key_, UnixTime{0});
    if (!claims.ok()) {
      return PermissionDenied("authorization_token: " + claims.status().message(),
                              "send the token of the attempt's AssignJob");
    }
    bool same_attempt = attempt.attempt == 0 || claims->attempt.attempt == attempt.attempt;
    if (claims->attempt.job != attempt.job || !same_attempt || claims->node != node) {
      return PermissionDenied("authorization_token is for attempt " +
                                  std::to_string(claims->attempt.attempt) + " of job '" +
                                  claims->attempt.job.value + "' on node '" + claims->node.value +
                                  "', not for this one",
                              "send the token of the attempt's AssignJob");
    }
    return OkStatus();
  }

  // Gives the report to the core and finishes the call; on_report fills in the answer that goes in
  // band.
  template <typename Command, typename OnReport>
  void Post(ServerUnaryReactor* reactor, Command command, OnReport on_report) const {
    core_->Post(std::move(command), [reactor, on_report](control::Reply reply) {
      if (reply.status.ok()) on_report(std::get<control::ReportReply>(reply.content));
      reactor->Finish(ToGrpc(reply.status));
    });
  }

  // Refuses a report for what it says, unless its job is unknown, which goes first.
  ServerUnaryReactor* Refuse(CallbackServerContext* context, const std::string& job,
                             const Status& status) const {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    core_->Post(control::GetJob{.job = {job}}, [reactor, status](const control::Reply& reply) {
      reactor->Finish(ToGrpc(reply.status.ok() ? status : reply.status));
    });
    return reactor;
  }

  // Whether the file lies in the artifact store as said; one of a data set in the store of these.
  Status CheckArtifact(const control::Artifact& artifact, bool of_dataset = false) const {
    return CheckStored(of_dataset ? *datasets_ : *artifacts_, artifact);
  }
  // The checkpoint of a report, which may have none; its files lie in the store of checkpoints.
  Result<control::Checkpoint> CheckpointOf(const protocol::Checkpoint& wire) const {
    ASSIGN_OR_RETURN(control::Checkpoint checkpoint, FromCheckpoint(wire));
    for (const control::Artifact& file : checkpoint.files) {
      RETURN_IF_ERROR(CheckStored(*checkpoints_, file));
    }
    return checkpoint;
  }

 private:
  static Status CheckStored(const artifacts::ArtifactStore& store,
                            const control::Artifact& artifact) {
    auto size = store.SizeOf(artifact.sha256);
    if (!size.ok()) {
      return FailedPrecondition("artifact '" + artifact.name + "' (sha256 " +
                                    Clip(artifact.sha256, 80) + ") is not in the artifact store",
                                "upload it with ModelService.UploadModel before reporting");
    }
    if (*size != artifact.size) {
      return FailedPrecondition("artifact '" + artifact.name + "' has " + std::to_string(*size) +
                                " bytes, but the report says " + std::to_string(artifact.size));
    }
    return OkStatus();
  }

  Core* const core_;
  artifacts::ArtifactStore* const artifacts_;
  artifacts::ArtifactStore* const checkpoints_;
  artifacts::ArtifactStore* const datasets_;
  NodeSessions* const sessions_;
  const std::string public_key_;
};

// A completion that was taken is not "continue" either; only its message tells the two apart.
bool WasRecorded(const control::ReportReply& reply) { return reply.message == "recorded"; }

Result<control::ReportCompletion::Outcome> OutcomeOf(protocol::StatusCode status) {
  using Outcome = control::ReportCompletion::Outcome;
  switch (status) {
    case protocol::STATUS_COMPLETED:
    case protocol::STATUS_SUCCESS:
      return Outcome::kSucceeded;
    case protocol::STATUS_FAILED:
    case protocol::STATUS_ERROR:
      return Outcome::kFailed;
    case protocol::STATUS_CANCELLED:
      return Outcome::kCancelled;
    default:
      return InvalidArgument(
          "status: a completion is STATUS_COMPLETED, STATUS_FAILED or STATUS_CANCELLED, found " +
          std::to_string(status));
  }
}

// The evidence of a failure, as text for ErrorInfo.details.
std::string DetailsOf(const protocol::ReportCompletionRequest& request) {
  std::string details = request.result().error().details();
  auto add = [&details](const std::string& text) {
    if (!details.empty()) details += "\n";
    details += text;
  };
  if (request.exit_signal() != 0)
    add("the runner was ended by signal " + std::to_string(request.exit_signal()));
  else if (request.exit_code() != 0)
    add("the runner exited with code " + std::to_string(request.exit_code()));
  return details;
}

// ---- NodeService --------------------------------------------------------------------------------

// The server keeps it and hands it out to all that list nodes.
Status CheckSize(const protocol::NodeInfo& info, const char* name) {
  const size_t bytes = info.ByteSizeLong();
  if (bytes <= kMostInfoBytes) return OkStatus();
  return InvalidArgument(std::string(name) + ": what a node tells of itself may have " +
                             std::to_string(kMostInfoBytes) + " bytes, found " +
                             std::to_string(bytes),
                         "tell fewer devices, labels or runtimes");
}

// What a node registers, checked.
Result<control::Node> NodeOf(const protocol::NodeInfo& info) {
  RETURN_IF_ERROR(CheckSize(info, "info"));
  control::Node node;
  node.id = {info.node_id()};
  if (!node.id.empty() && !IsValidId(node.id.value)) {
    return InvalidArgument("info.node_id is not a valid id: " + Clip(node.id.value, 200),
                           "leave it empty and the server chooses one");
  }
  node.endpoint = info.endpoint();
  if (node.endpoint.empty() && !info.ip_address().empty() && info.port() > 0)
    node.endpoint = info.ip_address() + ":" + std::to_string(info.port());
  if (node.endpoint.empty()) {
    return InvalidArgument("info.endpoint is empty: the server would not reach the node",
                           "send endpoint (host:port of its NodeService), or ip_address and port");
  }
  std::set<int32_t> devices;
  std::vector<int64_t> gpu_memory;  // of each
  for (const protocol::DeviceCaps& device : info.devices()) {
    if (device.device_type() == protocol::DEVICE_UNKNOWN) continue;
    devices.insert(device.device_type());
    if (device.device_type() != protocol::DEVICE_CPU)
      gpu_memory.push_back(std::max(device.vram_total(), device.memory_total()));
  }
  devices.insert(protocol::DEVICE_CPU);
  node.devices.assign(devices.begin(), devices.end());
  node.capacity = info.has_capacity()
                      ? ResourcesFromWire(info.capacity())
                      : Resources{int64_t{info.cpu_cores()} * 1000, info.ram_total()};
  const int64_t gpus =
      info.has_capacity() ? info.capacity().gpus() : static_cast<int64_t>(gpu_memory.size());
  // No sum of what jobs may ask for comes near to overflow below this.
  constexpr int64_t kMost = int64_t{1} << 60;
  if (!Resources{kMost, kMost, kMost, kMost, {}}.Holds({node.capacity.cpu_millis,
                                                        node.capacity.memory_bytes,
                                                        0,
                                                        node.capacity.disk_bytes,
                                                        {}})) {
    return InvalidArgument("info.capacity: no machine has so much: " + ToString(node.capacity));
  }
  if (gpus < 0 || gpus > kMostGpusOfANode) {
    return InvalidArgument("info.capacity.gpus: expected 0 to " + std::to_string(kMostGpusOfANode) +
                           ", found " + std::to_string(gpus));
  }
  node.capacity.gpu_millis = node.capacity.gpu_memory_bytes = 0;
  for (size_t i = 0; i < static_cast<size_t>(gpus); ++i) {
    const int64_t memory = i < gpu_memory.size() ? gpu_memory[i] : 0;
    if (memory < 0 || memory > spec::kMaxMemoryBytes) {
      return InvalidArgument("info.devices: no GPU has " + std::to_string(memory) +
                             " bytes of memory");
    }
    node.capacity.AddGpus(1, memory);
  }
  for (const NamedAmount& one : node.capacity.named) {
    if (!IsResourceName(one.name) || one.amount < 0 || one.amount > kMost) {
      return InvalidArgument("info.capacity.named: '" + one.name + "' = " +
                             std::to_string(one.amount) + " is no amount of a named resource");
    }
  }
  node.labels.insert(info.labels().begin(), info.labels().end());
  if (node.labels.size() > kMaxLabels) {
    return InvalidArgument("info.labels: at most " + std::to_string(kMaxLabels) + ", found " +
                           std::to_string(node.labels.size()));
  }
  for (const auto& [name, value] : node.labels) {
    if (!IsLabelText(name) || !IsLabelText(value)) {
      return InvalidArgument("info.labels: '" + name + "' = '" + value +
                             "': expected 1 to 64 letters, digits, '.', "
                             "'_' and '-' for name and value");
    }
  }
  if (node.capacity.cpu_millis <= 0 || node.capacity.memory_bytes <= 0 ||
      node.capacity.disk_bytes < 0) {
    return InvalidArgument(
        "info.capacity: a node needs some CPU and memory, found " + ToString(node.capacity),
        "send capacity, or cpu_cores and ram_total");
  }
  if (info.rendezvous_ports() != 0) {
    if (info.rendezvous_port() < 1 || info.rendezvous_ports() < 0 ||
        info.rendezvous_ports() > 65536 - info.rendezvous_port()) {
      return InvalidArgument(
          "info.rendezvous_port, rendezvous_ports: expected ports from 1 to "
          "65535, found " +
          std::to_string(info.rendezvous_ports()) + " from " +
          std::to_string(info.rendezvous_port()));
    }
    // What ranks tell each other is not encrypted in this release.
    if (ParseListenAddress(node.endpoint, "info.endpoint").ok()) {
      node.rendezvous_port = info.rendezvous_port();
      node.rendezvous_ports = info.rendezvous_ports();
    }
  }
  node.info = info.SerializeAsString();
  return node;
}

std::vector<AttemptId> ActiveOf(const protocol::HeartbeatRequest& request) {
  std::vector<AttemptId> active = FromAttemptRefs(request.active_attempts());
  if (active.empty()) {
    for (const std::string& job : request.active_jobs()) active.push_back({{job}, 0});
  }
  return active;
}

class NodeServiceImpl final : public protocol::NodeService::CallbackService {
 public:
  explicit NodeServiceImpl(const ServiceParts& parts)
      : core_(parts.core),
        channels_(parts.channels),
        sessions_(parts.sessions),
        datasets_(parts.datasets),
        pool_(parts.pool),
        metrics_(parts.metrics),
        public_key_(parts.signer->public_key()),
        heartbeat_ms_(ToMilliseconds(parts.heartbeat_interval)),
        lease_ms_(ToMilliseconds(parts.lease)),
        reports_(parts) {}

  ServerUnaryReactor* RegisterNode(CallbackServerContext* context,
                                   const protocol::RegisterNodeRequest* request,
                                   protocol::RegisterNodeResponse* response) override {
    auto node = NodeOf(request->info());
    if (!node.ok()) return Refuse(context, node.status());
    if (node->id.empty()) node->id = {"node-" + security::RandomHex(8)};
    control::RegisterNode command{.node = *node,
                                  .active = FromAttemptRefs(request->active_attempts()),
                                  .session = security::RandomHex(16),
                                  .boot = Clip(request->boot_id(), 100),
                                  .number = request->sent_at_ns()};
    response->set_session_token(command.session);
    ServerUnaryReactor* reactor = context->DefaultReactor();
    core_->Post(std::move(command),
                [this, reactor, response, endpoint = node->endpoint](control::Reply reply) {
                  if (reply.status.ok()) {
                    const auto& registered = std::get<control::RegisterReply>(reply.content);
                    channels_->Connect(endpoint);
                    sessions_->Set(registered.node, response->session_token());
                    response->set_status(protocol::STATUS_SUCCESS);
                    response->set_node_id(registered.node.value);
                    response->set_server_public_key(public_key_);
                    response->set_heartbeat_interval_ms(heartbeat_ms_);
                    response->set_lease_ms(lease_ms_);
                    // Attempts to stop are told with the first heartbeat.
                  }
                  reactor->Finish(ToGrpc(reply.status));
                });
    return reactor;
  }

  ServerUnaryReactor* Heartbeat(CallbackServerContext* context,
                                const protocol::HeartbeatRequest* request,
                                protocol::HeartbeatResponse* response) override {
    control::Heartbeat command{
        .node = {request->node_id()}, .session = SessionOf(*context), .active = ActiveOf(*request)};
    const protocol::NodeInfo& info = request->current_status();
    if (Status size = CheckSize(info, "current_status"); !size.ok()) return Refuse(context, size);
    if (info.has_available()) command.available = ResourcesFromWire(info.available());
    // A heartbeat that carries only what changed must not erase what was registered.
    if (info.cpu_cores() > 0) command.info = info.SerializeAsString();
    for (const std::string& job : request->kept_checkpoints()) command.kept.push_back({job});
    if (request->has_kept_data()) {
      const auto& keys = request->kept_data().keys();
      command.data.emplace(keys.begin(), keys.begin() + std::min(keys.size(), kMostKeptData));
    }
    ServerUnaryReactor* reactor = context->DefaultReactor();
    core_->Post(std::move(command), [this, reactor, request, response](control::Reply reply) {
      if (reply.status.ok()) {
        if (metrics_ != nullptr)
          metrics_->OnDatasetCache(request->node_id(), request->current_status().dataset_cache());
        response->set_status(protocol::STATUS_SUCCESS);
        response->set_keep_alive(true);
        const auto& beat = std::get<control::HeartbeatReply>(reply.content);
        for (const AttemptId& stop : beat.stop) {
          response->add_jobs_to_cancel(stop.job.value);
          protocol::AttemptRef* ref = response->add_attempts_to_stop();
          ref->set_job_id(stop.job.value);
          ref->set_attempt(stop.attempt);
        }
        for (const AttemptId& yield : beat.yield) {
          response->add_jobs_to_cancel(yield.job.value);
          protocol::AttemptRef* ref = response->add_attempts_to_yield();
          ref->set_job_id(yield.job.value);
          ref->set_attempt(yield.attempt);
        }
        for (const JobId& job : beat.drop) response->add_checkpoints_to_drop(job.value);
      }
      reactor->Finish(ToGrpc(reply.status));
    });
    return reactor;
  }

  ServerUnaryReactor* AssignJob(CallbackServerContext* context, const protocol::AssignJobRequest*,
                                protocol::AssignJobResponse*) override {
    return Refuse(context, Unimplemented("AssignJob is served by nodes, not by the server",
                                         "submit jobs with JobService.SubmitJob"));
  }

  ServerUnaryReactor* ReportProgress(CallbackServerContext* context,
                                     const protocol::ReportProgressRequest* request,
                                     protocol::ReportProgressResponse* response) override {
    control::ReportProgress command{.node = {request->node_id()},
                                    .attempt = {{request->job_id()}, request->attempt()},
                                    .progress = ToProgress(request->status().progress()),
                                    .epoch = request->status().current_epoch(),
                                    .metrics = ToMap(request->current_metrics())};
    if (command.metrics.empty()) command.metrics = ToMap(request->status().metrics());
    Status allowed = reports_.CheckCaller(*context, request->authorization_token(), command.attempt,
                                          command.node);
    if (allowed.ok()) allowed = CheckMetrics(command.metrics);
    if (allowed.ok()) {
      auto checkpoint = reports_.CheckpointOf(request->checkpoint());
      allowed = checkpoint.status();
      if (checkpoint.ok()) command.checkpoint = std::move(*checkpoint);
    }
    if (!allowed.ok()) return reports_.Refuse(context, request->job_id(), allowed);
    if (request->has_resumed()) {
      command.resumed = {"", request->resumed().epoch(), request->resumed().step(), {}};
    }
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reports_.Post(reactor, std::move(command), [response](const control::ReportReply& reply) {
      response->set_yield(reply.yield);
      response->set_continue_job(reply.continue_job);
      response->set_status(reply.continue_job ? protocol::STATUS_SUCCESS : protocol::STATUS_ERROR);
      if (!reply.continue_job) SetError(Code::kAborted, reply.message, response->mutable_error());
    });
    return reactor;
  }

  ServerUnaryReactor* ReportCompletion(CallbackServerContext* context,
                                       const protocol::ReportCompletionRequest* request,
                                       protocol::ReportCompletionResponse* response) override {
    auto command = CompletionOf(*context, *request);
    if (!command.ok()) return reports_.Refuse(context, request->job_id(), command.status());
    ServerUnaryReactor* reactor = context->DefaultReactor();
    auto post = [this, reactor, response](control::ReportCompletion report) {
      reports_.Post(reactor, std::move(report), [response](const control::ReportReply& reply) {
        response->set_status(WasRecorded(reply) ? protocol::STATUS_SUCCESS
                                                : protocol::STATUS_ERROR);
        if (!WasRecorded(reply)) SetError(Code::kAborted, reply.message, response->mutable_error());
      });
    };
    if (request->output_dataset().empty() ||
        command->outcome != control::ReportCompletion::Outcome::kSucceeded) {
      post(std::move(*command));
      return reactor;
    }
    pool_->Post([this, reactor, post, output = request->output_dataset(),
                 report = std::move(*command)]() mutable {
      Status made = MakeDataset(output, &report);
      if (!made.ok()) return reactor->Finish(ToGrpc(made));
      post(std::move(report));
    });
    return reactor;
  }

  // The node keeps what it has measured, so it is asked.
  ServerUnaryReactor* GetNodeMetrics(CallbackServerContext* context,
                                     const protocol::GetNodeMetricsRequest* request,
                                     protocol::GetNodeMetricsResponse* response) override {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    core_->Post(control::GetNode{.node = {request->node_id()}},
                [channels = channels_, reactor, request, response](control::Reply reply) {
                  if (!reply.status.ok()) return reactor->Finish(ToGrpc(reply.status));
                  const control::NodeView& view = std::get<control::NodeReply>(reply.content).view;
                  if (!view.online) {
                    return reactor->Finish(ToGrpc(Unavailable("node '" + view.node.id.value +
                                                                  "', which keeps its metrics, "
                                                                  "is offline",
                                                              "ask when it is back")));
                  }
                  auto call = std::make_shared<MetricsCall>();
                  call->stub = protocol::NodeService::NewStub(channels->Get(view.node.endpoint));
                  call->context.set_deadline(std::chrono::system_clock::now() + kMostForMetrics);
                  call->stub->async()->GetNodeMetrics(
                      &call->context, request, response,
                      [call, reactor](const grpc::Status& status) { reactor->Finish(status); });
                });
    return reactor;
  }

  ServerUnaryReactor* NotifyJobAccepted(CallbackServerContext* context,
                                        const protocol::JobAcceptedRequest* request,
                                        protocol::JobAcceptedResponse* response) override {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    control::AssignOutcome outcome{.attempt = {{request->job_id()}, 0},
                                   .node = {request->node_id()}};
    core_->Post(control::GetJob{.job = {request->job_id()}},
                [this, reactor, response, outcome](control::Reply reply) {
                  if (reply.status.ok()) {
                    core_->Post(outcome, nullptr);
                    response->set_status(protocol::STATUS_SUCCESS);
                    response->set_acknowledged(true);
                  }
                  reactor->Finish(ToGrpc(reply.status));
                });
    return reactor;
  }

 private:
  static int32_t ToMilliseconds(Duration duration) {
    return static_cast<int32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
  }

  // Makes the files of a preprocessing a version of a data set. The same files give the same
  // version, so that neither a report that comes twice nor one of an old attempt makes anything
  // else. When it cannot be, the report becomes one of a failure; a status is for what may pass.
  Status MakeDataset(const std::string& output, control::ReportCompletion* report) {
    auto name = spec::ParseFullName(output);
    if (!name) return InvalidArgument("output_dataset: expected NAME@VERSION");
    RETURN_IF_ERROR(core_->Ready());
    std::vector<spec::DatasetFile> files;
    for (const control::Artifact& artifact : report->artifacts)
      files.push_back({artifact.name, artifact.sha256, artifact.size});
    auto put = datasets_->Put(name->name, name->version, std::move(files), ReadClocks().unix);
    Status status = put.status();
    if (put.ok() && !put->version) status = FailedPrecondition("files of the data set are gone");
    if (status.ok() || status.code() == Code::kFailedPrecondition ||
        status.code() == Code::kResourceExhausted)
      return status;
    report->outcome = control::ReportCompletion::Outcome::kFailed;
    report->cause = control::Cause::kUserError;
    report->error = {.code = static_cast<int32_t>(status.code()),
                     .message = "the data set could not be stored: " + status.message()};
    report->artifacts.clear();
    return OkStatus();
  }

  Result<control::ReportCompletion> CompletionOf(
      const CallbackServerContext& context,
      const protocol::ReportCompletionRequest& request) const {
    const protocol::JobResult& result = request.result();
    control::ReportCompletion command{
        .node = {request.node_id()},
        .attempt = {{request.job_id()}, request.attempt()},
        .metrics = ToMap(result.final_metrics()),
        .compute_seconds = static_cast<double>(result.total_compute_time()),
        .log_tail = {std::max<int64_t>(request.log_tail_offset(), 0),
                     Clip(request.log_tail(), kMostLogTailBytes)}};
    RETURN_IF_ERROR(reports_.CheckCaller(context, request.authorization_token(), command.attempt,
                                         command.node));
    ASSIGN_OR_RETURN(command.outcome, OutcomeOf(result.status()));
    ASSIGN_OR_RETURN(command.checkpoint, reports_.CheckpointOf(request.checkpoint()));
    if (!protocol::FailureCause_IsValid(request.cause()))
      return InvalidArgument("cause: no such cause: " + std::to_string(request.cause()));
    command.cause = static_cast<control::Cause>(request.cause());
    if (command.outcome == control::ReportCompletion::Outcome::kSucceeded) {
      for (const protocol::Artifact& artifact : result.artifacts()) {
        std::string sha256 =
            artifact.sha256().empty() ? Sha256OfUri(artifact.uri()) : artifact.sha256();
        command.artifacts.push_back({artifact.name(), sha256, artifact.size()});
      }
      if (command.artifacts.empty() && !result.model_weights_hash().empty()) {
        command.artifacts.push_back(
            {"weights.safetensors", result.model_weights_hash(), result.model_size()});
      }
      for (const control::Artifact& artifact : command.artifacts)
        RETURN_IF_ERROR(reports_.CheckArtifact(artifact, !request.output_dataset().empty()));
      // The weights come first; the others keep their order.
      std::stable_partition(command.artifacts.begin(), command.artifacts.end(),
                            [](const auto& a) { return a.name == "weights.safetensors"; });
      return command;
    }
    command.error = {.code = result.error().code(),
                     .message = Clip(result.error().message(), kMostErrorBytes),
                     .details = DetailsOf(request)};
    if (command.outcome == control::ReportCompletion::Outcome::kFailed) {
      if (command.error.code == 0) command.error.code = static_cast<int32_t>(CodeOf(command.cause));
      if (command.error.message.empty()) command.error.message = control::CauseName(command.cause);
    }
    return command;
  }

  Core* const core_;
  NodeChannels* const channels_;
  NodeSessions* const sessions_;
  DatasetRegistry* const datasets_;
  WorkPool* const pool_;
  Metrics* const metrics_;
  const std::string public_key_;
  const int32_t heartbeat_ms_, lease_ms_;
  const Reports reports_;
};

// ---- JobStatusService ---------------------------------------------------------------------------

class JobStatusServiceImpl final : public protocol::JobStatusService::CallbackService {
 public:
  explicit JobStatusServiceImpl(const ServiceParts& parts) : reports_(parts) {}

  ServerUnaryReactor* UpdateJobStatus(CallbackServerContext* context,
                                      const protocol::UpdateJobStatusRequest* request,
                                      protocol::UpdateJobStatusResponse* response) override {
    control::ReportProgress command{.node = {request->node_id()},
                                    .attempt = {{request->job_id()}, 0},
                                    .progress = ToProgress(request->progress()),
                                    .epoch = request->current_epoch(),
                                    .metrics = ToMap(request->metrics())};
    Status allowed = reports_.CheckCaller(*context, "", command.attempt, command.node);
    if (allowed.ok()) allowed = CheckMetrics(command.metrics);
    if (!allowed.ok()) return Refuse(context, allowed);
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reports_.Post(reactor, std::move(command), [response](const control::ReportReply& reply) {
      response->set_should_continue(reply.continue_job);
      response->set_status(reply.continue_job ? protocol::STATUS_SUCCESS : protocol::STATUS_ERROR);
      if (!reply.continue_job) SetError(Code::kAborted, reply.message, response->mutable_error());
    });
    return reactor;
  }

  ServerUnaryReactor* ReportJobResult(CallbackServerContext* context,
                                      const protocol::ReportJobResultRequest* request,
                                      protocol::ReportJobResultResponse* response) override {
    auto outcome = OutcomeOf(request->final_status());
    if (!outcome.ok()) return reports_.Refuse(context, request->job_id(), outcome.status());
    control::ReportCompletion command{
        .node = {request->node_id()},
        .attempt = {{request->job_id()}, 0},
        .outcome = *outcome,
        .metrics = ToMap(request->final_metrics()),
        .compute_seconds = static_cast<double>(request->total_compute_time()) / 1000};
    Status allowed = reports_.CheckCaller(*context, "", command.attempt, command.node);
    if (!allowed.ok()) return Refuse(context, allowed);
    using Outcome = control::ReportCompletion::Outcome;
    if (*outcome == Outcome::kSucceeded && !request->model_weights_hash().empty()) {
      control::Artifact weights{"weights.safetensors", request->model_weights_hash(),
                                request->model_size()};
      Status stored = reports_.CheckArtifact(weights);
      if (!stored.ok()) return reports_.Refuse(context, request->job_id(), stored);
      command.artifacts = {weights};
    }
    if (*outcome == Outcome::kFailed) {
      command.cause = control::Cause::kInternal;
      command.error = {.code = static_cast<int32_t>(Code::kInternal),
                       .message = request->error_message().empty()
                                      ? "the node reported a failure"
                                      : Clip(request->error_message(), kMostErrorBytes)};
    }
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reports_.Post(reactor, std::move(command), [response](const control::ReportReply& reply) {
      response->set_status(WasRecorded(reply) ? protocol::STATUS_SUCCESS : protocol::STATUS_ERROR);
      if (!WasRecorded(reply)) SetError(Code::kAborted, reply.message, response->mutable_error());
    });
    return reactor;
  }

 private:
  const Reports reports_;
};

}  // namespace

NamedService MakeNodeService(const ServiceParts& parts) {
  return {std::make_unique<NodeServiceImpl>(parts), protocol::NodeService::service_full_name()};
}
NamedService MakeJobStatusService(const ServiceParts& parts) {
  return {std::make_unique<JobStatusServiceImpl>(parts),
          protocol::JobStatusService::service_full_name()};
}

}  // namespace cyxwiz::central
