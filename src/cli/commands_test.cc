// The commands against a server of our own over real gRPC: exit codes, what stands on which stream,
// and what happens when the server lies, refuses or goes away.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/file.h"
#include "cli/app.h"
#include "cli/commands.h"
#include "cli/download.h"
#include "cli/job_follower.h"
#include "security/job_token.h"

namespace cyxwiz::cli {
namespace {

using protocol::JobState;

constexpr char kSubmitResponseKey[] = "cyxwiz-submit-response-bin";

// Answers as the test says; everything unset is UNIMPLEMENTED.
class FakeServer : public protocol::JobService::Service,
                   public protocol::JobControlService::Service,
                   public protocol::JobLogService::Service,
                   public protocol::ModelService::Service,
                   public protocol::NodeDiscoveryService::Service {
 public:
  explicit FakeServer(int at_port = 0) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(at_port),
                             grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<protocol::JobService::Service*>(this));
    builder.RegisterService(static_cast<protocol::JobControlService::Service*>(this));
    builder.RegisterService(static_cast<protocol::JobLogService::Service*>(this));
    builder.RegisterService(static_cast<protocol::ModelService::Service*>(this));
    builder.RegisterService(static_cast<protocol::NodeDiscoveryService::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port); }

  grpc::Status SubmitJob(grpc::ServerContext* context, const protocol::SubmitJobRequest* request,
                         protocol::SubmitJobResponse* response) override {
    submitted = *request;
    if (refusal.problems_size() > 0) {
      context->AddTrailingMetadata(kSubmitResponseKey, refusal.SerializeAsString());
      return grpc::Status(grpc::INVALID_ARGUMENT, "the job has problems");
    }
    response->set_job_id("job-1");
    response->set_status(protocol::STATUS_PENDING);
    response->set_assigned_node_id("node-7");
    return grpc::Status::OK;
  }
  grpc::Status PlanJob(grpc::ServerContext* context, const protocol::PlanJobRequest*,
                       protocol::PlanJobResponse*) override {
    context->AddTrailingMetadata(kSubmitResponseKey, refusal.SerializeAsString());
    return grpc::Status(grpc::INVALID_ARGUMENT, "the job has problems");
  }
  grpc::Status RetryJob(grpc::ServerContext*, const protocol::RetryJobRequest*,
                        protocol::JobResponse* response) override {
    response->mutable_status()->set_job_id("job-2");
    return grpc::Status::OK;
  }
  grpc::Status GetJobStatus(grpc::ServerContext*, const protocol::GetJobStatusRequest* request,
                            protocol::GetJobStatusResponse* response) override {
    if (request->job_id() != status.status().job_id())
      return grpc::Status(grpc::NOT_FOUND, "no job '" + request->job_id() + "'");
    *response = status;
    return grpc::Status::OK;
  }
  grpc::Status StreamJobUpdates(grpc::ServerContext* context, const protocol::GetJobStatusRequest*,
                                grpc::ServerWriter<protocol::JobUpdateStream>* writer) override {
    for (const auto& update : updates) writer->Write(update);
    return stream_end(context);
  }
  grpc::Status ListJobs(grpc::ServerContext*, const protocol::ListJobsRequest* request,
                        protocol::ListJobsResponse* response) override {
    response->set_total_count(3);
    int page = request->page_token().empty() ? 0 : std::stoi(request->page_token());
    auto* job = response->add_jobs();
    job->set_job_id("job-" + std::to_string(page));
    job->set_state(protocol::JOB_STATE_QUEUED);
    job->set_message("waits");
    if (page < 2) response->set_next_page_token(std::to_string(page + 1));
    return grpc::Status::OK;
  }
  grpc::Status CancelJob(grpc::ServerContext*, const protocol::CancelJobRequest*,
                         protocol::CancelJobResponse*) override {
    return grpc::Status(grpc::FAILED_PRECONDITION, "the job has ended");
  }
  grpc::Status ReadLog(grpc::ServerContext*, const protocol::ReadLogRequest* request,
                       grpc::ServerWriter<protocol::LogChunk>* writer) override {
    protocol::LogChunk chunk;
    chunk.set_attempt(1);
    for (size_t i = static_cast<size_t>(request->offset()); i < log.size(); i += 5) {
      chunk.set_offset(static_cast<int64_t>(i));
      chunk.set_data(log.substr(i, 5));
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }
  grpc::Status DownloadModel(grpc::ServerContext*, const protocol::DownloadModelMetadataRequest*,
                             grpc::ServerWriter<protocol::ModelChunk>* writer) override {
    protocol::ModelChunk chunk;
    for (size_t i = 0; i < content.size(); i += 4) {
      chunk.set_data(content.substr(i, 4));
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }

  void AddArtifact(const std::string& name, const std::string& sha256, int64_t size) {
    auto* artifact = status.mutable_result()->add_artifacts();
    artifact->set_name(name);
    artifact->set_sha256(sha256);
    artifact->set_size(size);
  }
  void AddUpdate(JobState state, double progress = 0) {
    auto& update = updates.emplace_back();
    update.set_job_id("job-1");
    update.mutable_status()->set_job_id("job-1");
    update.mutable_status()->set_state(state);
    update.mutable_status()->set_progress(progress);
    *status.mutable_status() = update.status();
  }

  int port = 0;
  protocol::SubmitJobRequest submitted;
  protocol::SubmitJobResponse refusal;
  protocol::GetJobStatusResponse status;
  std::vector<protocol::JobUpdateStream> updates;
  std::function<grpc::Status(grpc::ServerContext*)> stream_end = [](grpc::ServerContext*) {
    return grpc::Status::OK;
  };
  std::string log, content;

 private:
  std::unique_ptr<grpc::Server> server_;
};

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "cyxwiz-cli-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

struct Outcome {
  int code;
  std::string out, err;
};

Outcome Cyxwiz(std::vector<std::string> arguments, const std::string& input = "") {
  std::ostringstream out, err;
  std::istringstream in(input);
  Console console(out, err);
  int code = RunApp(arguments, in, console);
  return {code, out.str(), err.str()};
}

constexpr char kJob[] = R"({"name": "mlp", "priority": "high", "dataset": "mock://random_data",
  "model": {"layers": [{"type": "dense", "units": 10}]}, "hyperparameters": {"learning_rate": 0.010, "epochs": 2}})";

