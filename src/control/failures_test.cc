// Jobs that take nodes with them, and nodes that fail jobs.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

// The attempt runs on `node`, which then goes down and comes back without it.
void TakeDown(Bench& b, const std::string& job, int attempt, const std::string& node) {
  b.Progress(job, attempt, node);
  b.Register(node);
}

TEST(KillsNodes, AJobIsStoppedAfterThreeNodes) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  TakeDown(b, "j", 1, "n");
  TakeDown(b, "j", 2, "n");
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(b.Get("j").retries, 0) << "not held against its retries";
  TakeDown(b, "j", 3, "n");
  EXPECT_EQ(b.StateOf("j"), "Failed");
  EXPECT_EQ(b.Get("j").cause, Cause::kKillsNodes);
  EXPECT_NE(b.Get("j").error->message.find("3 nodes were lost"), std::string::npos);
}

TEST(KillsNodes, OnlyInARow) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  TakeDown(b, "j", 1, "n");
  TakeDown(b, "j", 2, "n");
  b.Progress("j", 3, "n");
  b.Complete("j", 3, "n", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
  b.Pass(seconds(2));
  TakeDown(b, "j", 4, "n");
  EXPECT_EQ(b.StateOf("j"), "Assigned");
}

void Checkpointed(Bench& b, const std::string& job, int attempt, int64_t step) {
  b.Do(ReportProgress{.node = NodeId{"n"},
                      .attempt = {JobId{job}, attempt},
                      .epoch = 1,
                      .checkpoint = {std::to_string(step), 1, step, {{"f", "sha", 1}}}});
}

TEST(KillsNodes, NotAJobThatGoesOnInBetween) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  for (int attempt = 1; attempt <= 5; ++attempt) {
    b.Progress("j", attempt, "n");
    Checkpointed(b, "j", attempt, 100 * attempt);
    EXPECT_EQ(b.jobs["j"].nodes_lost, 0);
    b.Register("n");
    EXPECT_EQ(b.Get("j").nodes_lost, 1);
  }
  EXPECT_EQ(b.StateOf("j"), "Assigned");
}

TEST(KillsNodes, ButOneThatComesNoFurtherThanItWas) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  for (int attempt = 1; attempt <= 4; ++attempt) {
    b.Progress("j", attempt, "n");
    Checkpointed(b, "j", attempt, 100);
    b.Register("n");
  }
  EXPECT_EQ(b.Get("j").cause, Cause::kKillsNodes);
  EXPECT_EQ(b.Get("j").attempt, 3);
}

TEST(KillsNodes, NotAJobThatRunsForLong) {
  Options options;
  options.node_loss_reset = seconds(20);
  Bench b(options);
  b.Register("n");
  b.Submit("j");
  for (int attempt = 1; attempt <= 5; ++attempt) {
    b.Progress("j", attempt, "n");
    for (int i = 0; i < 5; ++i) {
      b.Pass(seconds(4));
      b.Beat("n", {{JobId{"j"}, attempt}});
    }
    b.Register("n");
    EXPECT_EQ(b.Get("j").nodes_lost, 1) << attempt;
  }
  EXPECT_EQ(b.StateOf("j"), "Assigned");
}

TEST(KillsNodes, ALossTogetherWithTheServerDoesNotCount) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  for (int attempt = 1; attempt <= 5; ++attempt) {
    b.Progress("j", attempt, "n");
    b.Restart();  // the power failed
    b.Register("n");
  }
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(b.Get("j").nodes_lost, 0);
}

TEST(LogTail, OfAnAttemptThatHasEndedIsKeptWithItsJob) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  auto fail = [&](int attempt, Outcome outcome) {
    b.Do(ReportCompletion{
        .node = {"n"},
        .attempt = {{"j"}, attempt},
        .outcome = outcome,
        .cause = outcome == Outcome::kFailed ? Cause::kRunnerCrashed : Cause::kNone,
        .log_tail = {7, "end of " + std::to_string(attempt)}});
  };
  fail(1, Outcome::kFailed);
  EXPECT_EQ(*b.Get("j").log_tail, (LogTail{7, "end of 1"}));
  b.Pass(seconds(3));
  ASSERT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(*b.Get("j").log_tail, LogTail()) << "its log is still written";
  fail(2, Outcome::kSucceeded);
  b.Restart();
  EXPECT_EQ(*b.Get("j").log_tail, (LogTail{7, "end of 2"}));
}

