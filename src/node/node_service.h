// What the node serves: NodeService (AssignJob, GetNodeMetrics), NodeAgentService, JobLogService,
// DeploymentService and, on a port of its own, TerminalService. Calls arrive on threads of gRPC and
// are answered on the executor thread.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <boost/asio/io_context.hpp>
#include <memory>

#include "cyxwiz/protocol/agent.grpc.pb.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"
#include "cyxwiz/protocol/log.grpc.pb.h"
#include "cyxwiz/protocol/node.grpc.pb.h"
#include "node/job_executor.h"
#include "node/log_book.h"
#include "node/node_client.h"
#include "node/usage.h"

namespace cyxwiz::node {

// What the services act on; all of it lives on the executor thread and outlives the servers.
struct ServiceContext {
  boost::asio::io_context* io;
  JobExecutor* executor;
  LogBook* logs;
  NodeClient* client;
  const UsageHistory* usage;
};

// AssignJob refuses with a status what is not for this node: INVALID_ARGUMENT (malformed, or a job
// that breaks the rules of src/spec; all its problems are named),
// UNAUTHENTICATED (token absent, wrong or expired), PERMISSION_DENIED (token of another job,
// attempt, node or request), UNAVAILABLE (the node has no contact with its server, or has
// registered again). What it cannot take now it answers with accepted = false and the reason.
class NodeServiceImpl final : public protocol::NodeService::CallbackService {
 public:
  explicit NodeServiceImpl(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* AssignJob(grpc::CallbackServerContext* context,
                                      const protocol::AssignJobRequest* request,
                                      protocol::AssignJobResponse* response) override;
  grpc::ServerUnaryReactor* GetNodeMetrics(grpc::CallbackServerContext* context,
                                           const protocol::GetNodeMetricsRequest* request,
                                           protocol::GetNodeMetricsResponse* response) override;
  grpc::ServerUnaryReactor* RegisterNode(grpc::CallbackServerContext* context,
                                         const protocol::RegisterNodeRequest*,
                                         protocol::RegisterNodeResponse*) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const protocol::HeartbeatRequest*,
                                      protocol::HeartbeatResponse*) override;
  grpc::ServerUnaryReactor* ReportProgress(grpc::CallbackServerContext* context,
                                           const protocol::ReportProgressRequest*,
                                           protocol::ReportProgressResponse*) override;
  grpc::ServerUnaryReactor* ReportCompletion(grpc::CallbackServerContext* context,
                                             const protocol::ReportCompletionRequest*,
                                             protocol::ReportCompletionResponse*) override;
  grpc::ServerUnaryReactor* NotifyJobAccepted(grpc::CallbackServerContext* context,
                                              const protocol::JobAcceptedRequest*,
                                              protocol::JobAcceptedResponse*) override;

 private:
  ServiceContext context_;
};

// StopAttempt: the token must be the one the attempt was assigned with, or a valid one for it.
class NodeAgentServiceImpl final : public protocol::NodeAgentService::CallbackService {
 public:
  explicit NodeAgentServiceImpl(const ServiceContext& context) : context_(context) {}
  grpc::ServerUnaryReactor* StopAttempt(grpc::CallbackServerContext* context,
                                        const protocol::StopAttemptRequest* request,
                                        protocol::StopAttemptResponse* response) override;

 private:
  ServiceContext context_;
};

// ReadLog: follows by being woken at each write.
class JobLogServiceImpl final : public protocol::JobLogService::CallbackService {
 public:
  explicit JobLogServiceImpl(const ServiceContext& context) : context_(context) {}
  grpc::ServerWriteReactor<protocol::LogChunk>* ReadLog(
      grpc::CallbackServerContext* context, const protocol::ReadLogRequest* request) override;

 private:
  ServiceContext context_;
};

// Both answer UNIMPLEMENTED and say so in words.
class DeploymentServiceImpl final : public protocol::DeploymentService::CallbackService {
 public:
  grpc::ServerUnaryReactor* CreateDeployment(grpc::CallbackServerContext* context,
                                             const protocol::CreateDeploymentRequest*,
                                             protocol::CreateDeploymentResponse*) override;
  grpc::ServerUnaryReactor* GetDeployment(grpc::CallbackServerContext* context,
                                          const protocol::GetDeploymentRequest*,
                                          protocol::GetDeploymentResponse*) override;
  grpc::ServerUnaryReactor* ListDeployments(grpc::CallbackServerContext* context,
                                            const protocol::ListDeploymentsRequest*,
                                            protocol::ListDeploymentsResponse*) override;
  grpc::ServerUnaryReactor* StopDeployment(grpc::CallbackServerContext* context,
                                           const protocol::StopDeploymentRequest*,
                                           protocol::StopDeploymentResponse*) override;
  grpc::ServerUnaryReactor* DeleteDeployment(grpc::CallbackServerContext* context,
                                             const protocol::DeleteDeploymentRequest*,
                                             protocol::DeleteDeploymentResponse*) override;
  grpc::ServerUnaryReactor* GetDeploymentMetrics(grpc::CallbackServerContext* context,
                                                 const protocol::GetDeploymentMetricsRequest*,
                                                 protocol::GetDeploymentMetricsResponse*) override;
};

class TerminalServiceImpl final : public protocol::TerminalService::CallbackService {
 public:
  grpc::ServerUnaryReactor* CreateSession(grpc::CallbackServerContext* context,
                                          const protocol::CreateTerminalSessionRequest*,
                                          protocol::CreateTerminalSessionResponse*) override;
  grpc::ServerBidiReactor<protocol::TerminalData, protocol::TerminalData>* StreamTerminal(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ResizeTerminal(grpc::CallbackServerContext* context,
                                           const protocol::TerminalResize*,
                                           protocol::SimpleResponse*) override;
  grpc::ServerUnaryReactor* CloseSession(grpc::CallbackServerContext* context,
                                         const protocol::CloseTerminalSessionRequest*,
                                         protocol::CloseTerminalSessionResponse*) override;
};

}  // namespace cyxwiz::node