TEST(Commands, SubmitSendsTheJobFileAndPrintsTheId) {
  FakeServer server;
  Outcome outcome = Cyxwiz({"submit", "-", "--server", server.address()}, kJob);
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  EXPECT_EQ(outcome.out, "job-1\n");
  const protocol::JobConfig& config = server.submitted.config();
  EXPECT_EQ(config.name(), "mlp");
  EXPECT_EQ(config.priority(), protocol::PRIORITY_HIGH);
  EXPECT_EQ(config.hyperparameters().at("learning_rate"), "0.010");
  EXPECT_EQ(config.dataset_uri(), "mock://random_data");
}

TEST(Commands, FlagsMayStandBeforeOrAfterTheCommand) {
  FakeServer server;
  Outcome before = Cyxwiz({"--json", "--server", server.address(), "submit", "-"}, kJob);
  Outcome after = Cyxwiz({"submit", "-", "--server", server.address(), "--json"}, kJob);
  EXPECT_EQ(before.out, after.out);
  EXPECT_EQ(
      Json::parse(after.out),
      Json({{"job_id", "job-1"}, {"status", "STATUS_PENDING"}, {"assigned_node_id", "node-7"}}));
}

TEST(Commands, EveryProblemOfARefusedJobStandsOnItsOwnLine) {
  FakeServer server;
  for (int i = 0; i < 3; ++i) {
    auto* problem = server.refusal.add_problems();
    problem->set_path("$.model.layers[" + std::to_string(i) + "].units");
    problem->set_message("units must be a positive whole number");
    problem->set_expected("1 to 1048576");
    problem->set_found("-5");
    problem->set_hint("try 5");
  }
  Outcome text = Cyxwiz({"submit", "-", "--server", server.address()}, kJob);
  EXPECT_EQ(text.code, kExitRefused);
  EXPECT_EQ(text.out, "");
  EXPECT_NE(text.err.find("3 problems"), std::string::npos);
  EXPECT_NE(text.err.find("\n  $.model.layers[2].units: units must be a positive whole number: "
                          "expected 1 to 1048576, "
                          "found -5 (try 5)\n"),
            std::string::npos)
      << text.err;
  Outcome plan = Cyxwiz({"plan", "-", "--server", server.address()}, kJob);
  EXPECT_EQ(plan.code, kExitRefused);
  EXPECT_EQ(plan.err, text.err);
  Outcome json = Cyxwiz({"submit", "-", "--json", "--server", server.address()}, kJob);
  EXPECT_EQ(json.code, kExitRefused);
  Json error = Json::parse(json.err)["error"];
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["problems"].size(), 3u);
  EXPECT_EQ(error["problems"][1]["path"], "$.model.layers[1].units");
}

