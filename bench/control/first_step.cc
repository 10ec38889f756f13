#include "control/first_step.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <stdexcept>

#include "cyxwiz/protocol/job.grpc.pb.h"

namespace cyxwiz::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

double MillisecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
}

}  // namespace

FirstStepResult MeasureFirstStep(const std::string& server, int count) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.enable_http_proxy", 0);
  auto stub = protocol::JobService::NewStub(
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
  FirstStepResult result;
  for (int i = 0; i < count; ++i) {
    protocol::SubmitJobRequest request;
    protocol::JobConfig& job = *request.mutable_config();
    job.set_job_type(protocol::JOB_TYPE_TRAINING);
    job.set_priority(protocol::PRIORITY_NORMAL);
    job.set_name("first step");
    job.set_model_definition(
        R"({"layers": [{"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10}]})");
    // Long enough that the job still runs when its first step is reported.
    (*job.mutable_hyperparameters())["epochs"] = "20";
    (*job.mutable_hyperparameters())["batch_size"] = "32";
    (*job.mutable_hyperparameters())["seed"] = std::to_string(i);
    job.set_dataset_uri("mock://random_data?samples=320&features=784&classes=10&test_samples=100");

    SteadyClock::time_point start = SteadyClock::now();
    protocol::SubmitJobResponse response;
    grpc::ClientContext submit_context;
    grpc::Status status = stub->SubmitJob(&submit_context, request, &response);
    if (!status.ok()) throw std::runtime_error("SubmitJob: " + status.error_message());
    double accepted = MillisecondsSince(start), running = -1;

    grpc::ClientContext stream_context;
    protocol::GetJobStatusRequest follow;
    follow.set_job_id(response.job_id());
    auto stream = stub->StreamJobUpdates(&stream_context, follow);
    protocol::JobUpdateStream update;
    protocol::JobState last = protocol::JOB_STATE_UNKNOWN;
    while (stream->Read(&update)) {
      last = update.status().state();
      if (running < 0 && last == protocol::JOB_STATE_RUNNING) running = MillisecondsSince(start);
    }
    status = stream->Finish();
    if (!status.ok()) throw std::runtime_error("StreamJobUpdates: " + status.error_message());
    if (last != protocol::JOB_STATE_SUCCEEDED) {
      throw std::runtime_error("job " + response.job_id() +
                               " did not succeed: " + update.status().message());
    }
    // The stream may join the two changes of a job that is over in a moment; such a job tells
    // nothing.
    if (running < 0) continue;
    result.accepted_ms.push_back(accepted);
    result.running_ms.push_back(running);
    result.job_ids.push_back(response.job_id());
  }
  return result;
}

}  // namespace cyxwiz::bench
