#include "central/dispatcher.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "cyxwiz/protocol/agent.grpc.pb.h"
#include "cyxwiz/protocol/node.grpc.pb.h"
#include "wire/deterministic.h"

namespace cyxwiz::central {
namespace {

using Kind = control::AssignOutcome::Kind;

constexpr auto kPatience = std::chrono::seconds(20);  // only a failure waits so long

// Values that one thread puts in and another waits for.
template <typename T>
class Mailbox {
 public:
  void Put(T value) {
    std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  // The next value; fails and returns an empty one when none comes.
  T Take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !values_.empty(); })) {
      ADD_FAILURE() << "nothing came";
      return T();
    }
    T value = std::move(values_.front());
    values_.erase(values_.begin());
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<T> values_;
};

// Plays a node: remembers what it is told, and answers as the test wants.
class FakeNode final : public protocol::NodeService::CallbackService {
 public:
  FakeNode() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    builder.RegisterService(&agent_);
    server_ = builder.BuildAndStart();
    endpoint_ = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeNode() override {
    if (unanswered_ != nullptr) unanswered_->Finish(grpc::Status::OK);
    server_->Shutdown();
  }

  grpc::ServerUnaryReactor* AssignJob(grpc::CallbackServerContext* context,
                                      const protocol::AssignJobRequest* request,
                                      protocol::AssignJobResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    *response = answer;
    if (answers)
      reactor->Finish(status);
    else
      unanswered_ = reactor;
    assigned.Put(*request);
    return reactor;
  }

  const std::string& endpoint() const { return endpoint_; }

  // Set before the first call.
  grpc::Status status;
  protocol::AssignJobResponse answer;
  bool answers = true;

  Mailbox<protocol::AssignJobRequest> assigned;
  Mailbox<protocol::StopAttemptRequest> stopped;

 private:
  class Agent final : public protocol::NodeAgentService::CallbackService {
   public:
    explicit Agent(FakeNode* node) : node_(node) {}
    grpc::ServerUnaryReactor* StopAttempt(grpc::CallbackServerContext* context,
                                          const protocol::StopAttemptRequest* request,
                                          protocol::StopAttemptResponse*) override {
      node_->stopped.Put(*request);
      grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
      reactor->Finish(grpc::Status::OK);
      return reactor;
    }

   private:
    FakeNode* const node_;
  };

  Agent agent_{this};
  std::string endpoint_;
  grpc::ServerUnaryReactor* unanswered_ = nullptr;
  std::unique_ptr<grpc::Server> server_;
};

// Its tokens can be read.
class FakeSigner final : public security::TokenSigner {
 public:
  std::string Sign(const security::JobClaims& claims) const override {
    if (claims.node.value == "rendezvous") return "secret of " + claims.attempt.job.value;
    EXPECT_GT(claims.expires_at, ReadClocks().unix.seconds());
    return claims.attempt.job.value + "/" + std::to_string(claims.attempt.attempt) + "/" +
           claims.node.value + (claims.request_sha256.empty() ? "" : "/" + claims.request_sha256);
  }
  std::string public_key() const override { return ""; }
};

// Remembers what it is to delete.
struct FakeStore final : artifacts::ArtifactStore {
  Result<std::unique_ptr<artifacts::Upload>> Begin() override { return Unimplemented("not asked"); }
  Result<std::string> PathOf(const std::string&) const override { return NotFound("not asked"); }
  Result<int64_t> SizeOf(const std::string&) const override { return NotFound("not asked"); }
  Result<std::vector<std::string>> List() const override { return Unimplemented("not asked"); }
  Status Remove(const std::string& sha256) override {
    removed.Put(sha256);
    return Unavailable("a disk that does not answer");
  }
  Mailbox<std::string> removed;
};