TEST(Commands, AJobFileOfTheWrongFormIsRefusedWithoutAServer) {
  Outcome outcome = Cyxwiz({"submit", "-", "--server", "127.0.0.1:1"}, "{nonsense");
  EXPECT_EQ(outcome.code, kExitRefused);
  EXPECT_NE(outcome.err.find("line 1"), std::string::npos) << outcome.err;
}

TEST(Commands, AMissingJobFileIsAnErrorOfUsage) {
  EXPECT_EQ(Cyxwiz({"submit", "/nonexistent/job.json"}).code, kExitUsage);
}

TEST(Commands, NoServerIsSaidAtOnceWithWhatToDo) {
  Outcome outcome = Cyxwiz({"ps", "--server", "127.0.0.1:1"});
  EXPECT_EQ(outcome.code, kExitUnreachable);
  EXPECT_NE(outcome.err.find("127.0.0.1:1"), std::string::npos);
  EXPECT_NE(outcome.err.find("cyxwiz up"), std::string::npos);
}

TEST(Commands, UsageErrorsHaveAHintAndCodeTwo) {
  Outcome unknown = Cyxwiz({"--server", "a:1", "statsu", "x"});
  EXPECT_EQ(unknown.code, kExitUsage);
  EXPECT_NE(unknown.err.find("did you mean 'status'"), std::string::npos) << unknown.err;
  EXPECT_EQ(Cyxwiz({"status"}).code, kExitUsage);
  EXPECT_EQ(Cyxwiz({"ps", "--limit", "0"}).code, kExitUsage);
  EXPECT_EQ(Cyxwiz({"ps", "--no-such-flag"}).code, kExitUsage);
  EXPECT_EQ(Cyxwiz({"ps", "--server", "http://x"}).code, kExitUsage);
  EXPECT_EQ(Cyxwiz({"cordon", "node-7", "--from", "tomorrow"}).code, kExitUsage);
  EXPECT_EQ(Cyxwiz({}).code, kExitUsage);
  Outcome json = Cyxwiz({"statsu", "--json"});
  EXPECT_EQ(Json::parse(json.err)["error"]["code"], "USAGE");
}

TEST(Commands, EveryCommandHasHelpWithExamples) {
  for (const char* name : {"up", "submit", "evaluate", "predict", "ps", "status", "watch", "logs",
                           "cancel", "delete", "nodes", "download", "version"}) {
    Outcome outcome = Cyxwiz({name, "--help"});
    EXPECT_EQ(outcome.code, kExitOk);
    EXPECT_NE(outcome.out.find("Examples:\n  cyxwiz " + std::string(name)), std::string::npos)
        << outcome.out;
    EXPECT_NE(outcome.out.find("--json"), std::string::npos) << outcome.out;
  }
}

TEST(Commands, HelpIsACommandToo) {
  Outcome all = Cyxwiz({"help"});
  EXPECT_EQ(all.code, kExitOk);
  EXPECT_EQ(all.out, Cyxwiz({"--help"}).out);
  EXPECT_EQ(Cyxwiz({"help", "submit"}).out, Cyxwiz({"submit", "--help"}).out);
}