TEST(Stopping, ANodeThatStopsAttemptsOfItsOwnAccordMustRegisterAgain) {
  Bench b;
  b.Register("a");
  b.Submit("j");
  b.Progress("j", 1, "a");
  b.Register("b");
  b.Complete("j", 1, "a", Outcome::kCancelled, Cause::kNone, "the node was shut down");
  EXPECT_EQ(b.Get("j").node.value, "b") << "though a comes first by its name";
  EXPECT_EQ(b.jobs.at("j").cause, Cause::kNodeDrained);
  b.Submit("k");
  EXPECT_EQ(b.Get("k").node.value, "b");
  b.Beat("a");
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound) << "if it is alive it registers";
}

// Five nodes of one core, each with a job that runs there.
class MassLossTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* id : {"a", "b", "c", "d", "e"}) {
      bench_.Register(id, 1);
      std::string job = "on-" + std::string(id);
      bench_.Submit(job);
      bench_.Progress(job, 1, id);
    }
  }
  // So long, in steps of a second in which only these nodes send heartbeats.
  void Time(Duration time, const std::vector<std::string>& nodes) {
    for (; time > Duration::zero(); time -= seconds(1)) {
      bench_.Pass(seconds(1));
      for (const std::string& id : nodes) {
        std::vector<AttemptId> active;
        for (const auto& [job, stored] : bench_.jobs) {
          if (stored.node.value == id && stored.state == JobState::kRunning)
            active.push_back({stored.id, stored.attempt});
        }
        bench_.Beat(id, active);
      }
    }
  }
  int Told(EventKind kind) const {
    return static_cast<int>(std::count_if(bench_.events.begin(), bench_.events.end(),
                                          [kind](const auto& e) { return e.second.kind == kind; }));
  }
  std::string ReasonOf(const std::string& id) {
    bench_.Do(GetJob{.job = JobId{id}});
    const auto& reasons = bench_.reply<JobReply>().view.reasons;
    return reasons.empty() ? "" : reasons[0].code + ": " + reasons[0].message;
  }

  Bench bench_;
};

TEST_F(MassLossTest, WhatRanOnMostNodesWaitsUntilHalfOfThemAnswerAgain) {
  Time(seconds(15), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kMassLoss), 1);
  EXPECT_EQ(bench_.control().counters().mass_loss, 1);
  bench_.Complete("on-a", 1, "a");  // room, which is not for them
  EXPECT_EQ(ReasonOf("on-c"),
            "MASS_LOSS: 3 of 5 nodes were lost at once: what ran there waits until half of them "
            "answer again, at most 300 s");
  bench_.Do(CountWaiting{});
  EXPECT_EQ(bench_.reply<WaitingReply>().jobs, (std::map<std::string, int64_t>{{"MASS_LOSS", 3}}));
  EXPECT_EQ(bench_.StateOf("on-c"), "Queued");
  EXPECT_EQ(bench_.StateOf("on-b"), "Running") << "nobody else is touched";
  bench_.Submit("new");
  EXPECT_EQ(bench_.Get("new").node.value, "a") << "others are placed as ever";
  bench_.Register("c", 1);
  EXPECT_EQ(Told(EventKind::kMassLossOver), 1) << "three of five answer";
  EXPECT_EQ(bench_.control().counters().mass_loss, 0);
  EXPECT_EQ(bench_.Get("on-c").node.value, "c");
  EXPECT_EQ(bench_.Get("on-c").nodes_lost, 0) << "none of them has taken its node down";
  bench_.Register("d", 1);
  bench_.Register("e", 1);
  EXPECT_EQ(bench_.StateOf("on-d"), "Assigned");
  EXPECT_EQ(bench_.StateOf("on-e"), "Assigned");
}