class DispatcherTest : public testing::Test {
 protected:
  DispatcherTest() {
    protocol::JobConfig config;
    for (int i = 0; i < 50; ++i) {
      (*config.mutable_hyperparameters())["key " + std::to_string(i)] = "value";
    }
    body_ = config.SerializeAsString();
  }
  control::AssignEffect Assignment(const std::string& endpoint) const {
    return {.attempt = {JobId{"j"}, 3},
            .node = NodeId{"n"},
            .endpoint = endpoint,
            .session = "of the node",
            .job = {.id = JobId{"j"}, .name = "a job", .resources = {1500, 1 << 20, 0}},
            .body = std::make_shared<control::JobBody>(control::JobBody{"", body_})};
  }
  control::AssignOutcome OutcomeOf(FakeNode& node) {
    dispatcher_->Assign(Assignment(node.endpoint()));
    control::AssignOutcome outcome = outcomes_.Take();
    EXPECT_EQ(outcome.attempt, (AttemptId{JobId{"j"}, 3}));
    EXPECT_EQ(outcome.node.value, "n");
    return outcome;
  }

  std::string body_;
  NodeChannels channels_;
  StreamHub hub_{10};
  EventHub events_{10};
  FakeStore checkpoints_;
  FakeSigner signer_;
  Mailbox<control::AssignOutcome> outcomes_;
  std::optional<Dispatcher> dispatcher_{
      std::in_place,
      &channels_,
      &hub_,
      &events_,
      &checkpoints_,
      &signer_,
      [this](control::AssignOutcome outcome) { outcomes_.Put(std::move(outcome)); },
      [this](const NodeId& node) { forgotten_.push_back(node); }};
  std::vector<NodeId> forgotten_;
};

TEST_F(DispatcherTest, TheChannelToANodeThatIsNoLongerKnownIsClosed) {
  channels_.Get("gone:1");
  channels_.Get("moved:1");
  channels_.Get("stays:1");
  dispatcher_->Close({NodeId{"gone"}, "gone:1"});
  dispatcher_->Close({{}, "moved:1"});
  EXPECT_EQ(channels_.size(), 1u);
  EXPECT_EQ(forgotten_, std::vector<NodeId>{NodeId{"gone"}});
}

TEST_F(DispatcherTest, AnAssignmentNamesTheCheckpointToGoOnFrom) {
  FakeNode node;
  control::AssignEffect assignment = Assignment(node.endpoint());
  assignment.job.checkpoint =
      control::Checkpoint{"000000000010", 2, 10, {{"manifest.json", "abc", 5}}};
  dispatcher_->Assign(assignment);
  protocol::AssignJobRequest request = node.assigned.Take();
  EXPECT_EQ(request.checkpoint().name(), "000000000010");
  EXPECT_EQ(request.checkpoint().step(), 10);
  ASSERT_EQ(request.checkpoint().files_size(), 1);
  EXPECT_EQ(request.checkpoint().files(0).sha256(), "abc");
  outcomes_.Take();
}

TEST_F(DispatcherTest, ReleasedFilesAreDeletedEachOnItsOwn) {
  dispatcher_->Release({{"abc", "def"}});
  EXPECT_EQ(checkpoints_.removed.Take(), "abc");
  EXPECT_EQ(checkpoints_.removed.Take(), "def");
}

TEST_F(DispatcherTest, AnAcceptedAssignment) {
  FakeNode node;
  node.answer.set_accepted(true);
  EXPECT_EQ(OutcomeOf(node).kind, Kind::kAccepted);
  protocol::AssignJobRequest request = node.assigned.Take();
  EXPECT_EQ(request.node_id(), "n");
  EXPECT_EQ(request.attempt(), 3);
  EXPECT_EQ(request.session_token(), "of the node");
  EXPECT_EQ(request.authorization_token(),
            "j/3/n/" + security::HexEncode(security::Sha256(PermittedBytes(request))))
      << "the node computes the same from what it received";
  EXPECT_EQ(request.job().job_id(), "j");
  EXPECT_EQ(request.job().name(), "a job");
  EXPECT_EQ(request.resources().cpu_millis(), 1500);
}