TEST(Commands, NotFoundAndRefusedHaveTheirCodes) {
  FakeServer server;
  EXPECT_EQ(Cyxwiz({"status", "nobody", "--server", server.address()}).code, kExitNotFound);
  EXPECT_EQ(Cyxwiz({"cancel", "job-1", "--server", server.address()}).code, kExitRefused);
  EXPECT_EQ(Cyxwiz({"delete", "job-1", "--server", server.address()}).code,
            kExitRefused);  // UNIMPLEMENTED here
  Outcome outcome = Cyxwiz({"status", "nobody", "--json", "--server", server.address()});
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(Json::parse(outcome.err)["error"]["code"], "NOT_FOUND");
}

TEST(Commands, RetrySaysHowToFollowTheNewJob) {
  FakeServer server;
  Outcome outcome = Cyxwiz({"retry", "job-1", "--server", server.address()});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  EXPECT_EQ(outcome.out, "job-2\n");
  EXPECT_NE(outcome.err.find("cyxwiz watch job-2 "), std::string::npos) << outcome.err;
}

TEST(Commands, PsShowsOnePageOrAll) {
  FakeServer server;
  Outcome page = Cyxwiz({"ps", "--server", server.address()});
  EXPECT_NE(page.out.find("job-0"), std::string::npos);
  EXPECT_EQ(page.out.find("job-1"), std::string::npos);
  EXPECT_NE(page.err.find("2 more: cyxwiz ps --all, or"), std::string::npos) << page.err;
  Outcome some =
      Cyxwiz({"ps", "--status", "completed", "--user", "ada", "--server", server.address()});
  EXPECT_NE(some.err.find("cyxwiz ps --status completed --user ada --all"), std::string::npos)
      << some.err;
  Outcome all = Cyxwiz({"ps", "--all", "--json", "--server", server.address()});
  Json json = Json::parse(all.out);
  EXPECT_EQ(json["jobs"].size(), 3u);
  EXPECT_EQ(json["next_page_token"], "");
  EXPECT_EQ(json["total_count"], 3);
  EXPECT_EQ(json["jobs"][2]["state"], "JOB_STATE_QUEUED");
}

TEST(Commands, WatchEndsWithTheJobsExitCode) {
  for (auto [state, code] : {std::pair(protocol::JOB_STATE_SUCCEEDED, kExitOk),
                             std::pair(protocol::JOB_STATE_FAILED, kExitJobFailed),
                             std::pair(protocol::JOB_STATE_CANCELLED, kExitJobCancelled)}) {
    FakeServer server;
    server.AddUpdate(protocol::JOB_STATE_RUNNING, 0.5);
    server.AddUpdate(state, 1);
    EXPECT_EQ(Cyxwiz({"watch", "job-1", "--server", server.address()}).code, code);
    Outcome json = Cyxwiz({"watch", "job-1", "--json", "--server", server.address()});
    EXPECT_EQ(json.code, code);
    EXPECT_EQ(std::count(json.out.begin(), json.out.end(), '\n'), 2);
    EXPECT_EQ(Json::parse(json.out.substr(0, json.out.find('\n')))["status"]["state"],
              "JOB_STATE_RUNNING");
    Outcome wait = Cyxwiz({"submit", "-", "--wait", "--json", "--server", server.address()}, kJob);
    EXPECT_EQ(wait.code, code);
    EXPECT_EQ(Json::parse(wait.out)["job_id"], "job-1");
  }
}

