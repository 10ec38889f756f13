// Jobs that need several nodes at once.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

SubmitJob ElasticCommand(const std::string& id, int32_t least, int32_t most) {
  SubmitJob command = Bench::GangCommand(id, most);
  Terms terms = *command.job.terms;
  terms.min_nodes = least;
  command.job.terms = std::make_shared<const Terms>(terms);
  return command;
}

// Three nodes of two cores, and a gang on all of them.
class GangTest : public testing::Test {
 protected:
  GangTest() : GangTest(Options()) {}
  explicit GangTest(Options options) : b(options) {
    for (const char* id : {"a", "b", "c"}) b.Register(id);
    b.Do(Bench::GangCommand("g", 3));
  }
  void AcceptAll(int attempt = 1) {
    for (const char* id : {"a", "b", "c"}) b.Accepted("g", attempt, id);
  }
  void Run(int attempt = 1) {
    AcceptAll(attempt);
    for (const char* id : {"a", "b", "c"}) b.Progress("g", attempt, id);
    ASSERT_EQ(b.StateOf("g"), "Running");
  }
  // The attempt's ranks on these nodes end as they were told.
  void EndAsTold(const std::vector<std::string>& nodes, int attempt = 1) {
    for (const std::string& id : nodes) b.Complete("g", attempt, id, Outcome::kCancelled);
  }
  std::vector<std::string> Stopped() const {
    std::vector<std::string> nodes;
    for (const StopEffect& stop : b.effects<StopEffect>()) nodes.push_back(stop.node.value);
    return nodes;
  }
  int64_t FreeCores(const std::string& node) {
    b.Do(GetNode{.node = {node}});
    return b.reply<NodeReply>().view.available.cpu_millis / 1000;
  }

  Bench b;
};

TEST_F(GangTest, EachRankGoesToANodeOfItsOwnWithTheSameRendezvous) {
  auto assigned = b.effects<AssignEffect>();
  ASSERT_EQ(assigned.size(), 3u);
  std::set<std::string> nodes;
  for (size_t i = 0; i < assigned.size(); ++i) {
    EXPECT_EQ(assigned[i].rank, static_cast<int32_t>(i));
    EXPECT_EQ(assigned[i].ranks, 3);
    EXPECT_EQ(assigned[i].session, "session-" + assigned[i].node.value);
    EXPECT_EQ(assigned[i].rendezvous, assigned[0].rendezvous);
    nodes.insert(assigned[i].node.value);
  }
  EXPECT_EQ(nodes.size(), 3u);
  EXPECT_EQ(b.jobs.at("g").node, assigned[0].node);
  EXPECT_TRUE(assigned[0].rendezvous.starts_with(assigned[0].node.value + ":295"))
      << assigned[0].rendezvous;
  EXPECT_EQ(b.jobs.at("g").gang->ranks.size(), 3u) << "durable before the nodes are told";
}

TEST(Gang, IsPlacedWholeOrNotAtAll) {
  Bench b;
  b.Register("a");
  b.Register("b");
  b.Register("c");
  b.Submit("small", 1);
  b.Do(Bench::GangCommand("g", 3));
  EXPECT_TRUE(b.effects<AssignEffect>().empty());
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kQueued);
  EXPECT_NE(g.message.find("needs 3 nodes at once, each with 2 cores, 1.0 GiB free; 2 nodes could "
                           "take a rank now"),
            std::string::npos)
      << g.message;
  b.Do(ExplainJob{.job = {"g"}});
  EXPECT_EQ(b.reply<PlanReply>().reasons[0].code, "TOO_FEW_NODES");
  EXPECT_EQ(b.reply<PlanReply>().smallest_change, "node 'a' must have 1 core more free");
  b.Complete("small", 1, "a");
  EXPECT_EQ(b.effects<AssignEffect>().size(), 3u);
}

TEST(Gang, MoreRanksThanNodesThatCouldHoldOneAreRefused) {
  Bench b;
  b.Register("a");
  b.Register("b", 1);
  b.Register("c");
  b.Do(Bench::GangCommand("g", 3));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(
      b.reply().status.message(),
      "the job needs 3 nodes with 2 cores, 1.0 GiB each, and of 3 registered 2 can hold that");
}