TEST_F(DispatcherTest, ARankLearnsItsPlaceAndTheSecretOfItsGang) {
  FakeNode node;
  control::AssignEffect assignment = Assignment(node.endpoint());
  dispatcher_->Assign(assignment);
  EXPECT_FALSE(node.assigned.Take().has_gang());
  assignment.rank = 1;
  assignment.ranks = 2;
  assignment.rendezvous = "127.0.0.1:29512";
  dispatcher_->Assign(assignment);
  protocol::AssignJobRequest request = node.assigned.Take();
  EXPECT_EQ(request.gang().rank(), 1);
  EXPECT_EQ(request.gang().size(), 2);
  EXPECT_EQ(request.gang().rendezvous(), "127.0.0.1:29512");
  EXPECT_EQ(request.gang().secret(), security::HexEncode(security::Sha256("secret of j")));
  EXPECT_EQ(request.authorization_token(),
            "j/3/n/" + security::HexEncode(security::Sha256(PermittedBytes(request))))
      << "the token is for this rank alone";
  outcomes_.Take();
  outcomes_.Take();
}

TEST_F(DispatcherTest, ANodeThatDeclinesHasRefused) {
  FakeNode node;
  node.answer.mutable_error()->set_message("does not fit");
  control::AssignOutcome outcome = OutcomeOf(node);
  EXPECT_EQ(outcome.kind, Kind::kRejected);
  EXPECT_EQ(outcome.message, "does not fit");
}

TEST_F(DispatcherTest, ANodeThatAnswersWithAnErrorHasRefused) {
  FakeNode node;
  node.status = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no such data set");
  control::AssignOutcome outcome = OutcomeOf(node);
  EXPECT_EQ(outcome.kind, Kind::kRejected);
  EXPECT_EQ(outcome.message, "no such data set");
}

TEST_F(DispatcherTest, ANodeThatIsGoneOrGoesIsUnreachable) {
  std::string endpoint;
  {
    FakeNode node;
    endpoint = node.endpoint();
    node.status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down");
    EXPECT_EQ(OutcomeOf(node).kind, Kind::kUnreachable);
  }
  dispatcher_->Assign(Assignment(endpoint));
  control::AssignOutcome outcome = outcomes_.Take();
  EXPECT_EQ(outcome.kind, Kind::kUnreachable);
  EXPECT_FALSE(outcome.message.empty());
}

TEST_F(DispatcherTest, AStopNamesTheAttempt) {
  FakeNode node;
  dispatcher_->Stop({.attempt = {JobId{"j"}, 3},
                     .node = NodeId{"n"},
                     .endpoint = node.endpoint(),
                     .reason = "cancelled: typo",
                     .yield = true});
  protocol::StopAttemptRequest request = node.stopped.Take();
  EXPECT_TRUE(request.yield());
  EXPECT_EQ(request.job_id(), "j");
  EXPECT_EQ(request.attempt(), 3);
  EXPECT_EQ(request.reason(), "cancelled: typo");
  EXPECT_EQ(request.authorization_token(), "j/3/n");
}

TEST_F(DispatcherTest, ItsEndCancelsCallsThatAreNotAnswered) {
  FakeNode node;
  node.answers = false;
  dispatcher_->Assign(Assignment(node.endpoint()));
  node.assigned.Take();
  dispatcher_.reset();
  control::AssignOutcome outcome = outcomes_.Take();
  EXPECT_EQ(outcome.kind, Kind::kUnreachable);
  EXPECT_EQ(outcome.message, "CANCELLED") << "not its deadline";
}

TEST_F(DispatcherTest, UpdatesGoToTheHub) {
  int updates = 0;
  auto stream = std::make_shared<UpdateStream>(
      [&](const protocol::JobUpdateStream&) { return ++updates > 0; }, [](Status) {});
  ASSERT_TRUE(hub_.Add("j", stream).ok());
  control::JobView view{.job = {.id = JobId{"j"}}};
  stream->Start(StreamHub::ToUpdate(view), false);
  view.job.attempt = 1;
  dispatcher_->Update({.view = std::make_shared<const control::JobView>(std::move(view))});
  EXPECT_EQ(updates, 2);
}

}  // namespace
}  // namespace cyxwiz::central
