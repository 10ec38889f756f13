#include "control/fake_node.h"

#include <chrono>
#include <stdexcept>

namespace cyxwiz::bench {

class FakeNode::Service : public protocol::NodeService::CallbackService {
 public:
  explicit Service(FakeNode* node) : node_(node) {}

  grpc::ServerUnaryReactor* AssignJob(grpc::CallbackServerContext* context,
                                      const protocol::AssignJobRequest* request,
                                      protocol::AssignJobResponse* response) override {
    response->set_status(protocol::STATUS_SUCCESS);
    response->set_accepted(true);
    response->set_job_id(request->job().job_id());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    node_->Complete(*request);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  FakeNode* node_;
};

FakeNode::FakeNode(const std::string& server, int parallel)
    : id_("bench-node"), service_(new Service(this)) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service_.get());
  listener_ = builder.BuildAndStart();
  if (listener_ == nullptr) throw std::runtime_error("cannot listen on 127.0.0.1");

  int64_t memory = int64_t{parallel} << 40;
  info_.set_node_id(id_);
  info_.set_name(id_);
  info_.set_cpu_cores(parallel);
  info_.set_ram_total(memory);
  info_.set_ram_available(memory);
  info_.set_ip_address("127.0.0.1");
  info_.set_port(port);
  info_.set_endpoint("127.0.0.1:" + std::to_string(port));
  info_.add_devices()->set_device_type(protocol::DEVICE_CPU);
  info_.mutable_capacity()->set_cpu_millis(int64_t{parallel} * 1000);
  info_.mutable_capacity()->set_memory_bytes(memory);
  *info_.mutable_available() = info_.capacity();

  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.enable_http_proxy", 0);
  server_ = protocol::NodeService::NewStub(
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  protocol::RegisterNodeRequest request;
  *request.mutable_info() = info_;
  protocol::RegisterNodeResponse response;
  grpc::Status status = server_->RegisterNode(&context, request, &response);
  if (!status.ok()) throw std::runtime_error("RegisterNode: " + status.error_message());
  if (response.heartbeat_interval_ms() > 0)
    heartbeat_interval_ms_ = response.heartbeat_interval_ms();
  heartbeats_ = std::thread([this] { HeartbeatLoop(); });
}

FakeNode::~FakeNode() {
  listener_->Shutdown();
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return in_flight_ == 0; });
  }
  heartbeats_.join();
}

void FakeNode::Complete(const protocol::AssignJobRequest& assignment) {
  struct Report {
    grpc::ClientContext context;
    protocol::ReportCompletionRequest request;
    protocol::ReportCompletionResponse response;
  };
  auto report = std::make_shared<Report>();
  const std::string& job_id = assignment.job().job_id();
  report->request.set_node_id(id_);
  report->request.set_job_id(job_id);
  report->request.set_attempt(assignment.attempt());
  report->request.set_authorization_token(assignment.authorization_token());
  report->request.mutable_result()->set_job_id(job_id);
  report->request.mutable_result()->set_status(protocol::STATUS_COMPLETED);
  std::pair<std::string, int32_t> attempt(job_id, assignment.attempt());
  {
    std::lock_guard lock(mutex_);
    ++in_flight_;
    active_.insert(attempt);
  }
  server_->async()->ReportCompletion(&report->context, &report->request, &report->response,
                                     [this, report, attempt](const grpc::Status& status) {
                                       std::lock_guard lock(mutex_);
                                       --in_flight_;
                                       active_.erase(attempt);
                                       ++(status.ok() ? completed_ : errors_);
                                       changed_.notify_all();
                                     });
}

bool FakeNode::WaitForCompletions(int64_t count, double seconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                           [&] { return completed_ >= count; });
}

int64_t FakeNode::errors() {
  std::lock_guard lock(mutex_);
  return errors_;
}

void FakeNode::HeartbeatLoop() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::milliseconds(heartbeat_interval_ms_),
                            [&] { return stopping_; })) {
    protocol::HeartbeatRequest request;
    request.set_node_id(id_);
    *request.mutable_current_status() = info_;
    for (const auto& [job_id, attempt] : active_) {
      request.add_active_jobs(job_id);
      protocol::AttemptRef* ref = request.add_active_attempts();
      ref->set_job_id(job_id);
      ref->set_attempt(attempt);
    }
    lock.unlock();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    protocol::HeartbeatResponse response;
    (void)server_->Heartbeat(&context, request, &response);
    lock.lock();
  }
}

}  // namespace cyxwiz::bench
