// NodeDiscoveryService: see proto/cyxwiz/protocol/node.proto.
#include <grpcpp/grpcpp.h>

#include "central/api_call.h"
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
    return Call(api_, context, &Api::FindNodes, request, response);
  }
  ServerUnaryReactor* ListNodes(CallbackServerContext* context,
                                const protocol::ListNodesRequest* request,
                                protocol::ListNodesResponse* response) override {
    return Call(api_, context, &Api::ListNodes, request, response);
  }
  ServerUnaryReactor* GetNodeInfo(CallbackServerContext* context,
                                  const protocol::GetNodeInfoRequest* request,
                                  protocol::GetNodeInfoResponse* response) override {
    return Call(api_, context, &Api::GetNodeInfo, request, response);
  }

 private:
  Api* const api_;
};

}  // namespace

NamedService MakeDiscoveryService(const ServiceParts& parts) {
  return {std::make_unique<DiscoveryServiceImpl>(parts.api),
          protocol::NodeDiscoveryService::service_full_name()};
}

}  // namespace cyxwiz::central
