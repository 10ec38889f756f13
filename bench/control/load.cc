#include "control/load.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>

#include "cyxwiz/protocol/job.grpc.pb.h"
#include "echo.grpc.pb.h"

namespace cyxwiz::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

double Seconds(SteadyClock::duration d) { return std::chrono::duration<double>(d).count(); }

// One after another, so a slot's own fields need no lock; what the slots share is behind one mutex.
class Loop {
 public:
  Loop(int in_flight, double seconds, int64_t most_calls, const IssueCall& issue)
      : issue_(issue),
        most_calls_(most_calls),
        started_(SteadyClock::now()),
        until_(started_ + std::chrono::duration_cast<SteadyClock::duration>(
                              std::chrono::duration<double>(seconds))),
        slots_(static_cast<size_t>(in_flight)),
        running_(in_flight) {
    for (Slot& slot : slots_) Next(&slot);
  }

  LoadResult Wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return running_ == 0; });
    LoadResult result;
    std::vector<double> latencies;
    for (Slot& slot : slots_) {
      latencies.insert(latencies.end(), slot.milliseconds.begin(), slot.milliseconds.end());
      result.errors += slot.errors;
      if (result.first_error.empty()) result.first_error = slot.first_error;
    }
    result.calls = static_cast<int64_t>(latencies.size());
    result.seconds = Seconds(last_answer_ - started_);
    result.p50_ms = Percentile(&latencies, 0.50);
    result.p99_ms = Percentile(&latencies, 0.99);
    return result;
  }

 private:
  struct Slot {
    std::vector<double> milliseconds;
    int64_t errors = 0;
    std::string first_error;
  };

  void Next(Slot* slot) {
    SteadyClock::time_point now = SteadyClock::now();
    int64_t number = issued_.fetch_add(1);
    if (now >= until_ || number >= most_calls_) {
      std::lock_guard lock(mutex_);
      last_answer_ = std::max(last_answer_, now);
      if (--running_ == 0) ended_.notify_all();
      return;
    }
    issue_(number, [this, slot, now](grpc::Status status) {
      if (status.ok()) {
        slot->milliseconds.push_back(Seconds(SteadyClock::now() - now) * 1e3);
      } else {
        if (slot->errors++ == 0) slot->first_error = status.error_message();
      }
      Next(slot);
    });
  }

  const IssueCall& issue_;
  const int64_t most_calls_;
  const SteadyClock::time_point started_, until_;
  std::atomic<int64_t> issued_{0};
  std::vector<Slot> slots_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int running_;                               // guarded by mutex_
  SteadyClock::time_point last_answer_ = {};  // guarded by mutex_
};

std::shared_ptr<grpc::Channel> Connect(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.enable_http_proxy", 0);
  auto channel = grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  // Connecting is not part of what is measured.
  channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10));
  return channel;
}

// A call's context and messages; lives until its answer.
template <typename Request, typename Response>
struct Call {
  grpc::ClientContext context;
  Request request;
  Response response;
};

constexpr int64_t kFirstSeed = 1'000'000'000;  // so that all have as many digits

void FillJob(protocol::JobConfig* job) {
  job->set_job_type(protocol::JOB_TYPE_TRAINING);
  job->set_priority(protocol::PRIORITY_NORMAL);
  job->set_name("bench");
  job->set_model_definition(
      R"({"layers": [{"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10}]})");
  auto& parameters = *job->mutable_hyperparameters();
  parameters["optimizer"] = "adam";
  parameters["learning_rate"] = "0.001";
  parameters["batch_size"] = "32";
  parameters["epochs"] = "5";
  parameters["loss"] = "cross_entropy";
  parameters["validation_split"] = "0.1";
  parameters["threads"] = "1";
  parameters["seed"] = std::to_string(kFirstSeed);
  job->set_dataset_uri(
      "mock://random_data?samples=60000&features=784&classes=10&test_samples=10000");
}

// Made once and sent with another seed each time: who sends takes the processor away from who
// serves, as little as with an echo.
class PreparedSubmit {
 public:
  PreparedSubmit() {
    protocol::SubmitJobRequest request;
    FillJob(request.mutable_config());
    bytes_ = request.SerializeAsString();
    seed_at_ = bytes_.find(std::to_string(kFirstSeed));
  }
  size_t size() const { return bytes_.size(); }
  grpc::ByteBuffer Request(int64_t number) const {
    const std::string seed = std::to_string(kFirstSeed + number);
    std::string bytes = bytes_;
    bytes.replace(seed_at_, seed.size(), seed);
    grpc::Slice slice(bytes);
    return grpc::ByteBuffer(&slice, 1);
  }

 private:
  std::string bytes_;
  size_t seed_at_ = 0;
};

class EchoService : public Echo::CallbackService {
  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const Payload* request,
                                 Payload* response) override {
    response->set_data(request->data());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

double Percentile(std::vector<double>* values, double part) {
  if (values->empty()) return 0;
  std::sort(values->begin(), values->end());
  return (*values)[std::min(values->size() - 1,
                            static_cast<size_t>(part * static_cast<double>(values->size())))];
}

LoadResult RunLoad(int in_flight, double seconds, int64_t most_calls, const IssueCall& issue) {
  return Loop(in_flight, seconds, most_calls, issue).Wait();
}

LoadResult EchoLoad(const std::string& server, int in_flight, double seconds, size_t bytes) {
  auto stub = Echo::NewStub(Connect(server));
  // The payload's own tag and length take three bytes.
  const std::string data(bytes > 3 ? bytes - 3 : 0, 'x');
  return RunLoad(
      in_flight, seconds, INT64_MAX, [&](int64_t, std::function<void(grpc::Status)> done) {
        auto call = std::make_shared<Call<Payload, Payload>>();
        call->request.set_data(data);
        stub->async()->Call(
            &call->context, &call->request, &call->response,
            [call, done = std::move(done)](grpc::Status status) { done(std::move(status)); });
      });
}

LoadResult SubmitLoad(const std::string& server, int in_flight, double seconds, int64_t most_calls,
                      bool same_body) {
  grpc::TemplatedGenericStub<grpc::ByteBuffer, protocol::SubmitJobResponse> stub(Connect(server));
  const PreparedSubmit prepared;
  return RunLoad(
      in_flight, seconds, most_calls, [&](int64_t number, std::function<void(grpc::Status)> done) {
        auto call = std::make_shared<Call<grpc::ByteBuffer, protocol::SubmitJobResponse>>();
        call->request = prepared.Request(same_body ? 0 : number);
        stub.UnaryCall(&call->context, "/cyxwiz.protocol.JobService/SubmitJob", {}, &call->request,
                       &call->response, [call, done = std::move(done)](grpc::Status status) {
                         done(std::move(status));
                       });
      });
}

size_t SubmitRequestBytes() { return PreparedSubmit().size(); }

int ServeEcho() {
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::printf("127.0.0.1:%d\n", port);
  std::fflush(stdout);
  std::string ignored;
  while (std::getline(std::cin, ignored)) {
  }
  server->Shutdown();
  return 0;
}

}  // namespace cyxwiz::bench
