#include "central/rest_server.h"

#include "central/rest_test_client.h"

namespace cyxwiz::central {
namespace {

using namespace std::chrono_literals;

class RestServerTest : public testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(RestServer::Options options) {
    server_.reset();
    options.port = 0;
    auto server = RestServer::Start(options, &api_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }
  ClientResponse Call(const std::string& method, const std::string& target,
                      const std::string& body = "", const std::string& headers = "") {
    return Client(server_->port()).Call(method, target, body, headers);
  }
  static void ExpectProblem(const ClientResponse& response, int status, const std::string& detail) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.headers.at("content-type"), "application/problem+json");
    Json problem = response.json();
    EXPECT_EQ(problem["status"], status);
    EXPECT_NE(problem["detail"].get<std::string>().find(detail), std::string::npos) << problem;
    for (const char* member : {"type", "title", "instance"})
      EXPECT_TRUE(problem.contains(member)) << problem;
  }

  FakeApi api_;
  std::unique_ptr<RestServer> server_;
};

TEST_F(RestServerTest, HealthAndReadiness) {
  EXPECT_EQ(Call("GET", "/healthz").json()["status"], "ok");
  EXPECT_EQ(Call("GET", "/readyz").status, 200);
  api_.ready = ResourceExhausted("the disk is full", "free some space");
  ClientResponse response = Call("GET", "/readyz");
  ExpectProblem(response, 503, "the disk is full");
  EXPECT_EQ(response.json()["hint"], "free some space");
  EXPECT_EQ(Call("GET", "/healthz").status, 200);
}

TEST_F(RestServerTest, MetricsTellJobsNodesAndRequests) {
  ASSERT_EQ(Call("GET", "/api/v1/jobs/j1").status, 200);
  ASSERT_EQ(Call("GET", "/nowhere").status, 404);
  ASSERT_EQ(Call("BREW", "/api/v1/jobs").status, 405);
  ClientResponse response = Call("GET", "/metrics");
  EXPECT_EQ(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line :
       {"cyxwiz_jobs{state=\"Running\"} 3\n", "cyxwiz_nodes_online 2\n",
        "cyxwiz_jobs_waiting{reason=\"NOT_ENOUGH_FREE\"} 5\n",
        "# TYPE cyxwiz_core_commit_seconds histogram\n", "cyxwiz_jobs_submitted_total 17\n",
        "cyxwiz_jobs_ended_total{result=\"failed\"} 4\n", "cyxwiz_ready 1\n",
        "# TYPE cyxwiz_jobs_submitted_total counter\n",
        "cyxwiz_http_requests_total{code=\"200\",method=\"GET\",route=\"/api/v1/jobs/{id}\"} 1\n",
        "cyxwiz_http_requests_total{code=\"404\",method=\"GET\",route=\"none\"} 1\n",
        "cyxwiz_http_requests_total{code=\"405\",method=\"other\",route=\"none\"} 1\n"}) {
    EXPECT_NE(response.body.find(line), std::string::npos) << line << response.body;
  }
}

TEST_F(RestServerTest, AJobIsSubmittedAsSubmitJobRequest) {
  ClientResponse response =
      Call("POST", "/api/v1/jobs",
           R"({"config": {"model_definition": "{}", "hyperparameters": {"epochs": "3"}}})");
  EXPECT_EQ(response.status, 201) << response.body;
  EXPECT_EQ(response.json()["job_id"], "j 1");
  EXPECT_EQ(response.json()["status"], "STATUS_PENDING");
  EXPECT_EQ(response.headers["location"], "/api/v1/jobs/j%201");
  ASSERT_EQ(api_.submitted.size(), 1u);
  EXPECT_EQ(api_.submitted[0].config().hyperparameters().at("epochs"), "3");
}

TEST_F(RestServerTest, AJobIsSubmittedAsBareJobConfig) {
  ASSERT_EQ(
      Call(
          "POST", "/api/v1/jobs",
          R"({"model_definition": "{\"layers\":[]}", "dataset_uri": "mock://random_data", "priority": "PRIORITY_HIGH"})")
          .status,
      201);
  EXPECT_EQ(api_.submitted.at(0).config().priority(), protocol::PRIORITY_HIGH);
  EXPECT_EQ(api_.submitted.at(0).config().model_definition(), "{\"layers\":[]}");
}