TEST(Gang, NodesThatTakeNoRanksAreLeftOut) {
  Bench b;
  b.Register("a");
  Node node{.id = {"old"}, .endpoint = "old:1", .capacity = {8000, 8 * kGiB, 0}};
  b.Do(RegisterNode{.node = node, .session = "s"});
  b.Do(Bench::GangCommand("g", 2));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << b.reply().status;
  b.Register("b");
  b.Do(Bench::GangCommand("g", 2));
  EXPECT_EQ(b.StateOf("g"), "Assigned");
  EXPECT_EQ(RankOn(b.jobs.at("g"), {"old"}), -1);
}

TEST_F(GangTest, RunsOnceAllRanksHaveStarted) {
  AcceptAll();
  b.Progress("g", 1, "a");
  b.Progress("g", 1, "b");
  EXPECT_EQ(b.StateOf("g"), "Assigned");
  b.Progress("g", 1, "c");
  EXPECT_EQ(b.StateOf("g"), "Running");
  EXPECT_EQ(b.control().counters().attempts_started, 1);
}

TEST_F(GangTest, ProgressAndCheckpointsAreThoseOfRank0) {
  Run();
  b.Progress("g", 1, "a", 0.25);
  b.Progress("g", 1, "b", 0.75);
  EXPECT_EQ(b.Get("g").progress, 0.25);
  Checkpoint checkpoint{"000000000010", 1, 10, {{"state", "sha-state", 5}}};
  b.Do(ReportProgress{.node = {"b"}, .attempt = {{"g"}, 1}, .checkpoint = checkpoint});
  EXPECT_FALSE(b.Get("g").checkpoint->exists());
  b.Do(ReportProgress{.node = {"a"}, .attempt = {{"g"}, 1}, .checkpoint = checkpoint});
  EXPECT_TRUE(b.Get("g").checkpoint->exists());
}

TEST_F(GangTest, SucceedsWithTheResultOfRank0WhenAllHaveEnded) {
  Run();
  b.Complete("g", 1, "b");
  EXPECT_EQ(b.StateOf("g"), "Running");
  EXPECT_TRUE(Stopped().empty()) << "rank 0 still writes the result";
  EXPECT_EQ(FreeCores("b"), 2) << "what a rank had is free when it has ended";
  EXPECT_EQ(FreeCores("a"), 0);
  b.Do(ReportCompletion{
      .node = {"a"}, .attempt = {{"g"}, 1}, .artifacts = {{"weights.safetensors", "sha-w", 7}}});
  EXPECT_EQ(b.reply<ReportReply>().message, "recorded");
  EXPECT_EQ(b.jobs.at("g").artifacts->size(), 1u) << "durable when it is acknowledged";
  EXPECT_EQ(b.StateOf("g"), "Running");
  b.Beat("c", {{{"g"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u) << "nothing is left to do there";
  EndAsTold({"c"});
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kSucceeded);
  EXPECT_EQ(g.artifacts->front().sha256, "sha-w");
}

TEST_F(GangTest, TheResultStandsThoughAnotherRankIsLost) {
  Run();
  b.Complete("g", 1, "a");
  b.Complete("g", 1, "b");
  b.Register("c");
  EXPECT_EQ(b.StateOf("g"), "Succeeded");
}

TEST_F(GangTest, ALostNodeStopsTheOthersAndTheJobWaitsUntilAllHaveEnded) {
  Run();
  b.Register("b");  // restarted, without its rank
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "c"}));
  for (const StopEffect& stop : b.effects<StopEffect>()) EXPECT_FALSE(stop.yield);
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kRunning);
  EXPECT_EQ(g.message, "stopping the other ranks: node b was restarted");
  b.Progress("g", 1, "a");
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EndAsTold({"a"});
  EXPECT_EQ(b.StateOf("g"), "Running") << "one rank may still run";
  EndAsTold({"c"});
  EXPECT_EQ(b.effects<AssignEffect>().size(), 3u);
  g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kAssigned);
  EXPECT_EQ(g.attempt, 2);
  EXPECT_EQ(g.retries, 0);
  EXPECT_EQ(g.nodes_lost, 1);
  EXPECT_EQ(g.cause, Cause::kNodeLost);
}

TEST_F(GangTest, ARankWhoseLeaseEndsIsWaitedForNoLonger) {
  Run();
  b.Complete("g", 1, "a", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
  for (int i = 0; i < 3; ++i) {
    b.Pass(seconds(4));
    b.Beat("a");
    b.Beat("b", {{{"g"}, 1}});
    EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u);
  }
  b.Complete("g", 1, "b", Outcome::kCancelled);
  // c has been silent for longer than its lease.
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kQueued);
  EXPECT_EQ(g.retries, 1) << "the first cause counts, not the loss of c that came later";
  EXPECT_EQ(g.nodes_lost, 0);
  EXPECT_NE(g.message.find("rank 0 on node a: signal 11"), std::string::npos) << g.message;
}

