// A whole node in this process, between a real gRPC server that plays the Central Server and a fake
// runner process (fake_runner.cc) that speaks the real protocol.
#include "node/node.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <stdlib.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "artifacts/artifact_store.h"
#include "cyxwiz/protocol/agent.grpc.pb.h"
#include "node/cgroup.h"
#include "node/hardware.h"
#include "security/job_token.h"
#include "wire/deterministic.h"
#include "wire/job_config.h"

namespace cyxwiz::node {
namespace {

using namespace std::chrono_literals;

// Plays the server: remembers what it is told, and answers as the test wants.
class FakeServer final {
 public:
  explicit FakeServer(const std::string& folder) : node_(this), models_(this) {
    signer_ = std::move(*security::TokenSigner::Open(folder + "/key.pem"));
    Start("127.0.0.1:0");
  }
  ~FakeServer() { Stop(); }

  void Start(const std::string& address) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&node_);
    builder.RegisterService(&models_);
    server_ = builder.BuildAndStart();
    if (address_.empty()) address_ = "127.0.0.1:" + std::to_string(port);
  }
  void Stop() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + 100ms);
    server_.reset();
  }
  // A server that was stopped comes back as a new process would: it knows no session.
  void Restart() {
    {
      std::lock_guard lock(mutex);
      session.clear();
    }
    Start(address_);
  }

  // Waits until `holds`, which is called under the mutex; false after 20 s.
  bool Wait(std::function<bool()> holds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, holds);
  }
  const std::string& address() const { return address_; }
  // permitted: an AssignJob request's bytes.
  std::string Token(const AttemptId& attempt, const std::string& node, int64_t expires_in = 600,
                    const std::string& permitted = "") {
    return signer_->Sign(
        {attempt,
         {node},
         ReadClocks().unix.seconds() + expires_in,
         permitted.empty() ? "" : security::HexEncode(security::Sha256(permitted))});
  }

  std::mutex mutex;
  std::condition_variable changed;
  // Behaviour
  int lease_ms = 10'000;
  int heartbeat_ms = 50;
  int refuse_completions = 0, refuse_uploads = 0;  // so many, with UNAVAILABLE
  bool refuse_heartbeats = false;                  // with RESOURCE_EXHAUSTED
  bool continue_job = true;
  bool hold_downloads = false;  // until they are cancelled
  int gather_downloads = 0;     // all but the first wait until so many are there
  std::set<std::string> stop_jobs, yield_jobs, drop_jobs;
  // What happened
  std::string session, node_id;
  int sessions = 0, heartbeats = 0;
  std::vector<protocol::RegisterNodeRequest> registrations;
  std::vector<std::string> active;  // jobs of the last heartbeat
  std::vector<std::string> kept;    // jobs of the last heartbeat, whose checkpoints are kept
  std::map<std::string, protocol::Checkpoint> checkpoints;  // newest that was reported, by job
  std::vector<protocol::ReportProgressRequest> progress;
  std::map<std::string, protocol::ReportCompletionRequest> completions;  // by job
  std::set<std::string> refused_completions;                             // jobs
  std::map<std::string, std::string> uploads;                            // content by model_id
  std::map<std::string, std::string> stored;  // the same of parts of checkpoints
  int downloads = 0, cancelled_downloads = 0, gathered_downloads = 0;

 private:
  class NodeHalf final : public protocol::NodeService::Service {
   public:
    explicit NodeHalf(FakeServer* fake) : fake_(fake) {}

    grpc::Status RegisterNode(grpc::ServerContext*, const protocol::RegisterNodeRequest* request,
                              protocol::RegisterNodeResponse* response) override {
      std::lock_guard lock(fake_->mutex);
      fake_->registrations.push_back(*request);
      fake_->node_id = request->info().node_id().empty() ? "node-fresh" : request->info().node_id();
      fake_->session = "session-" + std::to_string(++fake_->sessions);
      response->set_status(protocol::STATUS_SUCCESS);
      response->set_node_id(fake_->node_id);
      response->set_session_token(fake_->session);
      response->set_server_public_key(fake_->signer_->public_key());
      response->set_heartbeat_interval_ms(fake_->heartbeat_ms);
      response->set_lease_ms(fake_->lease_ms);
      fake_->changed.notify_all();
      return grpc::Status::OK;
    }
    grpc::Status Heartbeat(grpc::ServerContext* context, const protocol::HeartbeatRequest* request,
                           protocol::HeartbeatResponse* response) override {
      std::lock_guard lock(fake_->mutex);
      auto session = context->client_metadata().find("cyxwiz-session");
      if (fake_->session.empty()) {
        return grpc::Status(grpc::StatusCode::NOT_FOUND, "register again");
      }
      if (session == context->client_metadata().end() ||
          std::string(session->second.data(), session->second.size()) != fake_->session) {
        return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "an old session");
      }
      if (fake_->refuse_heartbeats) {
        return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "not now");
      }
      ++fake_->heartbeats;
      fake_->active.assign(request->active_jobs().begin(), request->active_jobs().end());
      for (const protocol::AttemptRef& ref : request->active_attempts()) {
        if (fake_->stop_jobs.count(ref.job_id()) > 0) *response->add_attempts_to_stop() = ref;
        if (fake_->yield_jobs.count(ref.job_id()) == 0) continue;
        *response->add_attempts_to_yield() = ref;
        response->add_jobs_to_cancel(ref.job_id());
      }
      fake_->kept.assign(request->kept_checkpoints().begin(), request->kept_checkpoints().end());
      for (const std::string& job : fake_->drop_jobs) response->add_checkpoints_to_drop(job);
      response->set_status(protocol::STATUS_SUCCESS);
      response->set_keep_alive(true);
      fake_->changed.notify_all();
      return grpc::Status::OK;
    }
    grpc::Status ReportProgress(grpc::ServerContext*,
                                const protocol::ReportProgressRequest* request,
                                protocol::ReportProgressResponse* response) override {
      std::lock_guard lock(fake_->mutex);
      fake_->progress.push_back(*request);
      if (request->has_checkpoint()) fake_->checkpoints[request->job_id()] = request->checkpoint();
      response->set_continue_job(fake_->continue_job);
      response->set_status(fake_->continue_job ? protocol::STATUS_SUCCESS : protocol::STATUS_ERROR);
      if (!fake_->continue_job) {
        response->mutable_error()->set_code(grpc::StatusCode::ABORTED);
        response->mutable_error()->set_message("not the current attempt");
      }
      fake_->changed.notify_all();
      return grpc::Status::OK;
    }
    grpc::Status ReportCompletion(grpc::ServerContext*,
                                  const protocol::ReportCompletionRequest* request,
                                  protocol::ReportCompletionResponse* response) override {
      std::lock_guard lock(fake_->mutex);
      if (fake_->refuse_completions > 0) {
        --fake_->refuse_completions;
        fake_->refused_completions.insert(request->job_id());
        fake_->changed.notify_all();
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "not now");
      }
      fake_->completions[request->job_id()] = *request;
      if (request->has_checkpoint()) fake_->checkpoints[request->job_id()] = request->checkpoint();
      response->set_status(protocol::STATUS_SUCCESS);
      fake_->changed.notify_all();
      return grpc::Status::OK;
    }

   private:
    FakeServer* fake_;
  };

  class ModelHalf final : public protocol::ModelService::Service {
   public:
    explicit ModelHalf(FakeServer* fake) : fake_(fake) {}
    grpc::Status UploadModel(grpc::ServerContext*, grpc::ServerReader<protocol::ModelChunk>* reader,
                             protocol::SimpleResponse* response) override {
      {
        std::lock_guard lock(fake_->mutex);
        if (fake_->refuse_uploads > 0) {
          --fake_->refuse_uploads;
          return grpc::Status(grpc::StatusCode::UNAVAILABLE, "not now");
        }
      }
      protocol::ModelChunk chunk;
      std::string id, content;
      bool whole = false, checkpoint = false;
      while (reader->Read(&chunk)) {
        if (id.empty()) id = chunk.model_id(), checkpoint = chunk.checkpoint();
        if (chunk.offset() != static_cast<int64_t>(content.size())) break;
        content += chunk.data();
        whole = chunk.is_final() && chunk.total_size() == static_cast<int64_t>(content.size()) &&
                "sha256:" + chunk.checksum() == id;
      }
      if (!whole || id != "sha256:" + security::HexEncode(security::Sha256(content))) {
        return grpc::Status(grpc::StatusCode::DATA_LOSS, "not what was announced");
      }
      std::lock_guard lock(fake_->mutex);
      (checkpoint ? fake_->stored : fake_->uploads)[id] = std::move(content);
      response->set_status(protocol::STATUS_SUCCESS);
      return grpc::Status::OK;
    }
    grpc::Status DownloadModel(grpc::ServerContext* context,
                               const protocol::DownloadModelMetadataRequest* request,
                               grpc::ServerWriter<protocol::ModelChunk>* writer) override {
      std::string content;
      {
        std::lock_guard lock(fake_->mutex);
        ++fake_->downloads;
        const auto& files = request->checkpoint() ? fake_->stored : fake_->uploads;
        auto found = files.find(request->model_id());
        if (found == files.end()) {
          return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such file");
        }
        content = found->second;
      }
      if (fake_->hold_downloads) {
        std::unique_lock lock(fake_->mutex);
        fake_->changed.notify_all();
        while (!context->IsCancelled()) fake_->changed.wait_for(lock, 1ms);
        ++fake_->cancelled_downloads;
        fake_->changed.notify_all();
        return grpc::Status::CANCELLED;
      }
      if (std::unique_lock lock(fake_->mutex);
          fake_->gather_downloads > 0 && fake_->downloads > 1) {
        if (++fake_->gathered_downloads == fake_->gather_downloads) fake_->gather_downloads = 0;
        fake_->changed.notify_all();
        while (fake_->gather_downloads > 0 && !context->IsCancelled())
          fake_->changed.wait_for(lock, 1ms);
      }
      protocol::ModelChunk chunk;
      for (size_t at = 0; at < content.size(); at += 5) {
        chunk.set_data(content.substr(at, 5));
        chunk.set_offset(static_cast<int64_t>(at));
        writer->Write(chunk);
      }
      return grpc::Status::OK;
    }

   private:
    FakeServer* fake_;
  };

  NodeHalf node_;
  ModelHalf models_;
  std::unique_ptr<security::TokenSigner> signer_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