TEST_F(RestServerTest, AJobIsSubmittedAsJobFile) {
  ClientResponse response =
      Call("POST", "/api/v1/jobs",
           R"({"name": "mlp", "priority": "high", "dataset": "mock://random_data",
                                     "model": {"layers": [{"type": "dense", "units": 10}]},
                                     "hyperparameters": {"learning_rate": 0.010}})");
  ASSERT_EQ(response.status, 201) << response.body;
  const protocol::JobConfig& config = api_.submitted.at(0).config();
  EXPECT_EQ(config.name(), "mlp");
  EXPECT_EQ(config.priority(), protocol::PRIORITY_HIGH);
  EXPECT_EQ(config.dataset_uri(), "mock://random_data");
  EXPECT_EQ(config.hyperparameters().at("learning_rate"), "0.010");
  EXPECT_EQ(Json::parse(config.model_definition())["layers"][0]["units"], 10);
}

TEST_F(RestServerTest, ARefusedJobComesWithAllItsProblems) {
  ClientResponse by_server = Call("POST", "/api/v1/jobs", R"({"config": {"epochs": -1}})");
  ExpectProblem(by_server, 400, "the job has 1 problem");
  EXPECT_EQ(by_server.json()["problems"][0]["path"], "$.epochs");
  EXPECT_EQ(by_server.json()["hint"], "see problems");

  ClientResponse by_form = Call("POST", "/api/v1/jobs", R"({"modle": {}, "dataset": 7})");
  ExpectProblem(by_form, 400, "problems");
  EXPECT_GE(by_form.json()["problems"].size(), 2u) << by_form.body;

  ExpectProblem(Call("POST", "/api/v1/jobs", R"({"config": {"epoch": 1}})"), 400, "$.config.epoch");
  EXPECT_EQ(api_.submitted.size(), 1u);
}

TEST_F(RestServerTest, BodiesThatAreNotJsonAreRefused) {
  ExpectProblem(Call("POST", "/api/v1/jobs", "{"), 400, "the body is not JSON");
  ExpectProblem(Call("POST", "/api/v1/jobs", std::string(1 << 20, '[')), 400, "nests deeper");
  ExpectProblem(Call("POST", "/api/v1/jobs", "{}", "Content-Type: text/plain\r\n"), 415,
                "application/json");
  ExpectProblem(Call("POST", "/api/v1/jobs"), 415, "application/json");
  EXPECT_TRUE(api_.submitted.empty());
}

TEST_F(RestServerTest, JobsAreListedWithFilters) {
  ClientResponse response = Call("GET",
                                 "/api/v1/"
                                 "jobs?page_size=7&page_token=a%2Bb&user_id=ann&filter_type=JOB_"
                                 "TYPE_TRAINING&filter_status=6");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.json()["jobs"][0]["job_id"], "j1");
  EXPECT_EQ(api_.listed.page_size(), 7);
  EXPECT_EQ(api_.listed.page_token(), "a+b");
  EXPECT_EQ(api_.listed.user_id(), "ann");
  EXPECT_EQ(api_.listed.filter_type(), protocol::JOB_TYPE_TRAINING);
  EXPECT_EQ(api_.listed.filter_status(), protocol::STATUS_FAILED);
}

TEST_F(RestServerTest, WrongQueryParametersAreRefusedWithAHint) {
  ClientResponse response = Call("GET", "/api/v1/jobs?pagesize=1");
  ExpectProblem(response, 400, "unknown query parameter 'pagesize'");
  EXPECT_EQ(response.json()["hint"], "did you mean 'page_size'?");
  ExpectProblem(Call("GET", "/api/v1/jobs?page_size=many"), 400,
                "expected a whole number, found 'many'");
  ExpectProblem(Call("GET", "/api/v1/jobs?filter_status=FAILED"), 400,
                "expected one of STATUS_UNKNOWN");
  ExpectProblem(Call("GET", "/api/v1/nodes?online_only=1"), 400, "expected true or false");
  ExpectProblem(Call("GET", "/healthz?x=1"), 400, "unknown query parameter 'x'");
}