TEST_F(GangTest, AFailedRankFailsTheAttemptWithItsCause) {
  Run();
  b.Complete("g", 1, "c", Outcome::kFailed, Cause::kUserError, "no such file");
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "b"}));
  EndAsTold({"a", "b"});
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kFailed);
  EXPECT_EQ(g.cause, Cause::kUserError);
  EXPECT_EQ(g.error->message, "rank 2 on node c: no such file");
}

TEST_F(GangTest, ItsLastLinesAreThoseOfTheRankThatDecidesHowItEnds) {
  Run();
  auto end = [this](const char* node, Outcome outcome, LogTail tail) {
    b.Do(ReportCompletion{.node = {node},
                          .attempt = {{"g"}, 1},
                          .outcome = outcome,
                          .cause = Cause::kUserError,
                          .log_tail = std::move(tail)});
  };
  end("c", Outcome::kFailed, {7, "no such file"});
  end("a", Outcome::kCancelled, {1, "stopping"});
  end("b", Outcome::kCancelled, {2, "stopping"});
  ASSERT_EQ(b.StateOf("g"), "Failed");
  EXPECT_EQ(*b.Get("g").log_tail, (LogTail{7, "no such file"}));
}

TEST_F(GangTest, WhatARankSeesOfAnothersEndIsNoCause) {
  Run();
  b.Complete("g", 1, "a", Outcome::kFailed, Cause::kPeerLost, "rank 1 does not answer");
  b.Complete("g", 1, "b", Outcome::kFailed, Cause::kOutOfMemory, "killed");
  EndAsTold({"c"});
  Job g = b.Get("g");
  EXPECT_EQ(g.cause, Cause::kOutOfMemory);
  EXPECT_EQ(g.retries, 1);
}

TEST_F(GangTest, ARankThatMissesOthersBeforeItIsToldOfThePauseDoesNotFailTheJob) {
  Run();
  b.Do(PauseJob{.job = {"g"}});
  b.Complete("g", 1, "a", Outcome::kFailed, Cause::kPeerLost, "rank 1 does not answer");
  EndAsTold({"b", "c"});
  EXPECT_EQ(b.StateOf("g"), "Paused");
  EXPECT_EQ(b.Get("g").retries, 0);
}

TEST_F(GangTest, AKilledNodeThatComesBackAtOnceIsTheCauseThoughOthersMissedItsRankFirst) {
  Run();
  b.Complete("g", 1, "a", Outcome::kFailed, Cause::kPeerLost, "rank 1 does not answer");
  b.Register("b");
  EndAsTold({"c"});
  Job g = b.Get("g");
  EXPECT_EQ(g.cause, Cause::kNodeLost);
  EXPECT_EQ(g.retries, 0);
  EXPECT_EQ(g.nodes_lost, 1);
}

TEST_F(GangTest, RanksThatCannotReachEachOtherAreNotTriedForEver) {
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_EQ(b.Get("g").attempt, attempt);
    Run(attempt);
    b.Complete("g", attempt, "a", Outcome::kFailed, Cause::kPeerLost, "rank 1 does not answer");
    EndAsTold({"b", "c"}, attempt);
    while (attempt < 3 && b.StateOf("g") == "Queued") {
      b.Pass(seconds(1));
      for (const char* id : {"a", "b", "c"}) b.Beat(id);
    }
  }
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kFailed);
  EXPECT_EQ(g.cause, Cause::kPeerLost);
}

TEST_F(GangTest, TheNextAttemptMeetsAtAnotherPort) {
  const std::string first = b.effects<AssignEffect>().at(0).rendezvous;
  Run();
  b.Complete("g", 1, "a", Outcome::kFailed, Cause::kRunnerCrashed, "SIGSEGV");
  EndAsTold({"b", "c"});
  std::vector<AssignEffect> assigned;
  for (int i = 0; i < 5 && assigned.empty(); ++i) {
    for (const char* id : {"a", "b", "c"}) b.Beat(id);
    b.Pass(seconds(1));
    assigned = b.effects<AssignEffect>();
  }
  ASSERT_EQ(assigned.size(), 3u);
  EXPECT_EQ(assigned[0].rendezvous.substr(0, 2), first.substr(0, 2)) << "the same node";
  EXPECT_NE(assigned[0].rendezvous, first) << "the one before may still be taken";
}