TEST_F(MassLossTest, NodesThatAnswerAgainWithinTheirLeasesEndIt) {
  Time(seconds(2), {"b", "c", "d", "e"});
  Time(seconds(8), {});  // the lease of a ends first
  ASSERT_EQ(Told(EventKind::kMassLoss), 1);
  bench_.Register("a", 1);
  EXPECT_EQ(Told(EventKind::kMassLossOver), 0) << "the leases of the others still run, no more";
  EXPECT_EQ(bench_.StateOf("on-a"), "Queued");
  Time(seconds(1), {"b", "c", "d", "e"});
  EXPECT_EQ(Told(EventKind::kMassLossOver), 1);
  EXPECT_EQ(Told(EventKind::kNodeLost), 1);
}

TEST_F(MassLossTest, OnlyWhatRanOnTheNodesThatWentIsHeld) {
  Time(seconds(15), {"a", "b"});
  bench_.Register("a", 1);  // restarted by its operator, without what it ran
  EXPECT_EQ(bench_.StateOf("on-a"), "Assigned");
  bench_.Progress("on-a", 2, "a");
  EXPECT_EQ(ReasonOf("on-c").substr(0, 9), "MASS_LOSS");
  Time(seconds(15), {"a"});
  EXPECT_EQ(Told(EventKind::kNodeLost), 4);
  bench_.Do(CancelJob{.job = JobId{"on-a"}});
  bench_.Complete("on-a", 2, "a", Outcome::kCancelled);
  EXPECT_EQ(bench_.Get("on-b").node.value, "a") << "b went later, by itself";
}

TEST_F(MassLossTest, NodesThatWereSentAwayDoNotCount) {
  for (const char* id : {"c", "d", "e"}) bench_.Do(CordonNode{.node = NodeId{id}, .drain = true});
  Time(seconds(15), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kNodeLost), 3);
  EXPECT_EQ(Told(EventKind::kMassLoss), 0);
}

TEST_F(MassLossTest, CordonedNodesCountWhileAnythingRunsThere) {
  for (const char* id : {"c", "d", "e"})
    bench_.Do(CordonNode{.node = NodeId{id}, .cordoned = true});
  Time(seconds(15), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kMassLoss), 1);
}

TEST_F(MassLossTest, CordonedNodesWhereNothingRunsDoNotCount) {
  for (const char* id : {"c", "d", "e"})
    bench_.Do(CordonNode{.node = NodeId{id}, .cordoned = true});
  bench_.Complete("on-c", 1, "c");
  Time(seconds(15), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kNodeLost), 3);
  EXPECT_EQ(Told(EventKind::kMassLoss), 0) << "two of four";
}

TEST_F(MassLossTest, WhatHadNotBegunThereDoesNotWait) {
  bench_.Register("f", 1);
  bench_.Submit("new");
  ASSERT_EQ(bench_.Get("new").node.value, "f");
  Time(seconds(15), {"a", "b"});
  ASSERT_EQ(Told(EventKind::kMassLoss), 1);
  bench_.Complete("on-a", 1, "a");
  EXPECT_EQ(bench_.Get("new").node.value, "a");
}

TEST_F(MassLossTest, HalfOfThemAreEnoughToEndIt) {
  bench_.Register("f", 1);
  Time(seconds(15), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kMassLossOver), 0);
  bench_.Register("c", 1);
  EXPECT_EQ(Told(EventKind::kMassLossOver), 1) << "three of six";
}

TEST_F(MassLossTest, TheNextOneHasTheWholeTimeAgain) {
  const std::vector<std::string> all = {"a", "b", "c", "d", "e"};
  Time(seconds(15), {"a", "b"});
  for (const char* id : {"c", "d", "e"}) {
    bench_.Register(id, 1);
    const std::string job = "on-" + std::string(id);
    bench_.Progress(job, 2, bench_.Get(job).node.value);
  }
  Time(seconds(200), all);
  Time(seconds(15), {"a", "b"});
  ASSERT_EQ(Told(EventKind::kMassLoss), 2);
  Time(seconds(100), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kMassLossOver), 1) << "300 s after the first, 100 s after the second";
}

