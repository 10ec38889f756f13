#include "cli/client.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace cyxwiz::cli {

// The whole SubmitJobResponse of a refused job, serialised; see SubmitJobResponse.problems in
// job.proto.
static constexpr char kSubmitResponseKey[] = "cyxwiz-submit-response-bin";

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  std::string message = status.error_message();
  if (message.empty())
    message =
        "the server answered " + std::string(CodeName(static_cast<Code>(status.error_code())));
  return Status(static_cast<Code>(status.error_code()), message);
}

Client::Client(std::string server, std::shared_ptr<grpc::Channel> channel)
    : server_(std::move(server)),
      channel_(std::move(channel)),
      jobs_(protocol::JobService::NewStub(channel_)),
      discovery_(protocol::NodeDiscoveryService::NewStub(channel_)),
      logs_(protocol::JobLogService::NewStub(channel_)),
      models_(protocol::ModelService::NewStub(channel_)),
      job_control_(protocol::JobControlService::NewStub(channel_)),
      node_control_(protocol::NodeControlService::NewStub(channel_)),
      datasets_(protocol::DatasetService::NewStub(channel_)) {}

void Client::Prepare(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  const passwd* user = ::getpwuid(::geteuid());
  const std::string name = user != nullptr ? user->pw_name : "";
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (!name.empty() && plain) context->AddMetadata("cyxwiz-user", name);
}

Result<std::unique_ptr<Client>> Client::Connect(const std::string& server, Duration timeout) {
  grpc::ChannelArguments arguments;
  // A proxy of the environment is for the web; it cannot carry this, and would even take calls to
  // 127.0.0.1.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  auto channel = grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  std::unique_ptr<Client> client(new Client(server, std::move(channel)));
  RETURN_IF_ERROR(client->WaitUntilConnected(timeout));
  return client;
}

Status Client::WaitUntilConnected(Duration timeout) {
  auto deadline = std::chrono::system_clock::now() + timeout;
  std::string why = "no answer within " + std::to_string(timeout / std::chrono::seconds(1)) + " s";
  for (;;) {
    grpc_connectivity_state state = channel_->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return OkStatus();
    // A refused connection is known at once; waiting for a second try would only delay the message.
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) {
      why = "the connection failed";
      break;
    }
    if (!channel_->WaitForStateChange(state, deadline)) break;
  }
  return Unavailable("no CyxWiz server answers at " + server_ + ": " + why,
                     "is it running? start one with 'cyxwiz up', or name another with --server "
                     "HOST:PORT or CYXWIZ_SERVER");
}

void Client::TakeProblems(const grpc::ClientContext& context,
                          std::vector<protocol::Problem>* problems) {
  const auto& trailing = context.GetServerTrailingMetadata();
  if (auto found = trailing.find(kSubmitResponseKey); found != trailing.end()) {
    protocol::SubmitJobResponse refused;
    if (refused.ParseFromArray(found->second.data(), static_cast<int>(found->second.size()))) {
      problems->assign(refused.problems().begin(), refused.problems().end());
    }
  }
}

Result<protocol::SubmitJobResponse> Client::SubmitJob(const protocol::JobConfig& config,
                                                      std::vector<protocol::Problem>* problems) {
  protocol::SubmitJobRequest request;
  *request.mutable_config() = config;
  grpc::ClientContext context;
  Prepare(&context);
  protocol::SubmitJobResponse response;
  grpc::Status status = jobs_->SubmitJob(&context, request, &response);
  if (status.ok()) return response;
  TakeProblems(context, problems);
  Status error = FromGrpc(status);
  if (error.code() == Code::kUnavailable || error.code() == Code::kDeadlineExceeded) {
    return Status(error.code(),
                  "the connection to " + server_ + " was lost before the server answered (" +
                      error.message() + "): the job may have been accepted or not",
                  "look with 'cyxwiz ps' before you submit it again");
  }
  return error;
}

Result<protocol::PlanJobResponse> Client::PlanJob(const protocol::PlanJobRequest& request,
                                                  std::vector<protocol::Problem>* problems) {
  grpc::ClientContext context;
  Prepare(&context);
  protocol::PlanJobResponse response;
  grpc::Status status = job_control_->PlanJob(&context, request, &response);
  if (status.ok()) return response;
  TakeProblems(context, problems);
  return FromGrpc(status);
}

Result<protocol::GetJobStatusResponse> Client::GetJobStatus(const std::string& job_id) {
  protocol::GetJobStatusRequest request;
  request.set_job_id(job_id);
  return Call(*jobs_, &protocol::JobService::StubInterface::GetJobStatus, request);
}

}  // namespace cyxwiz::cli
