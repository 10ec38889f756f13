// JobService: see proto/cyxwiz/protocol/job.proto.
#include <grpcpp/grpcpp.h>

#include "central/api_call.h"
#include "central/convert.h"
#include "central/follow_reactor.h"
#include "central/refusal.h"
#include "central/services.h"
#include "cyxwiz/protocol/job.grpc.pb.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

class JobServiceImpl final : public protocol::JobService::CallbackService {
 public:
  explicit JobServiceImpl(Api* api) : api_(api) {}

  ServerUnaryReactor* SubmitJob(CallbackServerContext* context,
                                const protocol::SubmitJobRequest* request,
                                protocol::SubmitJobResponse* response) override {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    api_->SubmitJob(
        *request, [context, reactor, response](Status status, protocol::SubmitJobResponse answer) {
          if (!status.ok() && answer.problems_size() > 0)
            AddRefusal(std::move(answer), context);
          else
            response->Swap(&answer);
          reactor->Finish(ToGrpc(status));
        });
    return reactor;
  }

  ServerUnaryReactor* GetJobStatus(CallbackServerContext* context,
                                   const protocol::GetJobStatusRequest* request,
                                   protocol::GetJobStatusResponse* response) override {
    return Call(api_, context, &Api::GetJobStatus, request, response);
  }
  ServerUnaryReactor* CancelJob(CallbackServerContext* context,
                                const protocol::CancelJobRequest* request,
                                protocol::CancelJobResponse* response) override {
    return Call(api_, context, &Api::CancelJob, request, response);
  }
  ServerUnaryReactor* ListJobs(CallbackServerContext* context,
                               const protocol::ListJobsRequest* request,
                               protocol::ListJobsResponse* response) override {
    return Call(api_, context, &Api::ListJobs, request, response);
  }
  ServerUnaryReactor* DeleteJob(CallbackServerContext* context,
                                const protocol::DeleteJobRequest* request,
                                protocol::DeleteJobResponse* response) override {
    return Call(api_, context, &Api::DeleteJob, request, response);
  }

  grpc::ServerWriteReactor<protocol::JobUpdateStream>* StreamJobUpdates(
      CallbackServerContext*, const protocol::GetJobStatusRequest* request) override {
    return FollowReactor<protocol::JobUpdateStream>::Start([&](auto on_update, auto on_end) {
      return api_->Follow(request->job_id(), std::move(on_update), std::move(on_end));
    });
  }

 private:
  Api* const api_;
};

}  // namespace

NamedService MakeJobService(const ServiceParts& parts) {
  return {std::make_unique<JobServiceImpl>(parts.api), protocol::JobService::service_full_name()};
}

}  // namespace cyxwiz::central