TEST_F(MassLossTest, AfterAWhileItGoesOnWithoutThem) {
  Time(seconds(15), {"a", "b"});
  EXPECT_EQ(bench_.StateOf("on-c"), "Queued");
  bench_.Do(CancelJob{.job = JobId{"on-d"}});
  EXPECT_EQ(bench_.StateOf("on-d"), "Cancelled");
  bench_.Complete("on-a", 1, "a");
  bench_.Do(PauseJob{.job = JobId{"on-e"}});
  bench_.Do(ResumeJob{.job = JobId{"on-e"}});  // somebody wants it now
  EXPECT_EQ(bench_.Get("on-e").node.value, "a");
  bench_.Progress("on-e", 2, "a");
  Time(seconds(310), {"a", "b"});
  EXPECT_EQ(Told(EventKind::kMassLossOver), 1);
  EXPECT_EQ(bench_.control().counters().mass_loss, 0);
  bench_.Complete("on-b", 1, "b");
  EXPECT_EQ(bench_.Get("on-c").node.value, "b");
}

TEST_F(MassLossTest, HalfOfTheNodesIsNotAndOneAfterTheOtherIsNot) {
  bench_.Register("f", 1);
  Time(seconds(15), {"a", "b", "f"});
  EXPECT_EQ(Told(EventKind::kMassLoss), 0) << "three of six";
  Time(seconds(20), {"a", "b"});
  Time(seconds(20), {"a"});
  EXPECT_EQ(Told(EventKind::kMassLoss), 0) << "each by itself";
  EXPECT_EQ(Told(EventKind::kNodeLost), 5);
}

TEST(MassLoss, TwoNodesAreTooFew) {
  Bench b;
  b.Register("a", 1);
  b.Register("b", 1);
  b.Pass(seconds(11));
  for (const auto& [number, event] : b.events) EXPECT_NE(event.kind, EventKind::kMassLoss);
}

TEST(MassLoss, IsNotLookedForWhereNothingShallWait) {
  Bench b({.mass_loss_hold = {}});
  for (const char* id : {"a", "b", "c"}) b.Register(id, 1);
  b.Pass(seconds(11));
  for (const auto& [number, event] : b.events) EXPECT_NE(event.kind, EventKind::kMassLoss);
}

TEST_F(MassLossTest, NodesThatDoNotComeBackToAServerThatWasRestartedCountToo) {
  bench_.Restart();
  bench_.Register("a", 1, {AttemptId{JobId{"on-a"}, 1}});
  Time(seconds(12), {"a"});
  EXPECT_EQ(Told(EventKind::kMassLoss), 1);
  EXPECT_EQ(ReasonOf("on-b").substr(0, 29), "MASS_LOSS: 4 of 5 nodes were ");
}

class Quarantine : public testing::Test {
 protected:
  // A job with a body of its own fails on the node that it is given.
  void FailOne(Cause cause = Cause::kRunnerCrashed) {
    std::string id = "f" + std::to_string(++count_);
    bench_.Submit(id, 2, 3, id);  // critical, so it goes first
    Job job = bench_.Get(id);
    ASSERT_EQ(job.state, JobState::kAssigned);
    node_ = job.node.value;
    bench_.Complete(id, 1, node_, Outcome::kFailed, cause, "no such device");
    bench_.Do(CancelJob{.job = JobId{id}});
  }
  const Node& Stored(const std::string& id) { return bench_.nodes.at(id); }
  void Time(Duration time) {
    for (; time > Duration::zero(); time -= seconds(5)) {
      bench_.Pass(seconds(5));
      bench_.Beat("a");
      bench_.Beat("b");
    }
  }

  Bench bench_;
  std::string node_;
  int count_ = 0;
};

TEST_F(Quarantine, ThreeUnlikeJobsThatFailInARowPutANodeThere) {
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  FailOne();
  FailOne();
  EXPECT_FALSE(Stored("a").quarantined);
  FailOne();
  ASSERT_EQ(node_, "a") << "the best fit";
  ASSERT_TRUE(Stored("a").quarantined);
  EXPECT_EQ(Stored("a").quarantine_reason,
            "3 unlike jobs failed one after the other: 'f1' (runner crashed) 'f2' (runner crashed) "
            "'f3' (runner crashed)");
  EXPECT_EQ(bench_.events.rbegin()->second.kind, EventKind::kStateChanged);
  bool told = false;
  for (auto& [number, event] : bench_.events) told |= event.kind == EventKind::kNodeQuarantined;
  EXPECT_TRUE(told);
  FailOne();
  EXPECT_EQ(node_, "b") << "nothing goes to a any more";
}