class NodeTest : public testing::Test {
 protected:
  NodeTest() {
    std::string name = std::filesystem::temp_directory_path().string() + "/cyxwiz-node-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    server_ = std::make_unique<FakeServer>(folder_);
    StartNode();
  }
  ~NodeTest() override {
    StopNode();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void StartNode() {
    std::promise<std::string> started;
    thread_ = std::thread([this, &started] {
      NodeSettings settings = settings_;
      settings.data = folder_ + "/data";
      settings.server = server_->address();
      settings.listen = "127.0.0.1:0";
      settings.terminal_listen = "127.0.0.1:0";
      if (settings.runner.empty()) settings.runner = CYXWIZ_FAKE_RUNNER;
      settings.cpus = 2;
      settings.memory_bytes = int64_t{1} << 30;
      settings.log_max_bytes = 64 << 10;
      settings.rendezvous_port = 29500;
      settings.rendezvous_port_count = 100;
      auto node = Node::Create(settings);
      if (!node.ok()) {
        ADD_FAILURE() << node.status();
        return started.set_value("");
      }
      node_ = node->get();
      terminal_port_ = node_->terminal_port();
      started.set_value(node_->endpoint());
      node_->Run(/*handle_signals=*/false);
    });
    endpoint_ = started.get_future().get();
    ASSERT_FALSE(endpoint_.empty());
    auto channel = grpc::CreateChannel(endpoint_, grpc::InsecureChannelCredentials());
    stub_ = protocol::NodeService::NewStub(channel);
    agent_ = protocol::NodeAgentService::NewStub(channel);
    logs_ = protocol::JobLogService::NewStub(channel);
    deployments_ = protocol::DeploymentService::NewStub(channel);
    ASSERT_TRUE(server_->Wait([&] { return !server_->session.empty(); }));
  }
  void StopNode() {
    if (!thread_.joinable()) return;
    node_->ShutDown();
    thread_.join();
  }

  protocol::AssignJobRequest Assignment(const std::string& job, const std::string& what,
                                        int attempt = 1) {
    protocol::AssignJobRequest request;
    request.set_node_id("node-fresh");
    request.mutable_job()->set_job_id(job);
    request.mutable_job()->set_name(what);
    request.mutable_job()->set_model_definition(R"({"layers": [{"type": "dense", "units": 10}]})");
    request.mutable_job()->set_dataset_uri("mock://random_data");
    request.set_attempt(attempt);
    request.mutable_resources()->set_cpu_millis(1000);
    request.mutable_resources()->set_memory_bytes(64 << 20);
    {
      std::lock_guard lock(server_->mutex);
      request.set_session_token(server_->session);
    }
    Sign(&request);
    return request;
  }
  // Again after each change, as the server would.
  void Sign(protocol::AssignJobRequest* request, int64_t expires_in = 600) {
    request->set_authorization_token(server_->Token({{request->job().job_id()}, request->attempt()},
                                                    "node-fresh", expires_in,
                                                    PermittedBytes(*request)));
  }
  grpc::Status Assign(const protocol::AssignJobRequest& request,
                      protocol::AssignJobResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    return stub_->AssignJob(&context, request, response);
  }
  void Begin(const std::string& job, const std::string& what, int attempt = 1) {
    protocol::AssignJobResponse response;
    grpc::Status status = Assign(Assignment(job, what, attempt), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_TRUE(response.accepted()) << response.error().message();
  }
  protocol::ReportCompletionRequest Completion(const std::string& job) {
    EXPECT_TRUE(server_->Wait([&] { return server_->completions.count(job) > 0; }));
    std::lock_guard lock(server_->mutex);
    return server_->completions[job];
  }
  bool WaitForStart(const std::string& job) {
    return server_->Wait([&] {
      return std::any_of(server_->progress.begin(), server_->progress.end(),
                         [&](const auto& report) { return report.job_id() == job; });
    });
  }
  // All of a log, following it to the end of the attempt.
  std::string ReadLog(const std::string& job, int64_t* dropped) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 20s);
    protocol::ReadLogRequest request;
    request.set_job_id(job);
    request.set_follow(true);
    auto reader = logs_->ReadLog(&context, request);
    protocol::LogChunk chunk;
    std::string text;
    *dropped = 0;
    while (reader->Read(&chunk)) {
      EXPECT_EQ(chunk.attempt(), 1);
      text += chunk.data();
      *dropped += chunk.dropped();
    }
    grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return text;
  }

  NodeSettings settings_;  // for the next StartNode
  std::string folder_, endpoint_;
  int terminal_port_ = 0;
  std::unique_ptr<FakeServer> server_;
  Node* node_ = nullptr;
  std::thread thread_;
  std::unique_ptr<protocol::NodeService::Stub> stub_;
  std::unique_ptr<protocol::NodeAgentService::Stub> agent_;
  std::unique_ptr<protocol::JobLogService::Stub> logs_;
  std::unique_ptr<protocol::DeploymentService::Stub> deployments_;
};

TEST_F(NodeTest, RegistersWithWhatItHas) {
  std::lock_guard lock(server_->mutex);
  const protocol::NodeInfo& info = server_->registrations.at(0).info();
  EXPECT_EQ(info.endpoint(), endpoint_);
  EXPECT_EQ(info.capacity().cpu_millis(), 2000);
  EXPECT_EQ(info.capacity().memory_bytes(), int64_t{1} << 30);
  EXPECT_GT(info.ram_total(), 0);
  EXPECT_EQ(info.libtorch_version(), "none");
  EXPECT_TRUE(info.limits() == "cgroup" || info.limits() == "rlimit") << info.limits();
  EXPECT_TRUE(info.cpu_limits() == "cgroup" || info.cpu_limits() == "not enforced")
      << info.cpu_limits();
}

TEST_F(NodeTest, AnAttemptIsHeldToItsCoresWhereTheHostLetsTheNode) {
  {
    std::lock_guard lock(server_->mutex);
    if (server_->registrations.at(0).info().cpu_limits() != "cgroup")
      GTEST_SKIP() << "no groups with a limit of CPU can be made here";
  }
  protocol::AssignJobRequest request = Assignment("job-1", "burn");
  request.mutable_resources()->set_cpu_millis(250);
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  const double cores = Completion("job-1").result().final_metrics().at("cores");
  EXPECT_LT(cores, 0.4) << "of one that it could have had";
  StopNode();
  const std::string group =
      FindCgroup("cpu")->folder + "/cyxwiz-node-" + std::to_string(::getpid());
  EXPECT_FALSE(std::filesystem::exists(group)) << "it leaves nothing behind";
}

TEST_F(NodeTest, RunsAJobUploadsItsFilesAndReports) {
  Begin("job-1", "succeed");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.attempt(), 1);
  EXPECT_EQ(done.node_id(), "node-fresh");
  EXPECT_FALSE(done.authorization_token().empty());
  const protocol::JobResult& result = done.result();
  EXPECT_EQ(result.status(), protocol::STATUS_COMPLETED);
  EXPECT_EQ(result.total_compute_time(), 2);
  EXPECT_EQ(result.final_metrics().at("train_loss"), 0.125);
  ASSERT_EQ(result.artifacts_size(), 2);
  EXPECT_EQ(result.model_weights_uri(), "artifact://sha256/" + result.model_weights_hash());
  EXPECT_EQ(result.model_size(), 1 << 20);
  std::lock_guard lock(server_->mutex);
  EXPECT_EQ(server_->uploads.at("sha256:" + result.model_weights_hash()),
            std::string(1 << 20, 'w'));
  EXPECT_EQ(server_->progress.at(0).status().status(), protocol::STATUS_IN_PROGRESS);
}