TEST_F(GangTest, ARefusedRankTakesTheOthersBack) {
  b.Accepted("g", 1, "a");
  b.Do(AssignOutcome{{{"g"}, 1}, {"b"}, AssignOutcome::Kind::kRejected, "no room"});
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(b.StateOf("g"), "Assigned");
  b.Accepted("g", 1, "c");  // it was on its way
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "c"}));
  EndAsTold({"a", "c"});
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kQueued);
  EXPECT_EQ(g.cause, Cause::kNodeRejected);
  EXPECT_EQ(g.retries, 0);
}

TEST_F(GangTest, ARankThatNobodyHasHeardOfIsAskedForAtItsNode) {
  b.Accepted("g", 1, "a");
  b.Accepted("g", 1, "b");
  b.Pass(seconds(5));
  for (const char* id : {"a", "b"}) b.Beat(id, {{{"g"}, 1}});
  b.Beat("c");
  b.Pass(seconds(5));
  b.Beat("c");
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound) << "it must register, and say what it runs";
  b.Register("c");
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(GangTest, CancelEndsAllRanks) {
  Run();
  b.Do(CancelJob{.job = {"g"}, .reason = "typo"});
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "b", "c"}));
  EndAsTold({"b", "c"});
  EXPECT_EQ(b.StateOf("g"), "Running");
  EndAsTold({"a"});
  EXPECT_EQ(b.StateOf("g"), "Cancelled");
}

TEST_F(GangTest, PauseLetsRank0WriteItsCheckpointThoughOthersHaveEnded) {
  Run();
  b.Do(PauseJob{.job = {"g"}});
  for (const StopEffect& stop : b.effects<StopEffect>()) EXPECT_TRUE(stop.yield);
  EXPECT_EQ(Stopped().size(), 3u);
  EndAsTold({"b", "c"});
  b.Beat("a", {{{"g"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().yield.size(), 1u);
  EXPECT_TRUE(b.reply<HeartbeatReply>().stop.empty());
  b.Do(ReportCompletion{.node = {"a"},
                        .attempt = {{"g"}, 1},
                        .outcome = Outcome::kCancelled,
                        .checkpoint = {"000000000010", 1, 10, {{"state", "sha-state", 5}}}});
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kPaused);
  EXPECT_EQ(g.checkpoint->step, 10);
}

TEST_F(GangTest, DrainingOneNodeYieldsTheWholeGang) {
  Run();
  b.Do(CordonNode{.node = {"b"}, .drain = true});
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "b", "c"}));
  for (const StopEffect& stop : b.effects<StopEffect>()) EXPECT_TRUE(stop.yield);
  EndAsTold({"b", "a", "c"});
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kQueued);
  EXPECT_EQ(g.cause, Cause::kNodeDrained);
}

TEST_F(GangTest, ALimitEndsAllRanks) {
  b.Do(CancelJob{.job = {"g"}});
  EndAsTold({"a", "b", "c"});
  SubmitJob limited = Bench::GangCommand("l", 2);
  Terms terms = *limited.job.terms;
  terms.limits.run = seconds(5);
  limited.job.terms = std::make_shared<const Terms>(terms);
  b.Do(std::move(limited));
  const std::vector<NodeId> nodes = NodesWith(b.jobs.at("l"));
  ASSERT_EQ(nodes.size(), 2u);
  for (const NodeId& id : nodes) b.Progress("l", 1, id.value);
  b.Pass(seconds(5));
  EXPECT_EQ(b.effects<StopEffect>().size(), 2u);
  for (const NodeId& id : nodes) b.Complete("l", 1, id.value, Outcome::kCancelled);
  EXPECT_EQ(b.Get("l").cause, Cause::kTimeLimit);
}

TEST_F(GangTest, ARestartedServerAdoptsTheRanks) {
  Run();
  b.Complete("g", 1, "c");
  b.Restart();
  EXPECT_EQ(FreeCores("a"), 0);
  EXPECT_EQ(FreeCores("c"), 2);
  for (const char* id : {"a", "b"}) b.Register(id, 2, {{{"g"}, 1}});
  b.Register("c");
  EXPECT_EQ(b.StateOf("g"), "Running");
  b.Complete("g", 1, "a");
  b.Complete("g", 1, "b");
  EXPECT_EQ(b.StateOf("g"), "Succeeded");
}

