// DatasetService: see proto/cyxwiz/protocol/dataset.proto.
#include "cyxwiz/protocol/dataset.grpc.pb.h"

#include <grpcpp/grpcpp.h>

#include "central/api_call.h"
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
    return Call(api_, context, &Api::PutDataset, request, response);
  }
  ServerUnaryReactor* ListDatasets(CallbackServerContext* context,
                                   const protocol::ListDatasetsRequest* request,
                                   protocol::ListDatasetsResponse* response) override {
    return Call(api_, context, &Api::ListDatasets, request, response);
  }
  ServerUnaryReactor* RemoveDataset(CallbackServerContext* context,
                                    const protocol::RemoveDatasetRequest* request,
                                    protocol::RemoveDatasetResponse* response) override {
    return Call(api_, context, &Api::RemoveDataset, request, response);
  }

 private:
  Api* const api_;
};

}  // namespace

NamedService MakeDatasetService(const ServiceParts& parts) {
  return {std::make_unique<DatasetServiceImpl>(parts.api),
          protocol::DatasetService::service_full_name()};
}

}  // namespace cyxwiz::central