TEST_F(NodeTest, AfterTheReportOnlyTheLogIsLeft) {
  Begin("job-1", "succeed");
  Completion("job-1");
  // The next heartbeat without the job comes after it has been forgotten here.
  int seen = 0;
  ASSERT_TRUE(server_->Wait([&] {
    if (seen == 0) seen = server_->heartbeats;
    return server_->heartbeats > seen && server_->active.empty();
  }));
  std::set<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(folder_ + "/data/attempts/job-1/1")) {
    names.insert(entry.path().filename().string());
  }
  EXPECT_EQ(names, std::set<std::string>{"log.txt"});
}

TEST_F(NodeTest, ACrashIsReportedWithItsSignalAndLastLines) {
  Begin("job-1", "crash");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_FAILED);
  EXPECT_EQ(done.cause(), protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_EQ(done.exit_signal(), SIGABRT);
  EXPECT_EQ(done.exit_code(), -1);
  EXPECT_NE(done.log_tail().find("doing crash"), std::string::npos) << done.log_tail();
}

TEST_F(NodeTest, AnExitWithoutAResultIsACrash) {
  Begin("job-1", "exit");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.cause(), protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_EQ(done.exit_code(), 3);
}

TEST_F(NodeTest, TheRunnersReasonReachesTheServer) {
  Begin("job-1", "user-error");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.cause(), protocol::CAUSE_USER_ERROR);
  EXPECT_EQ(done.result().error().message(), "$.dataset: no such file");
  EXPECT_EQ(done.result().error().details(), "check the path");
}

TEST_F(NodeTest, AFullDiskIsTheNodesTroubleAndNotTheJobs) {
  Begin("job-1", "disk-full");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_FAILED);
  EXPECT_EQ(done.cause(), protocol::CAUSE_NODE_LOST);
  EXPECT_NE(done.result().error().message().find("No space left"), std::string::npos);
}

TEST_F(NodeTest, AnAttemptWhoseFolderCannotBeMadeIsLostNotFailed) {
  // In the way of the folder; ENOSPC comes the same way.
  std::ofstream(folder_ + "/data/attempts/job-1") << "a file";
  Begin("job-1", "succeed");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.cause(), protocol::CAUSE_NODE_LOST);
  EXPECT_NE(done.result().error().message().find("attempts/job-1/1"), std::string::npos)
      << done.result().error().message();
}

TEST_F(NodeTest, WithTooLittleDiskNothingIsTakenAndTheNumbersAreTold) {
  StopNode();
  {
    std::lock_guard lock(server_->mutex);
    server_->session.clear();
  }
  settings_.min_free_disk_bytes = int64_t{1} << 50;
  StartNode();
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(Assignment("job-1", "succeed"), &response).ok());
  EXPECT_FALSE(response.accepted());
  EXPECT_EQ(response.error().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(response.error().message().find("1.0 PiB"), std::string::npos)
      << response.error().message();
}

TEST_F(NodeTest, AResultThatWouldNotFitOnTheDiskIsNotBegun) {
  StopNode();
  {
    std::lock_guard lock(server_->mutex);
    server_->session.clear();
  }
  // Of what is free, at most 8 GiB may be used; others may write to this disk meanwhile.
  auto free = static_cast<int64_t>(std::filesystem::space(folder_).available);
  settings_.min_free_disk_bytes = free - std::min(free / 2, int64_t{8} << 30);
  StartNode();
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  request.mutable_job()->set_model_definition(
      R"({"layers": [{"type": "dense", "units": 60000}, {"type": "dense", "units": 60000},
                     {"type": "dense", "units": 10}]})");
  Sign(&request);
  protocol::AssignJobResponse response;
  grpc::Status status = Assign(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(response.accepted());
  EXPECT_EQ(response.error().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(response.error().message().find("13.4 GiB for the attempt's result"), std::string::npos)
      << response.error().message();
  Begin("job-2", "succeed");
}

TEST_F(NodeTest, ARunnerThatBreaksTheProtocolIsEnded) {
  Begin("job-1", "nonsense");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.cause(), protocol::CAUSE_INTERNAL);
  EXPECT_NE(done.result().error().message().find("poem"), std::string::npos);
}

TEST_F(NodeTest, WhatARunnerLeavesBehindEndsWithIt) {
  Begin("job-1", "orphan");
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
}

TEST_F(NodeTest, ADeadParentFailsItsAttemptsAndIsReplaced) {
  Begin("job-1", "kill-parent");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.cause(), protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_NE(done.result().error().message().find("parent"), std::string::npos);
  Begin("job-2", "succeed");
  EXPECT_EQ(Completion("job-2").result().status(), protocol::STATUS_COMPLETED);
}

// Runs until the zygote's first death; the reason.
std::string HowItDies(Zygote::Options options) {
  boost::asio::io_context io;
  std::string reason;
  Zygote::Events events;
  events.ready = [] {};
  events.died = [&](const std::string& why, bool) {
    reason = why;
    io.stop();
  };
  Zygote zygote(io, std::move(options), std::move(events));
  zygote.Start();
  io.run_for(20s);
  EXPECT_NE(zygote.trouble().find(reason), std::string::npos) << zygote.trouble();
  return reason;
}