TEST_F(GangTest, ARestartedServerKnowsHowTheAttemptEnds) {
  Run();
  b.Complete("g", 1, "b", Outcome::kFailed, Cause::kUserError, "no such file");
  b.Restart();
  b.Register("a", 2, {{{"g"}, 1}});
  b.Beat("a", {{{"g"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u);
  b.Register("b");
  b.Register("c");
  EndAsTold({"a"});
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kFailed);
  EXPECT_EQ(g.cause, Cause::kUserError);
}

TEST_F(GangTest, ARestartedServerTakesTheWordOfNodesThatNoLongerRunTheirRank) {
  Run();
  b.Restart();
  b.Register("a", 2, {{{"g"}, 1}});
  b.Register("b", 2, {{{"g"}, 1}});
  b.Register("c");
  EXPECT_EQ(Stopped(), (std::vector<std::string>{"a", "b"}));
}

TEST(Gang, NodesAreKeptForOneThatOthersPassBy) {
  Bench b({.lease = std::chrono::hours(10)});
  b.Register("a");
  b.Register("b");
  b.Submit("s0", 2);
  b.Submit("s1", 2);
  b.Do(Bench::GangCommand("g", 2));
  b.Submit("s2", 2);
  b.Complete("s0", 1, "a");
  EXPECT_EQ(b.StateOf("s2"), "Assigned") << "the fleet is kept busy";
  b.Progress("s1", 1, "b");
  b.Progress("s2", 1, "a");
  b.Pass(minutes(2));
  b.Submit("s3", 2);
  b.Complete("s1", 1, "b");
  EXPECT_EQ(b.StateOf("s3"), "Queued") << "the node is kept";
  b.Do(ExplainJob{.job = {"s3"}});
  EXPECT_EQ(b.reply<PlanReply>().reasons.back().code, "NODES_KEPT");
  b.Complete("s2", 1, "a");
  EXPECT_EQ(b.StateOf("g"), "Assigned") << b.Get("g").message;
  b.Complete("g", 1, "a");
  b.Complete("g", 1, "b");
  EXPECT_EQ(b.StateOf("s3"), "Assigned");
}

TEST(Gang, AnElasticOneGoesOnWithFewerNodesAndGrowsAtItsNextStart) {
  Bench b;
  for (const char* id : {"a", "b", "c"}) b.Register(id);
  b.Do(ElasticCommand("e", 1, 3));
  ASSERT_EQ(b.effects<AssignEffect>().size(), 3u);
  auto run = [&](int attempt, const std::vector<std::string>& nodes) {
    for (const std::string& id : nodes) b.Accepted("e", attempt, id);
    for (const std::string& id : nodes) b.Progress("e", attempt, id);
    ASSERT_EQ(b.StateOf("e"), "Running");
    ASSERT_EQ(NodesWith(b.jobs.at("e")).size(), nodes.size());
  };
  auto end = [&](int attempt, const std::vector<std::string>& nodes) {
    for (const std::string& id : nodes) b.Complete("e", attempt, id, Outcome::kCancelled);
  };
  run(1, {"a", "b", "c"});
  b.Do(CordonNode{.node = {"b"}});
  b.Register("b");  // restarted, without its rank
  end(1, {"a", "c"});
  auto assigned = b.effects<AssignEffect>();
  ASSERT_EQ(assigned.size(), 2u);
  EXPECT_EQ(assigned[1].ranks, 2);
  run(2, {"a", "c"});
  b.Do(CordonNode{.node = {"c"}, .drain = true});
  end(2, {"a", "c"});
  assigned = b.effects<AssignEffect>();
  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].ranks, 1);
  EXPECT_EQ(b.jobs.at("e").gang, nullptr) << "on one node it is a job like any other";
  run(3, {"a"});
  b.Do(CordonNode{.node = {"b"}, .cordoned = false});
  b.Do(CordonNode{.node = {"c"}, .cordoned = false});
  EXPECT_EQ(b.Get("e").attempt, 3) << "what runs does not grow";
  b.Register("a");
  EXPECT_EQ(b.effects<AssignEffect>().size(), 3u);
  EXPECT_EQ(b.Get("e").attempt, 4);
}