TEST_F(RestServerTest, OneJobAndOneNode) {
  EXPECT_EQ(Call("GET", "/api/v1/jobs/j1").json()["status"]["progress"], 0.5);
  ClientResponse absent = Call("GET", "/api/v1/jobs/j%202");
  ExpectProblem(absent, 404, "no job 'j 2'");
  EXPECT_EQ(absent.json()["instance"], "/api/v1/jobs/j%202");
  EXPECT_EQ(Call("GET", "/api/v1/nodes?online_only=true").json()["nodes"][0]["node_id"], "n1");
  EXPECT_TRUE(api_.nodes_listed.online_only());
  EXPECT_EQ(Call("GET", "/api/v1/nodes/n1").json()["info"]["node_id"], "n1");
  ExpectProblem(Call("GET", "/api/v1/nodes/n2"), 404, "no node 'n2'");
}

TEST_F(RestServerTest, AJobIsCancelledWithOrWithoutAReason) {
  EXPECT_EQ(Call("POST", "/api/v1/jobs/j1/cancel").json()["status"], "STATUS_CANCELLED");
  EXPECT_EQ(api_.cancel_reason, "");
  EXPECT_EQ(Call("POST", "/api/v1/jobs/j1/cancel", R"({"reason": "enough"})").status, 200);
  EXPECT_EQ(api_.cancel_reason, "enough");
  EXPECT_EQ(Call("POST", "/api/v1/jobs/j1/cancel", "{}").status, 200);
  ExpectProblem(Call("POST", "/api/v1/jobs/j1/cancel", R"({"because": "x"})"), 400, "'reason'");
  ExpectProblem(Call("POST", "/api/v1/jobs/j2/cancel"), 404, "no job 'j2'");
}

TEST_F(RestServerTest, AJobIsPlannedInEachOfItsFormsWithSupposedNodes) {
  ClientResponse response =
      Call("POST", "/api/v1/jobs/plan?what_if=nodes=%2B2,cpus=16,memory=32GiB",
           R"({"config": {"name": "planned", "model_definition": "{}"}})");
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json()["estimate_basis"], "planned");
  EXPECT_EQ(response.json()["resources"]["cpu_millis"], 16'000);
  EXPECT_EQ(response.json()["jobs_queued"], 2) << "more nodes";
  response = Call("POST", "/api/v1/jobs/plan",
                  R"({"name": "file", "model": {"layers": []}, "dataset": "mock://random_data"})");
  EXPECT_EQ(response.json()["estimate_basis"], "file") << response.body;
  EXPECT_TRUE(api_.submitted.empty());

  response = Call("POST", "/api/v1/jobs/plan", R"({"config": {"name": "wrong"}})");
  ExpectProblem(response, 400, "the job has 1 problem");
  EXPECT_EQ(response.json()["problems"][0]["path"], "$.name");
  ExpectProblem(Call("POST", "/api/v1/jobs/plan?what_if=nodes=many", R"({"config": {}})"), 400,
                "query parameter 'what_if': expected nodes=+N");
  ExpectProblem(Call("POST", "/api/v1/jobs/plan"), 415, "application/json");
}

TEST_F(RestServerTest, AnExplanationMaySupposeNodes) {
  EXPECT_EQ(Call("GET", "/api/v1/jobs/j1/explain?what_if=nodes=+2").json()["jobs_queued"], 2);
  EXPECT_EQ(Call("GET", "/api/v1/jobs/j1/explain").json()["jobs_queued"], 0);
  ExpectProblem(Call("GET", "/api/v1/jobs/j1/explain?what_if=more"), 400, "what_if");
}

TEST_F(RestServerTest, ANodeIsCordonedDrainedAndUncordoned) {
  ClientResponse response = Call("POST", "/api/v1/nodes/n1/cordon");
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json()["info"]["cordoned"], true);
  EXPECT_EQ(response.json()["info"]["draining"], false);
  response = Call("POST", "/api/v1/nodes/n1/cordon",
                  R"({"drain": true, "reason": "new disk", "until": 1800000000})");
  EXPECT_EQ(response.json()["info"]["draining"], true);
  EXPECT_EQ(response.json()["info"]["cordon_reason"], "new disk");
  EXPECT_EQ(response.json()["info"]["cordon_until"], 1800000000);
  EXPECT_EQ(Call("POST", "/api/v1/nodes/n1/uncordon").json()["info"]["cordoned"], false);
  ExpectProblem(Call("POST", "/api/v1/nodes/nope/cordon"), 404, "no such node");
  ExpectProblem(Call("POST", "/api/v1/nodes/nope/uncordon"), 404, "no such node");
  ExpectProblem(Call("POST", "/api/v1/nodes/n1/cordon", R"({"dran": true})"), 400, "dran");
}

