// DeploymentService and TerminalService: on the wire since the beginning, served by a later
// release.
#include <grpcpp/grpcpp.h>

#include "central/services.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using namespace protocol;  // NOLINT: this file is a list of its messages

grpc::Status Later(const char* what) {
  return grpc::Status(grpc::UNIMPLEMENTED, std::string(what) +
                                               " are not part of this release: train a model with "
                                               "JobService and download it with ModelService");
}

class DeploymentServiceImpl final : public DeploymentService::CallbackService {
 public:
  ServerUnaryReactor* CreateDeployment(CallbackServerContext* c, const CreateDeploymentRequest*,
                                       CreateDeploymentResponse*) override {
    return Refuse(c);
  }
  ServerUnaryReactor* GetDeployment(CallbackServerContext* c, const GetDeploymentRequest*,
                                    GetDeploymentResponse*) override {
    return Refuse(c);
  }
  ServerUnaryReactor* ListDeployments(CallbackServerContext* c, const ListDeploymentsRequest*,
                                      ListDeploymentsResponse*) override {
    return Refuse(c);
  }
  ServerUnaryReactor* StopDeployment(CallbackServerContext* c, const StopDeploymentRequest*,
                                     StopDeploymentResponse*) override {
    return Refuse(c);
  }
  ServerUnaryReactor* DeleteDeployment(CallbackServerContext* c, const DeleteDeploymentRequest*,
                                       DeleteDeploymentResponse*) override {
    return Refuse(c);
  }
  ServerUnaryReactor* GetDeploymentMetrics(CallbackServerContext* c,
                                           const GetDeploymentMetricsRequest*,
                                           GetDeploymentMetricsResponse*) override {
    return Refuse(c);
  }

 private:
  static ServerUnaryReactor* Refuse(CallbackServerContext* context) {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(Later("deployments"));
    return reactor;
  }
};

class RefusedTerminal final : public grpc::ServerBidiReactor<TerminalData, TerminalData> {
 public:
  RefusedTerminal() { Finish(Later("terminals")); }
  void OnDone() override { delete this; }
};

class TerminalServiceImpl final : public TerminalService::CallbackService {
 public:
  ServerUnaryReactor* CreateSession(CallbackServerContext* c, const CreateTerminalSessionRequest*,
                                    CreateTerminalSessionResponse*) override {
    return Refuse(c);
  }
  grpc::ServerBidiReactor<TerminalData, TerminalData>* StreamTerminal(
      CallbackServerContext*) override {
    return new RefusedTerminal();
  }
  ServerUnaryReactor* ResizeTerminal(CallbackServerContext* c, const TerminalResize*,
                                     SimpleResponse*) override {
    return Refuse(c);
  }
  ServerUnaryReactor* CloseSession(CallbackServerContext* c, const CloseTerminalSessionRequest*,
                                   CloseTerminalSessionResponse*) override {
    return Refuse(c);
  }

 private:
  static ServerUnaryReactor* Refuse(CallbackServerContext* context) {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(Later("terminals"));
    return reactor;
  }
};

}  // namespace

NamedService MakeDeploymentService() {
  return {std::make_unique<DeploymentServiceImpl>(), DeploymentService::service_full_name()};
}
NamedService MakeTerminalService() {
  return {std::make_unique<TerminalServiceImpl>(), TerminalService::service_full_name()};
}

}  // namespace cyxwiz::central
