// DatasetService: see proto/cyxwiz/protocol/dataset.proto.
#include "cyxwiz/protocol/dataset.grpc.pb.h"

#include <grpcpp/grpcpp.h>

#include "central/convert.h"
#include "central/services.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

class DatasetServiceImpl final : public protocol::DatasetService::CallbackService {
 public:
  explicit DatasetServiceImpl(Api* api) : api_(api) {}

  ServerUnaryReactor* PutDataset(CallbackServerContext* context,
                                 const protocol::PutDatasetRequest* request,
                                 protocol::PutDatasetResponse* response) override {
    return Call(context, &Api::PutDataset, request, response);
  }
  ServerUnaryReactor* ListDatasets(CallbackServerContext* context,
                                   const protocol::ListDatasetsRequest* request,
                                   protocol::ListDatasetsResponse* response) override {
    return Call(context, &Api::ListDatasets, request, response);
  }
  ServerUnaryReactor* RemoveDataset(CallbackServerContext* context,
                                    const protocol::RemoveDatasetRequest* request,
                                    protocol::RemoveDatasetResponse* response) override {
    return Call(context, &Api::RemoveDataset, request, response);
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

std::unique_ptr<grpc::Service> MakeDatasetService(const ServiceParts& parts) {
  return std::make_unique<DatasetServiceImpl>(parts.api);
}

}  // namespace cyxwiz::central