TEST_F(Quarantine, ErrorsOfUsersAndTheSameJobAgainDoNot) {
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  for (int i = 0; i < 5; ++i) FailOne(Cause::kUserError);
  bench_.Submit("same", 2);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    bench_.Complete("same", attempt, bench_.Get("same").node.value, Outcome::kFailed,
                    Cause::kRunnerCrashed, "signal 11");
    Time(seconds(10));
  }
  EXPECT_FALSE(Stored("a").quarantined);
}

TEST_F(Quarantine, ASuccessBetweenShowsThatTheNodeIsSound) {
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  FailOne();
  FailOne();
  bench_.Submit("fine", 2);
  bench_.Complete("fine", 1, "a");
  FailOne();
  EXPECT_FALSE(Stored("a").quarantined);
}

TEST_F(Quarantine, NeverTakesMoreThanHalfOfTheNodes) {
  bench_.Register("a", 2);
  for (int i = 0; i < 6; ++i) FailOne();
  EXPECT_FALSE(Stored("a").quarantined) << "the only one";
}

TEST_F(Quarantine, NodesThatAreOfflineOrCordonedDoNotCount) {
  for (const char* gone : {"x", "y", "z"}) bench_.Register(gone, 1);
  bench_.Pass(seconds(11));
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  bench_.Do(CordonNode{.node = NodeId{"b"}});
  for (int i = 0; i < 6; ++i) FailOne();
  EXPECT_FALSE(Stored("a").quarantined) << "the only one in use";
  bench_.Do(CordonNode{.node = NodeId{"b"}, .cordoned = false});
  FailOne();
  EXPECT_TRUE(Stored("a").quarantined) << "one of two";
}

TEST_F(Quarantine, AProbeThatSucceedsReleasesIt) {
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  for (int i = 0; i < 3; ++i) FailOne();
  bench_.Do(CordonNode{.node = NodeId{"b"}, .cordoned = true});
  bench_.Submit("p1", 1);
  bench_.Submit("p2", 1);
  EXPECT_EQ(bench_.StateOf("p1"), "Queued");
  Time(minutes(5));
  EXPECT_EQ(bench_.StateOf("p1"), "Assigned");
  EXPECT_EQ(bench_.StateOf("p2"), "Queued") << "one job is enough to probe it";
  bench_.Complete("p1", 1, "a", Outcome::kFailed, Cause::kRunnerCrashed, "no such device");
  EXPECT_EQ(bench_.Get("p1").retries, 0) << "it was the node's failure";
  EXPECT_EQ(Stored("a").failed_probes, 1);
  bench_.Restart();  // all of it is durable
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  Time(minutes(5));
  EXPECT_EQ(bench_.StateOf("p1"), "Queued") << "the next probe is after twice the time";
  Time(minutes(5));
  EXPECT_EQ(bench_.StateOf("p1"), "Assigned");
  bench_.Complete("p1", 2, "a");
  EXPECT_FALSE(Stored("a").quarantined);
  EXPECT_EQ(bench_.StateOf("p2"), "Assigned");
}

TEST_F(Quarantine, AProbeThatIsCancelledIsFollowedByAnother) {
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  for (int i = 0; i < 3; ++i) FailOne();
  bench_.Do(CordonNode{.node = NodeId{"b"}, .cordoned = true});
  bench_.Submit("p1", 1);
  bench_.Submit("p2", 1);
  Time(minutes(5));
  bench_.Do(CancelJob{.job = JobId{"p1"}});
  bench_.Complete("p1", 1, "a", Outcome::kCancelled);
  EXPECT_EQ(bench_.StateOf("p2"), "Queued");
  Time(minutes(5));
  EXPECT_EQ(bench_.StateOf("p2"), "Assigned");
}

TEST_F(Quarantine, AnOperatorReleasesIt) {
  bench_.Register("a", 2);
  bench_.Register("b", 4);
  for (int i = 0; i < 3; ++i) FailOne();
  bench_.Do(CordonNode{.node = NodeId{"a"}, .cordoned = false});
  EXPECT_FALSE(bench_.reply<NodeReply>().view.node.quarantined);
  bench_.Submit("j", 2);
  EXPECT_EQ(bench_.Get("j").node.value, "a");
}

}  // namespace
}  // namespace cyxwiz::control