TEST(Gang, AnElasticOneIsPlannedWithWhatItMakesDoWith) {
  Bench b;
  b.Register("a");
  auto plan = [&](int32_t least) {
    b.Do(Bench::PlanOf(ElasticCommand("e", least, 3)));
    return b.reply<PlanReply>();
  };
  EXPECT_EQ(plan(1).node.value, "a");
  EXPECT_EQ(plan(2).node.value, "");
  EXPECT_FALSE(plan(2).could_ever_run);
}

TEST(Gang, QuotasCountAllRanks) {
  Options options;
  options.quotas["user:"] = {.cpu_millis = 3000, .borrow = false};
  Bench b(options);
  b.Register("a");
  b.Register("b");
  b.Do(Bench::GangCommand("g", 2));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_NE(b.reply().status.message().find("the job needs 4 cores"), std::string::npos)
      << b.reply().status;
}

TEST(Gang, QuotasCountAllRanksAfterARestartToo) {
  Options options;
  options.quotas["user:"] = {.cpu_millis = 5000, .borrow = false};
  Bench b(options);
  for (const char* id : {"a", "b", "c"}) b.Register(id);
  b.Do(Bench::GangCommand("g", 2));
  b.Submit("waits", 2);
  EXPECT_EQ(b.StateOf("waits"), "Queued") << "four of five cores are taken";
  b.Restart();
  for (const char* id : {"a", "b", "c"}) b.Register(id, 2, {{{"g"}, 1}});
  EXPECT_EQ(b.StateOf("waits"), "Queued");
}

TEST(Gang, WhatAllItsRanksHadIsNotForgottenOverARestart) {
  Bench b({.lease = std::chrono::hours(10)});
  auto submit_for = [&b](const std::string& user, SubmitJob command) {
    command.job.user = user;
    b.Do(std::move(command));
  };
  b.Register("a", 2);
  b.Register("b", 2);
  b.Register("c", 3);
  submit_for("ann", Bench::GangCommand("g", 2));
  submit_for("bob", Bench::SubmitCommand("s", 3));
  for (const char* node : {"a", "b"}) b.Progress("g", 1, node);
  b.Progress("s", 1, "c");
  b.Pass(std::chrono::hours(5));
  b.Do(PauseJob{.job = {"g"}});
  for (const char* node : {"a", "b"}) b.Yield("g", 1, node);
  b.Complete("s", 1, "c");
  ASSERT_EQ(b.StateOf("g"), "Paused");
  b.Restart();
  submit_for("ann", Bench::SubmitCommand("of-ann", 1));
  submit_for("bob", Bench::SubmitCommand("of-bob", 1));
  b.Register("c", 1);
  EXPECT_EQ(b.StateOf("of-bob"), "Assigned") << "ann has had four cores, bob three";
  EXPECT_EQ(b.StateOf("of-ann"), "Queued");
}

TEST(Gang, MakesRoomWholeForAHigherClass) {
  Bench b({.preemption = {.on = true, .min_run = seconds(0), .most = 3}});
  b.Register("a");
  b.Register("b");
  b.Do(Bench::GangCommand("g", 2, 2, 0));
  for (const char* id : {"a", "b"}) b.Progress("g", 1, id);
  b.Submit("high", 2, 2);
  EXPECT_EQ(b.effects<StopEffect>().size(), 2u);
  const NodeId for_high = b.Get("g").node;
  b.Complete("g", 1, "a", Outcome::kCancelled);
  b.Complete("g", 1, "b", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("high"), "Assigned");
  Job g = b.Get("g");
  EXPECT_EQ(g.state, JobState::kQueued);
  EXPECT_EQ(g.cause, Cause::kPreempted);
  EXPECT_EQ(g.preemptions, 1);
}

TEST(Gang, MembersOfAnArrayMayBeGangs) {
  Bench b;
  for (const char* id : {"a", "b", "c", "d"}) b.Register(id);
  SubmitJob command = Bench::GangCommand("m", 2);
  Array array;
  array.size = 3;
  command.job.array = std::make_shared<const Array>(array);
  b.Do(std::move(command));
  EXPECT_EQ(b.effects<AssignEffect>().size(), 4u);
  EXPECT_EQ(NodesWith(b.jobs.at("m.0")).size(), 2u);
  EXPECT_EQ(NodesWith(b.jobs.at("m.1")).size(), 2u);
}

}  // namespace
}  // namespace cyxwiz::control
