// NodeDiscoveryService: see proto/cyxwiz/protocol/node.proto.
#include <grpcpp/grpcpp.h>

#include "central/convert.h"
#include "central/services.h"
#include "cyxwiz/protocol/node.grpc.pb.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

class DiscoveryServiceImpl final : public protocol::NodeDiscoveryService::CallbackService {
 public:
  explicit DiscoveryServiceImpl(Api* api) : api_(api) {}

  ServerUnaryReactor* FindNodes(CallbackServerContext* context,
                                const protocol::FindNodesRequest* request,
                                protocol::FindNodesResponse* response) override {
    return Call(context, &Api::FindNodes, request, response);
  }
  ServerUnaryReactor* ListNodes(CallbackServerContext* context,
                                const protocol::ListNodesRequest* request,
                                protocol::ListNodesResponse* response) override {
    return Call(context, &Api::ListNodes, request, response);
  }
  ServerUnaryReactor* GetNodeInfo(CallbackServerContext* context,
                                  const protocol::GetNodeInfoRequest* request,
                                  protocol::GetNodeInfoResponse* response) override {
    return Call(context, &Api::GetNodeInfo, request, response);
  }

 private:
  template <typename Request, typename Response>
  ServerUnaryReactor* Call(CallbackServerContext* context,
                           void (Api::*method)(const Request&, Done<Response>),
                           const Request* request, Response* response) {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    (api_->*method)(*request, [reactor, response](Status status, Response answer) {
      response->Swap(&answer);
      reactor->Finish(ToGrpc(status));
    });
    return reactor;
  }

  Api* const api_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeDiscoveryService(const ServiceParts& parts) {
  return std::make_unique<DiscoveryServiceImpl>(parts.api);
}

}  // namespace cyxwiz::central
