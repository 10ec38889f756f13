// JobControlService and NodeControlService: see proto/cyxwiz/protocol/control.proto.
#include <grpcpp/grpcpp.h>

#include "central/api_call.h"
#include "central/convert.h"
#include "central/follow_reactor.h"
#include "central/refusal.h"
#include "central/services.h"
#include "cyxwiz/protocol/control.grpc.pb.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

class JobControlServiceImpl final : public protocol::JobControlService::CallbackService {
 public:
  explicit JobControlServiceImpl(Api* api) : api_(api) {}

  ServerUnaryReactor* PauseJob(CallbackServerContext* context,
                               const protocol::PauseJobRequest* request,
                               protocol::JobResponse* response) override {
    return Call(api_, context, &Api::PauseJob, request, response);
  }
  ServerUnaryReactor* ResumeJob(CallbackServerContext* context,
                                const protocol::ResumeJobRequest* request,
                                protocol::JobResponse* response) override {
    return Call(api_, context, &Api::ResumeJob, request, response);
  }
  ServerUnaryReactor* SetJobPriority(CallbackServerContext* context,
                                     const protocol::SetJobPriorityRequest* request,
                                     protocol::JobResponse* response) override {
    return Call(api_, context, &Api::SetJobPriority, request, response);
  }
  ServerUnaryReactor* RetryJob(CallbackServerContext* context,
                               const protocol::RetryJobRequest* request,
                               protocol::JobResponse* response) override {
    return Call(api_, context, &Api::RetryJob, request, response);
  }
  ServerUnaryReactor* CancelJobs(CallbackServerContext* context,
                                 const protocol::CancelJobsRequest* request,
                                 protocol::CancelJobsResponse* response) override {
    return Call(api_, context, &Api::CancelJobs, request, response);
  }
  ServerUnaryReactor* ExplainJob(CallbackServerContext* context,
                                 const protocol::ExplainJobRequest* request,
                                 protocol::JobPlan* response) override {
    return Call(api_, context, &Api::ExplainJob, request, response);
  }
  ServerUnaryReactor* PlanJob(CallbackServerContext* context,
                              const protocol::PlanJobRequest* request,
                              protocol::PlanJobResponse* response) override {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    api_->PlanJob(*request,
                  [context, reactor, response](Status status, protocol::PlanJobResponse answer) {
                    if (!status.ok() && answer.problems_size() > 0) {
                      protocol::SubmitJobResponse refusal;
                      refusal.mutable_problems()->Swap(answer.mutable_problems());
                      AddRefusal(std::move(refusal), context);
                    } else {
                      response->Swap(&answer);
                    }
                    reactor->Finish(ToGrpc(status));
                  });
    return reactor;
  }
  ServerUnaryReactor* ListEvents(CallbackServerContext* context,
                                 const protocol::ListEventsRequest* request,
                                 protocol::ListEventsResponse* response) override {
    return Call(api_, context, &Api::ListEvents, request, response);
  }
  grpc::ServerWriteReactor<protocol::Event>* FollowEvents(
      CallbackServerContext*, const protocol::ListEventsRequest* request) override {
    return FollowReactor<protocol::Event>::Start([&](auto on_event, auto on_end) {
      return api_->FollowEvents(*request, std::move(on_event), std::move(on_end), nullptr);
    });
  }

 private:
  Api* const api_;
};

class NodeControlServiceImpl final : public protocol::NodeControlService::CallbackService {
 public:
  explicit NodeControlServiceImpl(Api* api) : api_(api) {}

  ServerUnaryReactor* CordonNode(CallbackServerContext* context,
                                 const protocol::CordonNodeRequest* request,
                                 protocol::NodeResponse* response) override {
    return Call(api_, context, &Api::CordonNode, request, response);
  }
  ServerUnaryReactor* UncordonNode(CallbackServerContext* context,
                                   const protocol::UncordonNodeRequest* request,
                                   protocol::NodeResponse* response) override {
    return Call(api_, context, &Api::UncordonNode, request, response);
  }
  ServerUnaryReactor* ForgetNode(CallbackServerContext* context,
                                 const protocol::ForgetNodeRequest* request,
                                 protocol::ForgetNodeResponse* response) override {
    return Call(api_, context, &Api::ForgetNode, request, response);
  }

 private:
  Api* const api_;
};

}  // namespace

NamedService MakeJobControlService(const ServiceParts& parts) {
  return {std::make_unique<JobControlServiceImpl>(parts.api),
          protocol::JobControlService::service_full_name()};
}

NamedService MakeNodeControlService(const ServiceParts& parts) {
  return {std::make_unique<NodeControlServiceImpl>(parts.api),
          protocol::NodeControlService::service_full_name()};
}

}  // namespace cyxwiz::central