TEST(Commands, EvaluateAndPredictSubmitJobsThatNameTheModel) {
  FakeServer server;
  Outcome evaluated = Cyxwiz({"evaluate", "job-0", "--data", "mock://random_data", "--metrics",
                              "f1,accuracy", "--name", "measured", "--server", server.address()});
  EXPECT_EQ(evaluated.code, kExitOk) << evaluated.err;
  EXPECT_EQ(evaluated.out, "job-1\n");
  EXPECT_NE(evaluated.err.find("to follow it"), std::string::npos) << evaluated.err;
  protocol::JobConfig config = server.submitted.config();
  EXPECT_EQ(config.job_type(), protocol::JOB_TYPE_EVALUATION);
  EXPECT_EQ(config.model_from().job_id(), "job-0");
  EXPECT_EQ(config.hyperparameters().at("metrics"), "f1,accuracy");
  EXPECT_EQ(config.name(), "measured");
  EXPECT_EQ(config.priority(), protocol::PRIORITY_NORMAL);

  EXPECT_EQ(Cyxwiz({"predict", "job-0", "--data", "mock://random_data", "--output", "npy",
                    "--server", server.address()})
                .code,
            kExitOk);
  config = server.submitted.config();
  EXPECT_EQ(config.job_type(), protocol::JOB_TYPE_INFERENCE);
  EXPECT_EQ(config.output(), "npy");
  EXPECT_TRUE(config.hyperparameters().empty());

  EXPECT_EQ(Cyxwiz({"evaluate", "job-0", "--server", server.address()}).code, kExitUsage);
  EXPECT_EQ(Cyxwiz({"predict", "job-0", "--data", "mock://random_data", "--output", "pickle"}).code,
            kExitUsage);
}

TEST(Commands, PredictWithAFolderFetchesThePredictions) {
  Folder folder;
  for (auto [state, code] : {std::pair(protocol::JOB_STATE_SUCCEEDED, kExitOk),
                             std::pair(protocol::JOB_STATE_FAILED, kExitJobFailed)}) {
    FakeServer server;
    server.content = "sample,class\n";
    server.AddUpdate(state, 1);
    server.AddArtifact("predictions.csv", security::HexEncode(security::Sha256(server.content)),
                       static_cast<int64_t>(server.content.size()));
    const std::string to = folder.path + "/" + std::to_string(code);
    Outcome outcome = Cyxwiz({"predict", "job-0", "--data", "mock://random_data", "-o", to,
                              "--json", "--server", server.address()});
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(std::filesystem::exists(to + "/predictions.csv"), code == kExitOk);
    EXPECT_EQ(Json::parse(outcome.out)["job_id"], "job-1") << "one answer, in either case";
  }
}

TEST(Commands, WatchWaitsOutARestartOfTheServer) {
  auto first = std::make_unique<FakeServer>();
  first->AddUpdate(protocol::JOB_STATE_RUNNING, 0.5);
  int port = first->port;
  std::string address = first->address();
  auto client = Client::Connect(address);
  ASSERT_TRUE(client.ok());
  JobFollower follower(client->get(), "job-1");
  auto next = [&, events = std::vector<JobFollower::Event>()]() mutable {
    if (events.empty()) events = follower.Wait();
    JobFollower::Event event = events.front();
    events.erase(events.begin());
    return event;
  };
  JobFollower::Event event = next();
  EXPECT_EQ(event.kind, JobFollower::Event::Kind::kUpdate);
  first.reset();
  while (event.kind == JobFollower::Event::Kind::kUpdate) event = next();
  EXPECT_EQ(event.kind, JobFollower::Event::Kind::kLost);
  FakeServer second(port);
  second.AddUpdate(protocol::JOB_STATE_SUCCEEDED, 1);
  do {
    event = next();
  } while (event.kind != JobFollower::Event::Kind::kEnd);
  EXPECT_TRUE(event.status.ok()) << event.status;
}

TEST(Commands, WatchGivesUpOnAServerThatStaysAway) {
  auto server = std::make_unique<FakeServer>();
  server->AddUpdate(protocol::JOB_STATE_RUNNING, 0.5);
  auto client = Client::Connect(server->address());
  ASSERT_TRUE(client.ok());
  server.reset();
  JobFollower follower(client->get(), "job-1", std::chrono::milliseconds(1));
  for (bool ended = false; !ended;) {
    for (const auto& event : follower.Wait()) {
      ended = event.kind == JobFollower::Event::Kind::kEnd;
      if (ended) {
        EXPECT_EQ(event.status.code(), Code::kUnavailable);
      }
    }
  }
}