// An executable shell script; its path.
std::string Script(const std::string& path, const std::string& text) {
  std::ofstream(path) << "#!/bin/sh\n" << text;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST_F(NodeTest, AZygoteThatDoesNotStartLeavesItsLastWords) {
  std::string reason = HowItDies({.runner = Script(folder_ + "/a", R"(
i=0; while [ $i -lt 1000 ]; do echo "line $i" >&2; i=$((i+1)); done
echo 'error while loading shared libraries: libtorch.so: no such file' >&2; exit 127)")});
  EXPECT_NE(reason.find("exited with code 127"), std::string::npos) << reason;
  EXPECT_NE(reason.find("libtorch.so: no such file"), std::string::npos) << reason;
  EXPECT_NE(reason.find("line 999"), std::string::npos) << reason;
  EXPECT_LT(reason.size(), 3000u);
  reason = HowItDies({.runner = "/bin/true"});
  EXPECT_EQ(reason, "it exited with code 0");
  reason = HowItDies({.runner = folder_ + "/missing"});
  EXPECT_NE(reason.find("No such file"), std::string::npos) << reason;
}

TEST_F(NodeTest, AZygoteThatIsNeverReadyIsKilled) {
  std::string reason =
      HowItDies({.runner = Script(folder_ + "/a", "exec sleep 1000"), .start_within = 100ms});
  EXPECT_EQ(reason, "it was not ready within 0.1 s, and was killed");
  // Its socket closed, it goes on.
  reason =
      HowItDies({.runner = Script(folder_ + "/b", "exec sleep 1000 3>&-"), .answer_within = 100ms});
  EXPECT_EQ(reason, "it closed its socket and did not end, and was killed");
}

TEST_F(NodeTest, ANodeWhoseRunnerDoesNotStartAnyMoreSaysWhy) {
  StopNode();
  {
    std::lock_guard lock(server_->mutex);
    server_->session.clear();
  }
  std::string broken = folder_ + "/broken";
  settings_.runner =
      Script(folder_ + "/runner", "[ -e " + broken +
                                      " ] && { echo 'libtorch.so is gone' >&2; exit 127; }\n" +
                                      "exec '" CYXWIZ_FAKE_RUNNER "' \"$@\"");
  StartNode();
  std::ofstream(broken) << "yes";
  Begin("job-0", "kill-parent");
  Completion("job-0");
  // What is given to it before it has noticed is lost with the same reason.
  protocol::AssignJobResponse response;
  for (int i = 1; i < 1000; ++i) {
    std::string job = "job-" + std::to_string(i);
    ASSERT_TRUE(Assign(Assignment(job, "succeed"), &response).ok());
    if (!response.accepted()) break;
    protocol::ReportCompletionRequest done = Completion(job);
    EXPECT_EQ(done.cause(), protocol::CAUSE_NODE_LOST);
    EXPECT_NE(done.result().error().message().find("libtorch.so is gone"), std::string::npos)
        << done.result().error().message();
  }
  EXPECT_EQ(response.error().code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(response.error().message().find("exited with code 127"), std::string::npos)
      << response.error().message();
  EXPECT_NE(response.error().message().find("libtorch.so is gone"), std::string::npos)
      << response.error().message();
  // It recovers by itself.
  std::filesystem::remove(broken);
  while (!response.accepted()) {
    ASSERT_TRUE(Assign(Assignment("job-again", "succeed"), &response).ok());
  }
  EXPECT_EQ(Completion("job-again").result().status(), protocol::STATUS_COMPLETED);
}

class HungParent : public NodeTest {
 protected:
  HungParent() {
    StopNode();
    {
      std::lock_guard lock(server_->mutex);
      server_->session.clear();
    }
    settings_.runner_answer_ms = 200;
    StartNode();
  }
};

TEST_F(HungParent, DoesNotKeepACancelFromEnding) {
  Begin("job-1", "stop-parent");
  ASSERT_TRUE(WaitForStart("job-1"));
  {
    std::lock_guard lock(server_->mutex);
    server_->stop_jobs.insert("job-1");
  }
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_CANCELLED);
  Begin("job-2", "succeed");
  EXPECT_EQ(Completion("job-2").result().status(), protocol::STATUS_COMPLETED);
}

TEST_F(HungParent, LosesWhatItDoesNotForkAndIsReplaced) {
  Begin("job-1", "stop-parent");
  ASSERT_TRUE(WaitForStart("job-1"));
  Begin("job-2", "succeed");
  for (const char* job : {"job-1", "job-2"}) {
    protocol::ReportCompletionRequest done = Completion(job);
    EXPECT_EQ(done.result().status(), protocol::STATUS_FAILED);
    EXPECT_EQ(done.cause(), protocol::CAUSE_NODE_LOST) << "not the job's failure";
    EXPECT_NE(done.result().error().message().find("did not answer a request to fork within 0.2 s"),
              std::string::npos)
        << done.result().error().message();
  }
  Begin("job-2", "succeed", 2);
  EXPECT_TRUE(server_->Wait([&] { return server_->completions["job-2"].attempt() == 2; }));
}

TEST_F(HungParent, DoesNotKeepAResultFromTheServer) {
  Begin("job-1", "stop-parent-and-succeed");
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
  Begin("job-2", "succeed");
  EXPECT_EQ(Completion("job-2").result().status(), protocol::STATUS_COMPLETED);
}

TEST_F(HungParent, ARunnerThatDoesNotEndAfterItsLastWordIsKilled) {
  Begin("job-1", "linger");
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
  Begin("job-2", "close");
  protocol::ReportCompletionRequest done = Completion("job-2");
  EXPECT_EQ(done.result().status(), protocol::STATUS_FAILED);
  EXPECT_NE(done.result().error().message().find("closed its socket"), std::string::npos)
      << done.result().error().message();
}

TEST_F(HungParent, AnAttemptThatWaitsForAZygoteIsCancelledAtOnce) {
  StopNode();
  {
    std::lock_guard lock(server_->mutex);
    server_->session.clear();
  }
  // The second one never gets ready.
  std::string slow = folder_ + "/slow";
  settings_.runner = Script(folder_ + "/runner", "[ -e " + slow + " ] && exec sleep 1000\n" +
                                                     "exec '" CYXWIZ_FAKE_RUNNER "' \"$@\"");
  StartNode();
  std::ofstream(slow) << "yes";
  Begin("job-1", "kill-parent");
  Completion("job-1");
  Begin("job-2", "succeed");
  {
    std::lock_guard lock(server_->mutex);
    server_->stop_jobs.insert("job-2");
  }
  EXPECT_EQ(Completion("job-2").result().status(), protocol::STATUS_CANCELLED);
}

TEST_F(NodeTest, RefusesAWrongToken) {
  protocol::AssignJobResponse response;
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  request.clear_authorization_token();
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  request.set_authorization_token(server_->Token({{"job-1"}, 1}, "node-fresh", -10));
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  request.set_authorization_token(server_->Token({{"job-2"}, 1}, "node-fresh"));
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  request.set_authorization_token(server_->Token({{"job-1"}, 2}, "node-fresh"));
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  request.set_authorization_token(server_->Token({{"job-1"}, 1}, "another-node"));
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  request = Assignment("../job", "succeed");
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(NodeTest, ATokenServesNoOtherRequestThanItsOwn) {
  protocol::AssignJobRequest request = Assignment("job-1", "hang"), other = request;
  (*other.mutable_job()->mutable_hyperparameters())["epochs"] = "1000";
  protocol::AssignJobResponse response;
  EXPECT_EQ(Assign(other, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  other = request;
  other.mutable_resources()->set_cpu_millis(2000);
  EXPECT_EQ(Assign(other, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  // As for StopAttempt, and as clients get it.
  other = request;
  other.set_authorization_token(server_->Token({{"job-1"}, 1}, "node-fresh"));
  grpc::Status status = Assign(other, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_NE(status.error_message().find("permits no AssignJob"), std::string::npos)
      << status.error_message();
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_TRUE(response.accepted()) << response.error().message();
}

TEST_F(NodeTest, AnAttemptThatIsOverIsNotBegunAgain) {
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  Completion("job-1");
  int seen = 0;
  ASSERT_TRUE(server_->Wait([&] {
    if (seen == 0) seen = server_->heartbeats;
    return server_->heartbeats > seen && server_->active.empty();
  }));
  // With a token of its own, as if the first call had been forgotten.
  Sign(&request, 500);
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_FALSE(response.accepted());
  EXPECT_EQ(response.error().code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_NE(response.error().message().find("before"), std::string::npos)
      << response.error().message();
  Begin("job-1", "succeed", 2);
  EXPECT_TRUE(server_->Wait([&] { return server_->completions["job-1"].attempt() == 2; }));
}

TEST_F(NodeTest, AnAssignmentFromBeforeARestartIsRefused) {
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_TRUE(response.accepted()) << response.error().message();
  Completion("job-1");
  StopNode();
  {
    std::lock_guard lock(server_->mutex);
    server_->session.clear();
  }
  StartNode();
  grpc::Status status = Assign(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("registered again"), std::string::npos)
      << status.error_message();
  // The session is a part of what was signed.
  {
    std::lock_guard lock(server_->mutex);
    request.set_session_token(server_->session);
  }
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(NodeTest, AJobThatIsNotValidIsRefusedWithItsProblems) {
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  request.clear_resources();
  request.mutable_job()->set_model_definition("{junk");
  request.mutable_job()->mutable_resources()->set_cpu_millis(-1000);
  request.mutable_job()->mutable_resources()->set_memory_bytes(-1);
  request.mutable_job()->set_estimated_memory(-7);
  request.mutable_job()->set_epochs(-3);
  Sign(&request);
  protocol::AssignJobResponse response;
  grpc::Status status = Assign(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  for (const char* path :
       {"$.model", "$.resources.cpus", "$.resources.memory", "$.estimated_memory", "$.epochs"}) {
    EXPECT_NE(status.error_message().find(path), std::string::npos)
        << path << " in: " << status.error_message();
  }
  // It holds nothing, so the whole node is still there to be given.
  request = Assignment("job-2", "succeed");
  request.mutable_resources()->set_cpu_millis(2000);
  Sign(&request);
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_TRUE(response.accepted()) << response.error().message();
}

TEST_F(NodeTest, ManyProblemsFitIntoOneAnswer) {
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  std::string layers;
  for (int i = 0; i < 200; ++i) layers += R"({"type": "nothing of the kind"},)";
  request.mutable_job()->set_model_definition("{\"layers\": [" + layers + "1]}");
  Sign(&request);
  protocol::AssignJobResponse response;
  grpc::Status status = Assign(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_LT(status.error_message().size(), 4000u);
  EXPECT_NE(status.error_message().find(" more"), std::string::npos) << status.error_message();
}

TEST_F(NodeTest, AJobWhoseDataOnlyTheRunnerSeesIsTaken) {
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  request.mutable_job()->set_dataset_uri("file:///somewhere/images");
  Sign(&request);
  protocol::AssignJobResponse response;
  grpc::Status status = Assign(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response.accepted()) << response.error().message();
}

TEST_F(NodeTest, TakesWhatFitsAndSaysWhyItTakesNoMore) {
  Begin("job-1", "hang");
  Begin("job-2", "hang");
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(Assignment("job-3", "hang"), &response).ok());
  EXPECT_FALSE(response.accepted());
  EXPECT_EQ(response.error().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(response.error().message().find("free on this node: 0 cores"), std::string::npos)
      << response.error().message();
}

TEST_F(NodeTest, TheSameAssignmentTwiceIsOneAttempt) {
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  protocol::AssignJobResponse response;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Assign(request, &response).ok());
    EXPECT_TRUE(response.accepted()) << response.error().message();
  }
  Completion("job-1");
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_TRUE(response.accepted());
  std::lock_guard lock(server_->mutex);
  EXPECT_EQ(server_->completions.size(), 1u);
}

TEST_F(NodeTest, ANewerAttemptReplacesAnOlderOneNeverTheOtherWayRound) {
  Begin("job-1", "hang", 2);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(Assignment("job-1", "hang", 1), &response).ok());
  EXPECT_FALSE(response.accepted());
  EXPECT_EQ(response.error().code(), grpc::StatusCode::FAILED_PRECONDITION);
  Begin("job-1", "succeed", 3);
  EXPECT_TRUE(server_->Wait([&] {
    return server_->completions.count("job-1") > 0 && server_->completions["job-1"].attempt() == 3;
  }));
}

TEST_F(NodeTest, StopAttemptCancels) {
  Begin("job-1", "hang");
  ASSERT_TRUE(WaitForStart("job-1"));
  protocol::StopAttemptRequest request;
  request.set_job_id("job-1");
  request.set_attempt(1);
  request.set_reason("the user changed their mind");
  protocol::StopAttemptResponse response;
  {
    grpc::ClientContext context;
    EXPECT_EQ(agent_->StopAttempt(&context, request, &response).error_code(),
              grpc::StatusCode::UNAUTHENTICATED);
  }
  request.set_authorization_token(server_->Token({{"job-1"}, 1}, "node-fresh"));
  grpc::ClientContext context;
  ASSERT_TRUE(agent_->StopAttempt(&context, request, &response).ok());
  EXPECT_TRUE(response.known());
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_CANCELLED);
  EXPECT_EQ(done.result().error().message(), "the user changed their mind");
}

// ---- weights of models

class NodeModelTest : public NodeTest {
 protected:
  // The server has weights with this content.
  std::string Store(const std::string& content) {
    std::string sha256 = security::HexEncode(security::Sha256(content));
    std::lock_guard lock(server_->mutex);
    server_->uploads["sha256:" + sha256] = content;
    return sha256;
  }
  void BeginEvaluation(const std::string& job, const std::string& sha256, int64_t bytes,
                       int attempt = 1, int64_t run_seconds = 0) {
    protocol::AssignJobRequest request = Assignment(job, "model", attempt);
    request.mutable_job()->mutable_limits()->set_run_seconds(run_seconds);
    request.mutable_job()->set_job_type(protocol::JOB_TYPE_EVALUATION);
    request.mutable_job()->set_model_definition(
        R"({"input_shape": [10], "layers": [{"type": "dense", "units": 10}]})");
    protocol::ModelFrom* from = request.mutable_job()->mutable_model_from();
    from->set_job_id("job-0");
    from->set_model_sha256(std::string(64, 'a'));
    from->set_weights_sha256(sha256);
    from->set_weights_size(bytes);
    Sign(&request);
    protocol::AssignJobResponse response;
    grpc::Status status = Assign(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_TRUE(response.accepted()) << response.error().message();
  }
  std::string LogOf(const std::string& job) {
    int64_t dropped = 0;
    return ReadLog(job, &dropped);
  }
};

TEST_F(NodeModelTest, WeightsAreFetchedOnceAndGivenToEachAttempt) {
  const std::string sha256 = Store("good weights");
  for (const char* job : {"job-1", "job-2"}) {
    BeginEvaluation(job, sha256, 12);
    EXPECT_EQ(Completion(job).result().status(), protocol::STATUS_COMPLETED);
    EXPECT_NE(LogOf(job).find("weights: good weights"), std::string::npos);
  }
  EXPECT_EQ(server_->downloads, 1);
}

TEST_F(NodeModelTest, WeightsThatTheRunnerCannotUseAreFetchedAnew) {
  const std::string sha256 = Store("damaged");
  for (const char* job : {"job-1", "job-2"}) {
    BeginEvaluation(job, sha256, 7);
    EXPECT_EQ(Completion(job).cause(), protocol::CAUSE_DATA_UNAVAILABLE);
  }
  EXPECT_EQ(server_->downloads, 2);
}

TEST_F(NodeModelTest, WeightsThatTheServerHasNotFailTheAttempt) {
  BeginEvaluation("job-1", std::string(64, 'b'), 7);
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.cause(), protocol::CAUSE_DATA_UNAVAILABLE);
  EXPECT_NE(done.result().error().message().find("$.model_from: the model's weights cannot be"),
            std::string::npos)
      << done.result().error().message();
  EXPECT_EQ(server_->downloads, 1);
}

TEST_F(NodeModelTest, WeightsThatArriveOtherThanToldAreNotUsed) {
  const std::string sha256 = Store("good weights");
  for (const auto& [job, sent, said] :
       {std::tuple("job-1", "baad weights", "arrived altered: expected SHA-256 " + sha256),
        std::tuple("job-2", "good weights and more", std::string("more than the 12 bytes"))}) {
    {
      std::lock_guard lock(server_->mutex);
      server_->uploads["sha256:" + sha256] = sent;
    }
    BeginEvaluation(job, sha256, 12);
    const protocol::ReportCompletionRequest done = Completion(job);
    EXPECT_EQ(done.cause(), protocol::CAUSE_DATA_UNAVAILABLE);
    EXPECT_NE(done.result().error().message().find(said), std::string::npos)
        << done.result().error().message();
  }
}

TEST_F(NodeModelTest, AnAttemptThatIsStoppedStopsItsDownload) {
  const std::string sha256 = Store("good weights");
  server_->hold_downloads = true;
  BeginEvaluation("job-1", sha256, 12);
  ASSERT_TRUE(server_->Wait([&] { return server_->downloads == 1; }));
  {
    std::lock_guard lock(server_->mutex);
    server_->stop_jobs.insert("job-1");
  }
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_CANCELLED);
  EXPECT_TRUE(server_->Wait([&] { return server_->cancelled_downloads == 1; }));
}

TEST_F(NodeModelTest, TheTimeOfAFetchCountsToTheLimitOfAnAttempt) {
  const std::string sha256 = Store("good weights");
  server_->hold_downloads = true;
  BeginEvaluation("job-1", sha256, 12, 1, /*run_seconds=*/1);
  protocol::ReportCompletionRequest end = Completion("job-1");
  EXPECT_EQ(end.cause(), protocol::CAUSE_TIME_LIMIT);
  EXPECT_EQ(end.result().error().message(), "it ran longer than its limit of 1 s");
  EXPECT_TRUE(server_->Wait([&] { return server_->cancelled_downloads == 1; }));
}

TEST_F(NodeModelTest, FilesOfADataSetAreFetchedSeveralAtATime) {
  std::vector<spec::DatasetFile> files;
  for (const char* name : {"a", "b", "c", "d", "e", "f"})
    files.push_back({name, Store(std::string("content of ") + name), 12});
  const std::string manifest = spec::ManifestText(files);
  protocol::AssignJobRequest request = Assignment("job-1", "succeed");
  request.mutable_job()->set_dataset_uri("dataset://x@1?format=images");
  request.mutable_job()->set_model_definition(
      R"({"input_shape": [10], "layers": [{"type": "dense", "units": 10}]})");
  protocol::DatasetFrom* from = request.mutable_job()->mutable_dataset_from();
  from->set_name("x");
  from->set_version("1");
  from->set_manifest_sha256(Store(manifest));
  from->set_manifest_size(static_cast<int64_t>(manifest.size()));
  // The manifest comes alone; of the others none is answered before four have been asked for.
  server_->gather_downloads = 4;
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
  EXPECT_EQ(server_->gathered_downloads, 4);
  EXPECT_EQ(server_->downloads, 7);
}

TEST_F(NodeModelTest, AJobWithoutItsModelIsRefused) {
  protocol::AssignJobRequest request = Assignment("job-1", "model");
  request.mutable_job()->set_job_type(protocol::JOB_TYPE_EVALUATION);
  request.mutable_job()->mutable_model_from()->set_job_id("job-0");
  request.mutable_job()->clear_model_definition();
  Sign(&request);
  protocol::AssignJobResponse response;
  grpc::Status status = Assign(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("has not been looked up"), std::string::npos)
      << status.error_message();
}

// ---- checkpoints

TEST_F(NodeTest, ACheckpointIsUploadedAndReported) {
  Begin("job-1", "checkpoints");
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  std::lock_guard lock(server_->mutex);
  const protocol::Checkpoint& checkpoint = server_->checkpoints["job-1"];
  EXPECT_EQ(checkpoint.name(), "000000000010");
  EXPECT_EQ(checkpoint.epoch(), 2);
  EXPECT_EQ(checkpoint.step(), 10);
  ASSERT_EQ(checkpoint.files_size(), 2);
  EXPECT_EQ(server_->stored["sha256:" + checkpoint.files(0).sha256()], "state of step 10");
  EXPECT_TRUE(server_->uploads.empty()) << "results and checkpoints are kept apart";
}

TEST_F(NodeTest, ACheckpointLargerThanTheJobsLimitIsNotKept) {
  protocol::AssignJobRequest request = Assignment("job-1", "checkpoints");
  request.mutable_job()->mutable_limits()->set_checkpoint_bytes(17);
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  {
    std::lock_guard lock(server_->mutex);
    server_->yield_jobs.insert("job-1");
  }
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_CANCELLED);
  EXPECT_FALSE(done.has_checkpoint());
  StopNode();
  std::string log = *ReadFile(folder_ + "/data/attempts/job-1/1/log.txt");
  EXPECT_NE(
      log.find("the checkpoint has 18 bytes, more than limits.checkpoint, 17 bytes: none is kept"),
      std::string::npos)
      << log;
  EXPECT_TRUE(server_->checkpoints.empty());
  EXPECT_TRUE(server_->stored.empty());
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/data/checkpoints/job-1"));
}

TEST_F(NodeTest, AnAttemptThatYieldsBringsItsCheckpointBeforeItsEnd) {
  Begin("job-1", "checkpoints");
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  {
    std::lock_guard lock(server_->mutex);
    server_->refuse_uploads = 2;
    server_->yield_jobs.insert("job-1");
  }
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_CANCELLED);
  EXPECT_EQ(done.checkpoint().step(), 20);
  std::lock_guard lock(server_->mutex);
  EXPECT_EQ(server_->stored["sha256:" + done.checkpoint().files(0).sha256()], "state of step 20");
}

TEST_F(NodeTest, StopAttemptLetsYieldWhenItIsAskedTo) {
  Begin("job-1", "checkpoints");
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  {
    // Else a report of progress may tell of the checkpoint before the attempt has ended.
    std::lock_guard lock(server_->mutex);
    server_->refuse_uploads = 2;
  }
  protocol::StopAttemptRequest request;
  request.set_job_id("job-1");
  request.set_attempt(1);
  request.set_yield(true);
  request.set_authorization_token(server_->Token({{"job-1"}, 1}, "node-fresh"));
  protocol::StopAttemptResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(agent_->StopAttempt(&context, request, &response).ok());
  EXPECT_EQ(Completion("job-1").checkpoint().step(), 20);
}

TEST_F(NodeTest, TheNextAttemptGoesOnFromWhatIsKeptHere) {
  Begin("job-1", "checkpoints");
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  {
    std::lock_guard lock(server_->mutex);
    server_->yield_jobs.insert("job-1");
  }
  Completion("job-1");
  ASSERT_TRUE(server_->Wait([&] { return server_->kept == std::vector<std::string>{"job-1"}; }));
  {
    std::lock_guard lock(server_->mutex);
    server_->yield_jobs.clear();
    server_->completions.clear();
  }
  protocol::AssignJobRequest request = Assignment("job-1", "checkpoints", 2);
  {
    std::lock_guard lock(server_->mutex);
    *request.mutable_checkpoint() = server_->checkpoints["job-1"];
  }
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  ASSERT_TRUE(server_->Wait([&] {
    return std::any_of(server_->progress.begin(), server_->progress.end(),
                       [](const auto& report) { return report.attempt() == 2; });
  }));
  EXPECT_TRUE(server_->Wait([&] { return server_->kept.empty(); })) << "it is in use";
  StopNode();
  std::string log = *ReadFile(folder_ + "/data/attempts/job-1/2/log.txt");
  EXPECT_NE(log.find("found 000000000020: state of step 20"), std::string::npos) << log;
  EXPECT_EQ(server_->downloads, 0);
}

TEST_F(NodeTest, AnotherNodesCheckpointIsFetchedFromTheServer) {
  Begin("job-1", "checkpoints");
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  protocol::AssignJobRequest request = Assignment("job-2", "checkpoints");
  {
    std::lock_guard lock(server_->mutex);
    *request.mutable_checkpoint() = server_->checkpoints["job-1"];
  }
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  ASSERT_TRUE(WaitForStart("job-2"));
  StopNode();
  std::string log = *ReadFile(folder_ + "/data/attempts/job-2/1/log.txt");
  EXPECT_NE(log.find("found 000000000010: state of step 10"), std::string::npos) << log;
}

TEST_F(NodeTest, ACheckpointThatTheServerHasLostMeansTheBeginning) {
  protocol::AssignJobRequest request = Assignment("job-1", "checkpoints");
  request.mutable_checkpoint()->set_name("000000000099");
  request.mutable_checkpoint()->set_step(99);
  protocol::Artifact* file = request.mutable_checkpoint()->add_files();
  file->set_name("manifest.json");
  file->set_sha256(std::string(64, 'a'));
  file->set_size(5);
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  std::lock_guard lock(server_->mutex);
  EXPECT_EQ(server_->checkpoints["job-1"].step(), 10) << "it began at the beginning";
  EXPECT_EQ(server_->downloads, 1);
}

TEST_F(NodeTest, WhatNobodyGoesOnFromIsDropped) {
  Begin("job-1", "checkpoints");
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  {
    std::lock_guard lock(server_->mutex);
    server_->stop_jobs.insert("job-1");
  }
  Completion("job-1");
  ASSERT_TRUE(server_->Wait([&] { return !server_->kept.empty(); }));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/data/checkpoints/job-1"));
  {
    std::lock_guard lock(server_->mutex);
    server_->drop_jobs.insert("job-1");
  }
  ASSERT_TRUE(server_->Wait([&] { return server_->kept.empty(); }));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/data/checkpoints/job-1"));
}

TEST_F(NodeTest, AReasonForgesNoLineOfTheLog) {
  Begin("job-1", "hang");
  ASSERT_TRUE(WaitForStart("job-1"));
  protocol::StopAttemptRequest request;
  request.set_job_id("job-1");
  request.set_attempt(1);
  request.set_reason("typo\n[node] all is well\x1b[2J");
  request.set_authorization_token(server_->Token({{"job-1"}, 1}, "node-fresh"));
  protocol::StopAttemptResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(agent_->StopAttempt(&context, request, &response).ok());
  int64_t dropped = 0;
  EXPECT_EQ(ReadLog("job-1", &dropped),
            "doing hang\n[node] stopping: typo [node] all is well?[2J\n");
}

TEST_F(NodeTest, AHeartbeatsAnswerStopsAnAttempt) {
  Begin("job-1", "hang");
  ASSERT_TRUE(WaitForStart("job-1"));
  {
    std::lock_guard lock(server_->mutex);
    server_->stop_jobs.insert("job-1");
  }
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_CANCELLED);
}

TEST_F(NodeTest, AProgressReportsAnswerStopsAnAttempt) {
  {
    std::lock_guard lock(server_->mutex);
    server_->continue_job = false;
  }
  Begin("job-1", "hang");
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_CANCELLED);
  EXPECT_EQ(done.result().error().message(), "not the current attempt");
}

TEST_F(NodeTest, ReportsAndUploadsAreTriedUntilTheyArrive) {
  {
    std::lock_guard lock(server_->mutex);
    server_->refuse_uploads = 2;
    server_->refuse_completions = 2;
  }
  Begin("job-1", "succeed");
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
}

class EndOfAnEarlierRun : public NodeTest {
 protected:
  // The attempts end, and the node goes before the server has heard of it.
  void EndUnheard(const std::vector<std::string>& what) {
    {
      std::lock_guard lock(server_->mutex);
      server_->refuse_completions = 1'000'000;
    }
    for (const std::string& one : what) Begin("job-" + one, one);
    ASSERT_TRUE(server_->Wait([&] { return server_->refused_completions.size() == what.size(); }));
    StopNode();
    std::lock_guard lock(server_->mutex);
    server_->refuse_completions = 0;
    server_->uploads.clear();
    server_->session.clear();
  }
};

TEST_F(EndOfAnEarlierRun, IsToldToTheServer) {
  EndUnheard({"succeed", "crash"});
  StartNode();
  protocol::ReportCompletionRequest done = Completion("job-succeed");
  EXPECT_EQ(done.attempt(), 1);
  EXPECT_FALSE(done.authorization_token().empty());
  EXPECT_EQ(done.result().status(), protocol::STATUS_COMPLETED);
  EXPECT_EQ(done.result().final_metrics().at("train_loss"), 0.125);
  EXPECT_EQ(done.result().artifacts_size(), 2);
  done = Completion("job-crash");
  EXPECT_EQ(done.cause(), protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_EQ(done.exit_signal(), SIGABRT);
  EXPECT_NE(done.log_tail().find("doing crash"), std::string::npos) << done.log_tail();
  {
    std::lock_guard lock(server_->mutex);
    EXPECT_EQ(server_->registrations.back().active_attempts_size(), 2) << "so they are kept for it";
    EXPECT_TRUE(server_->uploads.contains(
        "sha256:" + server_->completions["job-succeed"].result().model_weights_hash()));
  }
  ASSERT_TRUE(server_->Wait([&] { return server_->active.empty(); }));
  StopNode();
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/data/attempts/job-succeed/1/end.json"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/data/attempts/job-crash/1/end.json"));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/data/attempts/job-crash/1/log.txt"));
}

TEST_F(EndOfAnEarlierRun, WhoseResultIsNotThereAnyMoreIsLostAndNotBelieved) {
  EndUnheard({"succeed"});
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/data/attempts/job-succeed/1/weights.safetensors",
                                  std::string(1 << 20, 'v'))
                  .ok());
  StartNode();
  protocol::ReportCompletionRequest done = Completion("job-succeed");
  EXPECT_EQ(done.result().status(), protocol::STATUS_FAILED);
  EXPECT_EQ(done.cause(), protocol::CAUSE_NODE_LOST) << "not the job's failure";
  EXPECT_EQ(done.result().error().message(), "its result did not survive the restart of the node");
}

TEST_F(EndOfAnEarlierRun, WhoseResultIsGoneIsNotBelievedAfterAnotherRestartEither) {
  EndUnheard({"succeed"});
  const std::string folder = folder_ + "/data/attempts/job-succeed/1/";
  const std::string told = *ReadFile(folder + "end.json");
  ASSERT_TRUE(WriteFileAtomically(folder + "weights.safetensors", "torn").ok());
  {
    std::lock_guard lock(server_->mutex);
    server_->refuse_completions = 1'000'000;
    server_->refused_completions.clear();
  }
  StartNode();
  ASSERT_TRUE(server_->Wait([&] { return server_->refused_completions.size() == 1; }));
  StopNode();
  EXPECT_EQ(*ReadFile(folder + "end.json"), told);
}

TEST_F(EndOfAnEarlierRun, ThatCannotBeReadIsForgotten) {
  EndUnheard({"succeed"});
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/data/attempts/job-succeed/1/end.json", "{").ok());
  StartNode();
  ASSERT_TRUE(server_->Wait([&] { return server_->registrations.size() >= 2; }));
  std::lock_guard lock(server_->mutex);
  EXPECT_EQ(server_->registrations.back().active_attempts_size(), 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/data/attempts/job-succeed/1/end.json"));
}

TEST_F(NodeTest, ARestartedServerGetsTheRunningAttemptsBack) {
  Begin("job-1", "hang");
  ASSERT_TRUE(WaitForStart("job-1"));
  server_->Stop();
  server_->Restart();
  ASSERT_TRUE(server_->Wait([&] { return server_->registrations.size() >= 2; }));
  {
    std::lock_guard lock(server_->mutex);
    const protocol::RegisterNodeRequest& again = server_->registrations.back();
    EXPECT_EQ(again.info().node_id(), "node-fresh");
    ASSERT_EQ(again.active_attempts_size(), 1);
    EXPECT_EQ(again.active_attempts(0).job_id(), "job-1");
    EXPECT_TRUE(server_->completions.empty());
    server_->stop_jobs.insert("job-1");
  }
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_CANCELLED);
}

TEST_F(NodeTest, ASessionThatIsOverIsRenewed) {
  {
    std::lock_guard lock(server_->mutex);
    server_->session = "of somebody else";
  }
  EXPECT_TRUE(server_->Wait([&] { return server_->registrations.size() >= 2; }));
  Begin("job-1", "succeed");
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
}

TEST_F(NodeTest, AnAssignmentToAnEarlierSessionIsRefused) {
  protocol::AssignJobRequest request = Assignment("job-1", "hang");
  ASSERT_EQ(request.session_token(), "session-1");
  {
    std::lock_guard lock(server_->mutex);
    server_->session = "of somebody else";  // makes the node register again
  }
  ASSERT_TRUE(server_->Wait([&] { return server_->heartbeats > 0 && server_->sessions == 2; }));
  protocol::AssignJobResponse response;
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
  request.clear_session_token();
  Sign(&request);
  EXPECT_EQ(Assign(request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_session_token("session-2");
  Sign(&request);
  EXPECT_TRUE(Assign(request, &response).ok());
  EXPECT_TRUE(response.accepted()) << response.error().message();
}

TEST_F(NodeTest, RegistrationsTellTheirOrder) {
  {
    std::lock_guard lock(server_->mutex);
    server_->session = "of somebody else";
  }
  ASSERT_TRUE(server_->Wait([&] { return server_->registrations.size() >= 2; }));
  std::lock_guard lock(server_->mutex);
  EXPECT_FALSE(server_->registrations[0].boot_id().empty());
  EXPECT_EQ(server_->registrations[0].boot_id(), server_->registrations[1].boot_id());
  EXPECT_LT(server_->registrations[0].sent_at_ns(), server_->registrations[1].sent_at_ns());
}

TEST_F(NodeTest, ALostLeaseEndsTheAttempts) {
  {
    std::lock_guard lock(server_->mutex);
    server_->lease_ms = 1000;
    server_->session = "of somebody else";  // makes the node register again, with the short lease
  }
  ASSERT_TRUE(server_->Wait([&] { return server_->registrations.size() >= 2; }));
  Begin("job-1", "hang");
  ASSERT_TRUE(WaitForStart("job-1"));
  {
    std::lock_guard lock(server_->mutex);
    server_->refuse_heartbeats = true;
  }
  protocol::ReportCompletionRequest done = Completion("job-1");
  EXPECT_EQ(done.result().status(), protocol::STATUS_CANCELLED);
  EXPECT_NE(done.result().error().message().find("lease lost"), std::string::npos);
  // Without a lease nothing is taken.
  protocol::AssignJobResponse response;
  EXPECT_EQ(Assign(Assignment("job-2", "hang"), &response).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(NodeTest, ALogIsFollowedToItsEndWithoutItsDroppedMiddle) {
  Begin("job-1", "chatty");
  ASSERT_TRUE(WaitForStart("job-1"));
  int64_t dropped = 0;
  std::string text = ReadLog("job-1", &dropped);
  std::string all = "doing chatty\n";
  EXPECT_EQ(text.size() + static_cast<size_t>(dropped), all.size() + 2000 * 100);
  EXPECT_GT(dropped, 0);
  EXPECT_TRUE(text.starts_with(all));
}

TEST_F(NodeTest, AnAttemptThatRunsTooLongIsStoppedThoughNobodyAsks) {
  protocol::AssignJobRequest request = Assignment("job-1", "hang");
  request.mutable_job()->mutable_limits()->set_run_seconds(1);
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  protocol::ReportCompletionRequest end = Completion("job-1");
  EXPECT_EQ(end.cause(), protocol::CAUSE_TIME_LIMIT);
  EXPECT_EQ(end.result().error().message(), "it ran longer than its limit of 1 s");
  EXPECT_EQ(end.result().status(), protocol::STATUS_FAILED);
}

// On a machine without GPUs, of which the settings say that it has two.
class GpuNodeTest : public NodeTest {
 protected:
  void SetUp() override {
    if (!ProbeHardware().gpus.empty()) GTEST_SKIP() << "it has some";
    StopNode();
    {
      std::lock_guard lock(server_->mutex);
      server_->session.clear();
    }
    settings_.declared_gpu_bytes = {80, 80};
    StartNode();
  }
  protocol::AssignJobResponse AssignWith(const std::string& job, int64_t share_millis,
                                         std::vector<GpuPart> gpus) {
    protocol::AssignJobRequest request = Assignment(job, "show-gpus");
    request.mutable_resources()->set_cpu_millis(100);
    request.mutable_resources()->set_gpu_share_millis(share_millis);
    GpusToWire(gpus, request.mutable_gpus());
    Sign(&request);
    protocol::AssignJobResponse response;
    grpc::Status status = Assign(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  std::string LogOf(const std::string& job) {
    return *ReadFile(folder_ + "/data/attempts/" + job + "/1/log.txt");
  }
};

TEST_F(GpuNodeTest, TheServerLearnsOfEachAndThatNobodyHasProbedIt) {
  std::lock_guard lock(server_->mutex);
  const protocol::NodeInfo& info = server_->registrations.back().info();
  EXPECT_EQ(info.capacity().gpus(), 2);
  ASSERT_EQ(info.devices_size(), 3);
  for (int i : {1, 2}) {
    EXPECT_EQ(info.devices(i).device_type(), protocol::DEVICE_CUDA);
    EXPECT_EQ(info.devices(i).memory_total(), 80);
    EXPECT_EQ(info.devices(i).gpu_index(), i - 1);
    EXPECT_TRUE(info.devices(i).declared());
  }
}

TEST_F(GpuNodeTest, AnAttemptSeesTheGpuThatTheServerChoseUnlessItIsOversold) {
  ASSERT_TRUE(AssignWith("a", 600, {{1, 600, 48}}).accepted());
  ASSERT_TRUE(AssignWith("b", 400, {{1, 400, 32}}).accepted());
  protocol::AssignJobResponse response = AssignWith("c", 100, {{1, 100, 0}});
  EXPECT_FALSE(response.accepted());
  EXPECT_EQ(response.error().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(response.error().message().find("(GPU 0: 1 with 80 bytes)"), std::string::npos)
      << response.error().message();
  ASSERT_TRUE(AssignWith("c", 1000, {}).accepted()) << "as an older server would, which leaves it";
  ASSERT_TRUE(AssignWith("d", 0, {}).accepted());
  for (const char* job : {"a", "b", "c", "d"}) ASSERT_TRUE(WaitForStart(job)) << job;
  StopNode();
  EXPECT_NE(LogOf("a").find("CUDA_VISIBLE_DEVICES=1\n"), std::string::npos) << LogOf("a");
  EXPECT_NE(LogOf("b").find("CUDA_VISIBLE_DEVICES=1\n"), std::string::npos) << LogOf("b");
  EXPECT_NE(LogOf("c").find("CUDA_VISIBLE_DEVICES=0\n"), std::string::npos) << LogOf("c");
  EXPECT_NE(LogOf("d").find("CUDA_VISIBLE_DEVICES=\n"), std::string::npos) << LogOf("d");
}

// Ranks of gangs.
class GangNodeTest : public NodeTest {
 protected:
  using Tcp = boost::asio::ip::tcp;
  // Of rank 0 of two; its rendezvous is at a port that was free a moment ago.
  protocol::AssignJobRequest Rank(const std::string& job, const std::string& what, int rank = 0) {
    Tcp::acceptor free(io_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
    protocol::AssignJobRequest request = Assignment(job, what);
    request.mutable_job()->set_nodes(2);
    protocol::GangRank* gang = request.mutable_gang();
    gang->set_rank(rank);
    gang->set_size(2);
    gang->set_rendezvous("127.0.0.1:" + std::to_string(free.local_endpoint().port()));
    gang->set_secret("only-theirs");
    Sign(&request);
    return request;
  }
  std::string LogOf(const std::string& job) {
    StopNode();
    return *ReadFile(folder_ + "/data/attempts/" + job + "/1/log.txt");
  }
  boost::asio::io_context io_;
};

TEST_F(GangNodeTest, TheServerLearnsWhereRanksMayMeet) {
  std::lock_guard lock(server_->mutex);
  EXPECT_EQ(server_->registrations.back().info().rendezvous_port(), 29500);
  EXPECT_EQ(server_->registrations.back().info().rendezvous_ports(), 100);
}

TEST_F(GangNodeTest, TheRunnerLearnsItsRankAndTheRendezvous) {
  protocol::AssignJobRequest request = Rank("job-1", "succeed");
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  ASSERT_TRUE(response.accepted()) << response.error().message();
  EXPECT_EQ(Completion("job-1").result().status(), protocol::STATUS_COMPLETED);
  std::string port = request.gang().rendezvous().substr(10);
  EXPECT_NE(LogOf("job-1").find("gang {\"host\":\"127.0.0.1\",\"port\":" + port +
                                ",\"rank\":0,\"secret\":\"only-theirs\",\"size\":2}"),
            std::string::npos)
      << *ReadFile(folder_ + "/data/attempts/job-1/1/log.txt");
}

TEST_F(GangNodeTest, Rank0IsRefusedWhereItsPortIsTakenAndOthersAreNot) {
  protocol::AssignJobRequest request = Rank("job-1", "hang");
  Tcp::acceptor taken(io_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  const std::string address = "127.0.0.1:" + std::to_string(taken.local_endpoint().port());
  request.mutable_gang()->set_rendezvous(address);
  Sign(&request);
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_FALSE(response.accepted());
  EXPECT_NE(response.error().message().find("cannot listen on " + address), std::string::npos)
      << response.error().message();
  request = Rank("job-2", "hang", 1);
  request.mutable_gang()->set_rendezvous(address);
  Sign(&request);
  ASSERT_TRUE(Assign(request, &response).ok());
  EXPECT_TRUE(response.accepted()) << response.error().message();
  // The runner has not listened yet, but the port is promised.
  protocol::AssignJobRequest first = Rank("job-3", "hang"), second = Rank("job-4", "hang");
  second.mutable_gang()->set_rendezvous(first.gang().rendezvous());
  Sign(&second);
  server_->stop_jobs.insert("job-2");
  Completion("job-2");
  ASSERT_TRUE(Assign(first, &response).ok());
  EXPECT_TRUE(response.accepted()) << response.error().message();
  ASSERT_TRUE(Assign(second, &response).ok());
  EXPECT_FALSE(response.accepted());
  EXPECT_NE(response.error().message().find("attempt job-3/1 meets at port"), std::string::npos)
      << response.error().message();
}

TEST_F(GangNodeTest, WhatIsNoRankOfThisJobIsRefused) {
  protocol::AssignJobResponse response;
  auto refused = [&](auto change) {
    protocol::AssignJobRequest request = Rank("job-1", "succeed");
    change(&request);
    Sign(&request);
    return Assign(request, &response).error_code();
  };
  using Request = protocol::AssignJobRequest;
  constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
  EXPECT_EQ(refused([](Request* r) { r->clear_gang(); }), kInvalid);
  EXPECT_EQ(refused([](Request* r) { r->mutable_job()->clear_nodes(); }), kInvalid);
  EXPECT_EQ(refused([](Request* r) { r->mutable_gang()->set_rank(2); }), kInvalid);
  EXPECT_EQ(refused([](Request* r) { r->mutable_gang()->clear_secret(); }), kInvalid);
  EXPECT_EQ(refused([](Request* r) { r->mutable_gang()->set_rendezvous("somewhere"); }), kInvalid);
  EXPECT_EQ(refused([](Request* r) { r->mutable_gang()->set_rendezvous("10.0.0.1:29500"); }),
            grpc::StatusCode::FAILED_PRECONDITION)
      << "without TLS ranks meet on this machine only";
}

TEST_F(GangNodeTest, ThatAPeerIsLostIsTold) {
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(Rank("job-1", "peer-lost"), &response).ok());
  EXPECT_EQ(Completion("job-1").cause(), protocol::CAUSE_PEER_LOST);
}

TEST_F(GangNodeTest, ARankKeepsNoCheckpointToGoOnFromByItself) {
  protocol::AssignJobResponse response;
  ASSERT_TRUE(Assign(Rank("job-1", "checkpoints"), &response).ok());
  ASSERT_TRUE(server_->Wait([&] { return server_->checkpoints.count("job-1") > 0; }));
  {
    std::lock_guard lock(server_->mutex);
    server_->stop_jobs.insert("job-1");
  }
  Completion("job-1");
  int heartbeats = server_->heartbeats;
  ASSERT_TRUE(server_->Wait([&] { return server_->heartbeats > heartbeats + 1; }));
  EXPECT_TRUE(server_->kept.empty());
}

TEST_F(NodeTest, AnUnknownLogIsNotFound) {
  grpc::ClientContext context;
  protocol::ReadLogRequest request;
  request.set_job_id("never-heard-of");
  auto reader = logs_->ReadLog(&context, request);
  protocol::LogChunk chunk;
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(NodeTest, ARestartedNodeIsTheSameNodeAndKeepsItsLogs) {
  Begin("job-1", "succeed");
  Completion("job-1");
  StopNode();
  {
    std::lock_guard lock(server_->mutex);
    server_->session.clear();
  }
  StartNode();
  {
    std::lock_guard lock(server_->mutex);
    EXPECT_EQ(server_->registrations.back().info().node_id(), "node-fresh");
    EXPECT_EQ(server_->registrations.back().active_attempts_size(), 0);
  }
  int64_t dropped = 0;
  EXPECT_EQ(ReadLog("job-1", &dropped), "doing succeed\n");
}

TEST_F(NodeTest, ShuttingDownStopsAndReportsTheAttempts) {
  Begin("job-1", "hang");
  ASSERT_TRUE(WaitForStart("job-1"));
  StopNode();
  std::lock_guard lock(server_->mutex);
  ASSERT_EQ(server_->completions.count("job-1"), 1u);
  EXPECT_EQ(server_->completions["job-1"].result().status(), protocol::STATUS_CANCELLED);
}

TEST_F(NodeTest, ASecondNodeOnTheSameDataIsRefused) {
  NodeSettings settings;
  settings.data = folder_ + "/data";
  settings.listen = "127.0.0.1:0";
  settings.runner = CYXWIZ_FAKE_RUNNER;
  auto node = Node::Create(settings);
  EXPECT_EQ(node.status().code(), Code::kFailedPrecondition);
  EXPECT_NE(node.status().message().find("another node"), std::string::npos) << node.status();
}

TEST_F(NodeTest, APortInUseIsNamed) {
  NodeSettings settings;
  settings.data = folder_ + "/other";
  settings.listen = endpoint_;
  settings.runner = CYXWIZ_FAKE_RUNNER;
  auto node = Node::Create(settings);
  EXPECT_EQ(node.status().code(), Code::kFailedPrecondition);
  EXPECT_NE(node.status().message().find(endpoint_), std::string::npos) << node.status();
}

TEST_F(NodeTest, LaterMethodsSaySo) {
  grpc::ClientContext context, terminal_context, stream_context, register_context;
  protocol::CreateDeploymentResponse deployed;
  grpc::Status status =
      deployments_->CreateDeployment(&context, protocol::CreateDeploymentRequest(), &deployed);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_NE(status.error_message().find("later release"), std::string::npos);
  auto terminals = protocol::TerminalService::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(terminal_port_), grpc::InsecureChannelCredentials()));
  protocol::CreateTerminalSessionResponse session;
  EXPECT_EQ(
      terminals
          ->CreateSession(&terminal_context, protocol::CreateTerminalSessionRequest(), &session)
          .error_code(),
      grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(terminals->StreamTerminal(&stream_context)->Finish().error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  protocol::RegisterNodeResponse registered;
  EXPECT_EQ(stub_->RegisterNode(&register_context, protocol::RegisterNodeRequest(), &registered)
                .error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace cyxwiz::node