TEST_F(RestServerTest, ManyJobsAreCancelledByAFilter) {
  ClientResponse response =
      Call("POST", "/api/v1/jobs/cancel", R"({"user_id": "ann", "status": "STATUS_PENDING"})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.json()["cancelled"], 3);
  EXPECT_EQ(api_.cancelled_many.user_id(), "ann");
  EXPECT_EQ(api_.cancelled_many.status(), protocol::STATUS_PENDING);
  ExpectProblem(Call("POST", "/api/v1/jobs/cancel", R"({"user": "ann"})"), 400, "user");
  ExpectProblem(Call("POST", "/api/v1/jobs/cancel", R"({"status": "RUNNING?"})"), 400, "RUNNING?");
  EXPECT_EQ(Call("POST", "/api/v1/jobs/cancel", "all", "Content-Type: text/plain\r\n").status, 415);
}

TEST_F(RestServerTest, ANodeIsForgottenAndWhoAskedIsTold) {
  EXPECT_EQ(Call("DELETE", "/api/v1/nodes/n%201", "", "Cyxwiz-User: ann\r\n").status, 200);
  EXPECT_EQ(api_.forgotten, "n 1");
  EXPECT_EQ(api_.forgotten_by, "client:ann@127.0.0.1");
  EXPECT_EQ(Call("DELETE", "/api/v1/nodes/n", "", "Cyxwiz-User: no name\r\n").status, 200);
  EXPECT_EQ(api_.forgotten_by, "client@127.0.0.1") << "a user is a word";
}

TEST_F(RestServerTest, UnknownPathsAndMethods) {
  ExpectProblem(Call("GET", "/"), 404, "no such path: '/'");
  ClientResponse response = Call("DELETE", "/api/v1/jobs");
  ExpectProblem(response, 405, "has no method DELETE");
  EXPECT_EQ(response.headers["allow"], "GET, HEAD, POST");
}

TEST_F(RestServerTest, HeadGivesTheHeadersOfGetAndNoBody) {
  Client client(server_->port());
  ClientResponse head = client.Call("HEAD", "/api/v1/jobs/j1");
  EXPECT_EQ(head.status, 200);
  ClientResponse get =
      client.Call("GET", "/api/v1/jobs/j1");  // on the same connection: there was no body
  EXPECT_EQ(head.headers["content-length"], std::to_string(get.body.size()));
  EXPECT_EQ(client.Call("HEAD", "/api/v1/jobs/j2").status, 404);
  EXPECT_EQ(client.Call("HEAD", "/api/v1/jobs/j1/events").headers["content-type"],
            "text/event-stream");
}

TEST_F(RestServerTest, AConnectionIsKeptAndPipelinedRequestsAreAnsweredInOrder) {
  Client client(server_->port());
  client.Send(
      "GET /api/v1/jobs/j1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
      "GET /api/v1/jobs/j2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(client.Read().status, 404);
  EXPECT_EQ(client.Read().json()["status"], "ok");
  EXPECT_TRUE(client.IsClosed());
}

TEST_F(RestServerTest, OnlyProgramsOfThisMachineMayAsk) {
  Client client(server_->port());
  client.Send("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  ExpectProblem(client.Read(), 403, "Host 'evil.example'");
  EXPECT_TRUE(client.IsClosed());
  for (const char* host : {"127.0.0.1:1234", "[::1]", "localhost:8080"}) {
    Client ok(server_->port());
    ok.Send("GET /healthz HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n");
    EXPECT_EQ(ok.Read().status, 200) << host;
  }
  ExpectProblem(Call("POST", "/api/v1/jobs", "{}", "Origin: https://evil.example\r\n"), 403,
                "evil.example");
  ExpectProblem(Call("GET", "/healthz", "", "Origin: null\r\n"), 403, "null");
  EXPECT_EQ(Call("GET", "/healthz", "", "Origin: http://localhost\r\n").status, 200);
  Client none(server_->port());
  none.Send("GET /healthz HTTP/1.1\r\n\r\n");
  ExpectProblem(none.Read(), 400, "one Host header");
}

TEST_F(RestServerTest, WhatIsNotHttpIsRefused) {
  Client client(server_->port());
  client.Send("\x16\x03\x01 hello\r\n\r\n");
  ExpectProblem(client.Read(), 400, "not an HTTP/1.1 request");
  EXPECT_TRUE(client.IsClosed());
  ExpectProblem(Call("GET", "http://localhost/healthz"), 400, "must be a path");
  ExpectProblem(Call("GET", "/healthz", "", "Expect: magic\r\n"), 417, "magic");
}

TEST_F(RestServerTest, HeadersAndBodiesAreLimited) {
  RestServer::Options options;
  options.max_header_bytes = 2000;
  options.max_body_bytes = 10'000;
  Start(options);
  ExpectProblem(Call("GET", "/healthz", "", "X-Long: " + std::string(3000, 'x') + "\r\n"), 431,
                "2000 bytes");
  ExpectProblem(Call("POST", "/api/v1/jobs", std::string(10'001, ' ')), 413, "10000 bytes");
  ExpectProblem(Call("POST", "/api/v1/jobs", std::string(9'999, ' ') + "x"), 400, "not JSON");
  Client chunked(server_->port());
  chunked.Send(
      "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n3000\r\n" +
      std::string(0x3000, ' ') + "\r\n0\r\n\r\n");
  ExpectProblem(chunked.Read(), 413, "10000 bytes");
  // The client sees the answer although it goes on sending.
  ExpectProblem(Call("POST", "/api/v1/jobs", std::string(4 << 20, ' ')), 413, "10000 bytes");
}

TEST_F(RestServerTest, AClientThatWaitsForContinueIsToldToGoOn) {
  Client client(server_->port());
  client.Send(
      "POST /api/v1/jobs/j1/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\n"
      "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.Read().status, 100);
  client.Send("{}");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(RestServerTest, SlowAndIdleClientsAreDropped) {
  RestServer::Options options;
  options.header_timeout = 50ms;
  options.idle_timeout = 50ms;
  options.body_timeout = 50ms;
  Start(options);
  EXPECT_TRUE(Client(server_->port()).IsClosed()) << "says nothing";
  Client slow(server_->port());
  slow.Send("GET /healthz HTTP/1.1\r\nHost: loc");
  EXPECT_TRUE(slow.IsClosed());
  Client half(server_->port());
  half.Send("POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_TRUE(half.IsClosed());
  Client idle(server_->port());
  EXPECT_EQ(idle.Call("GET", "/healthz").status, 200);
  EXPECT_TRUE(idle.IsClosed());
}

TEST_F(RestServerTest, ConnectionsBeyondTheLimitAreToldToComeBack) {
  RestServer::Options options;
  options.max_connections = 2;
  Start(options);
  Client first(server_->port()), second(server_->port());
  EXPECT_EQ(first.Call("GET", "/healthz").status, 200);
  EXPECT_EQ(second.Call("GET", "/healthz").status, 200);
  Client third(server_->port());
  EXPECT_EQ(third.Read().status, 503);
  EXPECT_TRUE(third.IsClosed());
  EXPECT_EQ(first.Call("GET", "/healthz").status, 200);
}

TEST_F(RestServerTest, DataSetsArePutListedAndRemoved) {
  const std::string file = R"({"path": "a", "sha256": "00", "size": 1})";
  ClientResponse made = Call("PUT", "/api/v1/datasets/x?version=2", R"({"files": [)" + file + "]}");
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(made.json()["dataset"]["name"], "x");
  EXPECT_EQ(made.json()["dataset"]["version"], "2");
  EXPECT_EQ(Call("PUT", "/api/v1/datasets/x?version=old", R"({"files": [)" + file + "]}").status,
            200);
  ClientResponse missing =
      Call("PUT", "/api/v1/datasets/x", R"({"files": [)" + file + "," + file + "]}");
  EXPECT_EQ(missing.status, 200);
  EXPECT_EQ(missing.json()["missing"], Json::array({1}));
  EXPECT_FALSE(missing.json().contains("dataset"));
  ExpectProblem(Call("PUT", "/api/v1/datasets/x", R"({"name": "y"})"), 400,
                "names another data set");
  ExpectProblem(Call("PUT", "/api/v1/datasets/x", "{}", "Content-Type: text/plain\r\n"), 415,
                "application/json");
  EXPECT_EQ(Call("GET", "/api/v1/datasets?name=x").json()["datasets"][0]["name"], "x");
  EXPECT_EQ(Call("DELETE", "/api/v1/datasets/x?version=2").json()["dataset"]["version"], "2");
  ExpectProblem(Call("DELETE", "/api/v1/datasets/x"), 400, "which version?");
}

TEST_F(RestServerTest, FilesOfDataSetsComeWholeOrInPieces) {
  ClientResponse whole = Call("PUT", "/api/v1/dataset-files/ab", "0123456789");
  EXPECT_EQ(whole.status, 201);
  EXPECT_EQ(whole.json(), (Json{{"received", 10}, {"complete", true}}));
  ClientResponse piece = Call("PUT", "/api/v1/dataset-files/ab?offset=3&size=10", "345");
  EXPECT_EQ(piece.status, 200);
  EXPECT_EQ(piece.json(), (Json{{"received", 6}, {"complete", false}}));
  ExpectProblem(Call("PUT", "/api/v1/dataset-files/ab?offset=-1", "345"), 400, "number of bytes");
  EXPECT_EQ(Call("PUT", "/api/v1/dataset-files/bad", "0").status, 500);
}

TEST_F(RestServerTest, AnswersThatComeAfterTheServerHasGoneGoNowhere) {
  api_.hold_submits = true;
  Client client(server_->port());
  std::string body = R"({"config": {}})";
  client.Send(
      "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body + "GET /healthz HTTP/1.1\r\n");
  Client other(server_->port());
  for (size_t held = 0; held == 0;) {
    EXPECT_EQ(other.Call("GET", "/healthz").status, 200) << "one client's wait is not another's";
    std::lock_guard lock(api_.mutex);
    held = api_.held.size();
  }
  server_.reset();
  EXPECT_TRUE(client.IsClosed());
  api_.held.at(0)(OkStatus(), {});
}

TEST_F(RestServerTest, ACallThatIsDroppedIsAnsweredAllTheSame) {
  api_.hold_submits = true;
  Client client(server_->port());
  std::string body = R"({"config": {}})";
  client.Send(
      "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  for (bool dropped = false; !dropped;) {
    EXPECT_EQ(Call("GET", "/healthz").status, 200);
    std::lock_guard lock(api_.mutex);
    dropped = !api_.held.empty();
    api_.held.clear();
  }
  ExpectProblem(client.Read(), 500, "dropped without an answer");
}

TEST_F(RestServerTest, APortInUseIsNamed) {
  RestServer::Options options;
  options.port = server_->port();
  Status status = RestServer::Start(options, &api_).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find("127.0.0.1:" + std::to_string(options.port)), std::string::npos)
      << status;
  for (const auto& [host, port] : {std::pair{"", 0}, {"127.0.0.1", 99999}, {"192.0.2.1", 0}}) {
    options.host = host;
    options.port = port;
    EXPECT_EQ(RestServer::Start(options, &api_).status().code(), Code::kInvalidArgument) << host;
  }
}

// ---- Events

protocol::JobUpdateStream Update(double progress,
                                 protocol::JobState state = protocol::JOB_STATE_RUNNING) {
  protocol::JobUpdateStream update;
  update.set_job_id("j1");
  update.mutable_status()->set_progress(progress);
  update.mutable_status()->set_state(state);
  return update;
}

Json DataOf(const std::string& event) {
  size_t begin = event.find("data: ");
  EXPECT_NE(begin, std::string::npos) << event;
  EXPECT_EQ(event.substr(event.size() - 2), "\n\n");
  return Json::parse(event.substr(begin + 6));
}

TEST_F(RestServerTest, UpdatesComeAsTheyHappenAndTheStreamEndsAfterTheFinalOne) {
  api_.Publish(Update(0.1));
  Client client(server_->port());
  ClientResponse response = client.Call("GET", "/api/v1/jobs/j1/events");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers["content-type"], "text/event-stream");
  EXPECT_EQ(response.headers["cache-control"], "no-store");
  std::string event = client.ReadChunk();
  EXPECT_EQ(event.rfind("id: 1\nevent: update\ndata: {", 0), 0u) << event;
  EXPECT_EQ(DataOf(event)["status"]["progress"], 0.1);
  api_.Publish(Update(0.2));
  event = client.ReadChunk();
  EXPECT_EQ(event.rfind("id: 2\n", 0), 0u) << event;
  EXPECT_EQ(DataOf(event)["status"]["progress"], 0.2);
  api_.Publish(Update(1, protocol::JOB_STATE_SUCCEEDED));
  api_.End(OkStatus());
  event = client.ReadChunk();
  EXPECT_EQ(event.rfind("id: final\n", 0), 0u) << event;
  EXPECT_EQ(client.ReadChunk(), "");
  EXPECT_TRUE(client.IsClosed());
  api_.WaitForFollowers(1, 1);
  EXPECT_EQ(Call("GET", "/api/v1/jobs/j1/events", "", "Last-Event-ID: final\r\n").status, 204)
      << "a browser that comes back is told to stop";
}

TEST_F(RestServerTest, EventsOfAnUnknownJobAreNotFound) {
  ExpectProblem(Call("GET", "/api/v1/jobs/j2/events"), 404, "no job 'j2'");
}

TEST_F(RestServerTest, WhatHappensIsStreamedFromTheEventThatWasSeenLast) {
  const std::string path = "/api/v1/events/stream";
  for (const auto& [query, header, next] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"?after=5&node_id=n1", "", "6"}, {"?after=5", "Last-Event-ID: 41\r\n", "42"}}) {
    Client client(server_->port());
    ClientResponse response = client.Call("GET", path + query, "", header);
    EXPECT_EQ(response.headers["content-type"], "text/event-stream");
    std::string event = client.ReadChunk();
    EXPECT_EQ(event.rfind("id: " + next + "\nevent: event\ndata: {", 0), 0u) << event;
    EXPECT_EQ(DataOf(event)["number"], std::stoi(next));
  }
  EXPECT_EQ(Client(server_->port()).Call("GET", path + "?after=99").status, 200)
      << "it begins though nothing has happened";
  ExpectProblem(Call("GET", path + "?job_id=j2"), 404, "no job 'j2'");
  ExpectProblem(Call("GET", path + "?after=x"), 400, "expected the number of an event, found 'x'");
  ExpectProblem(Call("GET", path, "", "Last-Event-ID: final\r\n"), 400, "found 'final'");
}

TEST_F(RestServerTest, AStreamThatBreaksOffSaysWhy) {
  api_.Publish(Update(0.1));
  Client client(server_->port());
  client.Call("GET", "/api/v1/jobs/j1/events");
  client.ReadChunk();
  api_.End(Unavailable("the server is stopping"));
  std::string event = client.ReadChunk();
  EXPECT_EQ(event.rfind("event: error\n", 0), 0u) << event;
  EXPECT_EQ(DataOf(event)["detail"], "the server is stopping");
  EXPECT_EQ(client.ReadChunk(), "");
}

TEST_F(RestServerTest, HeartbeatsKeepAQuietStreamOpen) {
  RestServer::Options options;
  options.heartbeat = 10ms;
  options.idle_timeout = 20ms;
  options.header_timeout = 1000ms;
  Start(options);
  api_.Publish(Update(0.1));
  Client client(server_->port());
  client.Call("GET", "/api/v1/jobs/j1/events");
  client.ReadChunk();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client.ReadChunk(), ": heartbeat\n\n");
  api_.Publish(Update(0.2));
  std::string event;
  while ((event = client.ReadChunk()) == ": heartbeat\n\n") {
  }
  EXPECT_EQ(DataOf(event)["status"]["progress"], 0.2);
}

TEST_F(RestServerTest, AFollowerEndsWhenItsClientGoes) {
  api_.Publish(Update(0.1));
  {
    Client client(server_->port());
    client.Call("GET", "/api/v1/jobs/j1/events");
    client.ReadChunk();
  }
  api_.WaitForFollowers(1, 1);
  {
    Client client(server_->port());  // goes before there was a first update
    client.Send("GET /api/v1/jobs/j1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    api_.WaitForFollowers(2, 1);
  }
  api_.Publish(Update(0.2));
  api_.WaitForFollowers(2, 2);
}

TEST_F(RestServerTest, AClientThatDoesNotReadSkipsProgressAndGetsTheNewest) {
  Client client(server_->port(), 4096);
  client.Send("GET /api/v1/jobs/j1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  api_.WaitForFollowers(1, 0);
  protocol::JobUpdateStream large = Update(0);
  large.set_log_message(std::string(1 << 20, 'x'));
  int published = 0;
  auto refused = [this] {
    std::lock_guard lock(api_.follow_mutex);
    return api_.refused;
  };
  while (refused() < 3) {
    large.mutable_status()->set_progress(++published);
    api_.Publish(large);
    ASSERT_LT(published, 1000) << "nothing holds back the stream";
  }
  client.Read();
  double last = 0;
  int received = 0;
  while (last < published) {
    double progress = DataOf(client.ReadChunk())["status"]["progress"];
    EXPECT_GT(progress, last);
    last = progress;
    ++received;
  }
  EXPECT_LT(received, published);
}

TEST_F(RestServerTest, AClientThatNeverReadsIsDropped) {
  RestServer::Options options;
  options.write_timeout = 50ms;
  Start(options);
  Client client(server_->port(), 4096);
  client.Send("GET /api/v1/jobs/j1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  api_.WaitForFollowers(1, 0);
  protocol::JobUpdateStream large = Update(0);
  large.set_log_message(std::string(8 << 20, 'x'));
  api_.Publish(large);
  api_.WaitForFollowers(1, 1);
}

TEST_F(RestServerTest, StoppingTheServerEndsItsStreams) {
  api_.Publish(Update(0.1));
  Client client(server_->port());
  client.Call("GET", "/api/v1/jobs/j1/events");
  client.ReadChunk();
  server_.reset();
  EXPECT_EQ(api_.followers_ended, 1);
  EXPECT_TRUE(client.IsClosed());
}

TEST_F(RestServerTest, AnHttp10ClientGetsThePlainStream) {
  api_.Publish(Update(1, protocol::JOB_STATE_FAILED));
  Client client(server_->port());
  client.Send("GET /api/v1/jobs/j1/events HTTP/1.0\r\nHost: localhost\r\n\r\n");
  api_.WaitForFollowers(1, 0);
  api_.End(OkStatus());
  ClientResponse response = client.Read();
  EXPECT_EQ(response.headers.count("transfer-encoding"), 0u);
  api_.WaitForFollowers(1, 1);
  EXPECT_FALSE(client.IsClosed()) << "the event is what was received before the end";
}

}  // namespace
}  // namespace cyxwiz::central
