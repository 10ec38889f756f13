// The connection to a Central Server: blocking calls whose errors are Status values.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cyxwiz/protocol/control.grpc.pb.h"
#include "cyxwiz/protocol/dataset.grpc.pb.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"
#include "cyxwiz/protocol/job.grpc.pb.h"
#include "cyxwiz/protocol/log.grpc.pb.h"
#include "cyxwiz/protocol/node.grpc.pb.h"

namespace cyxwiz::cli {

inline constexpr Duration kConnectTimeout = std::chrono::seconds(3);
// For one answer. Submitting may read a data set's labels first.
inline constexpr Duration kCallTimeout = std::chrono::seconds(60);

// Of gRPC, with the server's own words as the message.
Status FromGrpc(const grpc::Status& status);

// Any number of threads.
class Client {
 public:
  // Connects to host:port. UNAVAILABLE, with what to do as hint, as soon as the connection is
  // refused and at the latest after `timeout`.
  static Result<std::unique_ptr<Client>> Connect(const std::string& server,
                                                 Duration timeout = kConnectTimeout);

  const std::string& server() const { return server_; }

  // Calls one method: Call(jobs(), &protocol::JobService::StubInterface::CancelJob, request).
  template <typename Stub, typename Request, typename Response>
  Result<Response> Call(Stub& stub,
                        grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                     Response*),
                        const Request& request) {
    grpc::ClientContext context;
    Prepare(&context);
    Response response;
    grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) return FromGrpc(status);
    return response;
  }

  // INVALID_ARGUMENT with everything wrong in *problems when the job is refused.
  Result<protocol::SubmitJobResponse> SubmitJob(const protocol::JobConfig& config,
                                                std::vector<protocol::Problem>* problems);
  Result<protocol::PlanJobResponse> PlanJob(const protocol::PlanJobRequest& request,
                                            std::vector<protocol::Problem>* problems);
  Result<protocol::GetJobStatusResponse> GetJobStatus(const std::string& job_id);

  protocol::JobService::StubInterface& jobs() { return *jobs_; }
  protocol::NodeDiscoveryService::StubInterface& discovery() { return *discovery_; }
  protocol::JobLogService::StubInterface& logs() { return *logs_; }
  protocol::ModelService::StubInterface& models() { return *models_; }
  protocol::JobControlService::StubInterface& job_control() { return *job_control_; }
  protocol::NodeControlService::StubInterface& node_control() { return *node_control_; }
  protocol::DatasetService::StubInterface& datasets() { return *datasets_; }

  // Waits until the connection stands (again). UNAVAILABLE as for Connect.
  Status WaitUntilConnected(Duration timeout);

 private:
  Client(std::string server, std::shared_ptr<grpc::Channel> channel);
  // With a deadline, and who asks: the user of this process.
  static void Prepare(grpc::ClientContext* context);
  // What the server says is wrong with a job that it has refused.
  static void TakeProblems(const grpc::ClientContext& context,
                           std::vector<protocol::Problem>* problems);

  std::string server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<protocol::JobService::StubInterface> jobs_;
  std::unique_ptr<protocol::NodeDiscoveryService::StubInterface> discovery_;
  std::unique_ptr<protocol::JobLogService::StubInterface> logs_;
  std::unique_ptr<protocol::ModelService::StubInterface> models_;
  std::unique_ptr<protocol::JobControlService::StubInterface> job_control_;
  std::unique_ptr<protocol::NodeControlService::StubInterface> node_control_;
  std::unique_ptr<protocol::DatasetService::StubInterface> datasets_;
};

}  // namespace cyxwiz::cli