TEST(Commands, LogsPassTextAsItIsAndJsonLineByLine) {
  FakeServer server;
  server.log = "first line\nsecond\nno end";
  EXPECT_EQ(Cyxwiz({"logs", "job-1", "--server", server.address()}).out, server.log);
  Outcome json = Cyxwiz({"logs", "job-1", "--json", "--server", server.address()});
  EXPECT_EQ(json.out,
            "{\"attempt\":1,\"data\":\"first line\",\"offset\":0}\n"
            "{\"attempt\":1,\"data\":\"second\",\"offset\":11}\n"
            "{\"attempt\":1,\"data\":\"no end\",\"offset\":18}\n");
}

TEST(Commands, DownloadChecksEveryFile) {
  FakeServer server;
  Folder folder;
  server.AddUpdate(protocol::JOB_STATE_SUCCEEDED, 1);
  server.content = "the weights of a model";
  std::string sha256 = security::HexEncode(security::Sha256(server.content));
  server.AddArtifact("weights.safetensors", sha256, static_cast<int64_t>(server.content.size()));
  std::string target = folder.path + "/new/folder";
  Outcome outcome =
      Cyxwiz({"download", "job-1", "-o", target, "--json", "--server", server.address()});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["job_id"], "job-1");
  EXPECT_EQ(json["files"][0]["path"], target + "/weights.safetensors");
  EXPECT_EQ(json["files"][0]["sha256"], sha256);
  EXPECT_EQ(*ReadFile(target + "/weights.safetensors"), server.content);
}

TEST(Commands, DownloadKeepsNothingOfAFileThatIsNotWhatWasPromised) {
  FakeServer server;
  Folder folder;
  server.AddUpdate(protocol::JOB_STATE_SUCCEEDED, 1);
  server.content = "tampered";
  server.AddArtifact("weights.safetensors", std::string(64, 'a'), 8);
  EXPECT_EQ(Cyxwiz({"download", "job-1", "-o", folder.path, "--server", server.address()}).code,
            kExitError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path));
  server.status.mutable_result()->mutable_artifacts(0)->set_size(9);
  EXPECT_EQ(Cyxwiz({"download", "job-1", "-o", folder.path, "--server", server.address()}).code,
            kExitError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path));
}

TEST(Commands, DownloadRefusesNamesThatLeadElsewhere) {
  for (const char* name :
       {"../escaped", "/etc/passwd", "a/b", "..", ".", "", ".bashrc", "a\nb", "-rf"}) {
    EXPECT_FALSE(IsSafeFileName(name)) << name;
    FakeServer server;
    Folder folder;
    server.AddUpdate(protocol::JOB_STATE_SUCCEEDED, 1);
    server.content = "x";
    server.AddArtifact(name, security::HexEncode(security::Sha256("x")), 1);
    EXPECT_EQ(
        Cyxwiz({"download", "job-1", "-o", folder.path + "/in", "--server", server.address()}).code,
        kExitRefused);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path + "/in"));
    EXPECT_FALSE(std::filesystem::exists(folder.path + "/escaped"));
  }
  EXPECT_TRUE(IsSafeFileName("weights.safetensors"));
}

TEST(Commands, DownloadOfAJobWithoutFilesIsRefused) {
  FakeServer server;
  server.AddUpdate(protocol::JOB_STATE_RUNNING, 0.5);
  Outcome outcome = Cyxwiz({"download", "job-1", "--server", server.address()});
  EXPECT_EQ(outcome.code, kExitRefused);
  EXPECT_NE(outcome.err.find("Running"), std::string::npos);
}

TEST(Commands, TheFilesOfAnArrayAreLookedForAtItsMembers) {
  FakeServer server;
  server.AddUpdate(protocol::JOB_STATE_SUCCEEDED, 1);
  server.status.mutable_status()->mutable_array()->set_size(3);
  Outcome download = Cyxwiz({"download", "job-1", "--server", server.address()});
  EXPECT_EQ(download.code, kExitRefused);
  Outcome watch = Cyxwiz({"watch", "job-1", "--server", server.address()});
  EXPECT_EQ(watch.code, kExitOk);
  for (const Outcome& outcome : {download, watch}) {
    EXPECT_NE(outcome.err.find("cyxwiz ps --array job-1 "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("cyxwiz download job-1.0 "), std::string::npos) << outcome.err;
  }
}

}  // namespace
}  // namespace cyxwiz::cli
