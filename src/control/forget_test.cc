// Nodes that are no longer known, and who made things happen.
#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

ForgetNode Forget(const std::string& node) { return {.node = NodeId{node}}; }

TEST(ForgetNode, OneThatIsOfflineIsNoLongerKnown) {
  Bench b;
  b.Register("gone", 8);
  b.Register("stays", 2);
  b.Pass(seconds(11));
  b.Register("stays", 2);
  b.Do(Forget("gone"));
  ASSERT_TRUE(b.reply().status.ok()) << b.reply().status;
  EXPECT_EQ(b.nodes.count("gone"), 0u);
  EXPECT_EQ(b.control().counters().nodes_known, 1);
  ASSERT_EQ(b.effects<CloseEffect>().size(), 1u);
  EXPECT_EQ(b.effects<CloseEffect>()[0].node.value, "gone");
  EXPECT_EQ(b.effects<CloseEffect>()[0].endpoint, "gone:50052");
  EXPECT_EQ(b.events.rbegin()->second.kind, EventKind::kNodeForgotten);
  b.Do(GetNode{.node = NodeId{"gone"}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Submit("large", 8);
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << "no node could hold it now";
  b.Submit("small", 2);
  EXPECT_EQ(b.StateOf("small"), "Assigned");
  b.Register("gone", 8);
  EXPECT_TRUE(b.reply().status.ok());
  b.Submit("large", 8);
  EXPECT_EQ(b.StateOf("large"), "Assigned");
}

TEST(ForgetNode, OneThatIsOnlineOrHoldsAttemptsIsKept) {
  Bench b;
  b.Do(Forget("nobody"));
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Register("n");
  b.Do(Forget("n"));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  b.Submit("j");
  b.Accepted("j", 1, "n");
  b.Progress("j", 1, "n");
  b.Restart();
  b.Do(Forget("n"));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << "it may still run it";
  b.Pass(seconds(11));
  b.Do(Forget("n"));
  EXPECT_TRUE(b.reply().status.ok());
  EXPECT_EQ(b.StateOf("j"), "Queued");
}

TEST(ForgetNode, AfterLongItHappensByItself) {
  Bench b;
  for (const char* node : {"a", "b", "c"}) b.Register(node);
  b.Do(CordonNode{.node = NodeId{"b"}});
  b.Pass(seconds(11));
  b.Pass(hours(24 * 29));
  b.Register("c");
  EXPECT_EQ(b.nodes.size(), 3u);
  b.Restart();  // the time goes on
  b.Pass(hours(25));
  EXPECT_EQ(b.nodes.count("a"), 0u);
  EXPECT_EQ(b.nodes.count("b"), 1u) << "an operator has plans with it";
  EXPECT_EQ(b.nodes.count("c"), 1u);
  EXPECT_EQ(b.events.rbegin()->second.actor, "server:timer");
  b.Do(CordonNode{.node = NodeId{"b"}, .cordoned = false});
  b.GoOn();
  EXPECT_EQ(b.nodes.count("b"), 0u);
}

TEST(ForgetNode, ASavedStateGoesOnAlikeWithoutIt) {
  Bench b;
  for (const char* node : {"a", "b", "c"}) {
    b.Register(node);
    b.Do(Heartbeat{.node = NodeId{node},
                   .session = std::string("session-") + node,
                   .data = std::vector<ContentKey>{7, 8}});
  }
  b.Pass(seconds(11));
  b.Register("c");
  b.Do(Forget("a"));
  std::string state, again;
  b.control().Save(&state);
  auto restored = Control::Restore(state, &b);
  ASSERT_TRUE(restored.ok()) << restored.status();
  (*restored)->Save(&again);
  EXPECT_EQ(state, again);
}

TEST(Nodes, MoreThanTheServerTakesAreRefused) {
  Options options;
  options.max_nodes = 2;
  Bench b(options);
  b.Register("a");
  b.Register("b");
  b.Register("c");
  EXPECT_EQ(b.reply().status.code(), Code::kResourceExhausted);
  EXPECT_EQ(b.nodes.size(), 2u);
  b.Register("a");
  EXPECT_TRUE(b.reply().status.ok()) << "it is known";
}

TEST(Nodes, TheConnectionToAnEarlierEndpointIsClosed) {
  Bench b;
  b.Register("n");
  Node moved{.id = NodeId{"n"}, .endpoint = "other:1", .capacity = {2000, 8 * kGiB, 0}};
  b.Do(RegisterNode{.node = moved, .session = "s"});
  ASSERT_EQ(b.effects<CloseEffect>().size(), 1u);
  EXPECT_EQ(b.effects<CloseEffect>()[0].endpoint, "n:50052");
  EXPECT_TRUE(b.effects<CloseEffect>()[0].node.empty());
}

// The actor of the newest event of this kind.
std::string ActorOf(const Bench& b, EventKind kind) {
  for (auto event = b.events.rbegin(); event != b.events.rend(); ++event) {
    if (event->second.kind == kind) return event->second.actor;
  }
  return "nobody";
}

TEST(Actors, EventsSayWhoMadeThemHappen) {
  Bench b;
  b.Register("n");
  EXPECT_EQ(ActorOf(b, EventKind::kNodeRegistered), "node:n");
  b.Submit("j");
  EXPECT_EQ(ActorOf(b, EventKind::kStateChanged), "server:scheduler") << "it is assigned";
  b.Progress("j", 1, "n");
  EXPECT_EQ(ActorOf(b, EventKind::kStateChanged), "node:n") << "it runs";
  b.Do(PauseJob{.job = JobId{"j"}, .actor = "client:ann@127.0.0.1"});
  EXPECT_EQ(ActorOf(b, EventKind::kPauseRequested), "client:ann@127.0.0.1");
  b.Do(SetPriority{.job = JobId{"j"}, .priority = 3, .actor = "client:bob"});
  EXPECT_EQ(ActorOf(b, EventKind::kPriorityChanged), "client:bob");
  b.Do(CancelJob{.job = JobId{"j"}});
  EXPECT_EQ(ActorOf(b, EventKind::kCancelRequested), "client");
  b.Do(CordonNode{.node = NodeId{"n"}, .actor = "client:op"});
  EXPECT_EQ(ActorOf(b, EventKind::kNodeCordoned), "client:op");
  b.Pass(seconds(11));
  EXPECT_EQ(ActorOf(b, EventKind::kNodeLost), "server:timer");
}

TEST(Actors, ASubmissionIsOfTheUserItIsFor) {
  Job job{.id = JobId{"j"}, .user = "ann"};
  EXPECT_EQ(SubmittedEvent(job).actor, "client:ann");
  job.user.clear();
  EXPECT_EQ(SubmittedEvent(job).actor, "client");
  job.member = std::make_shared<const Member>();
  EXPECT_EQ(SubmittedEvent(job).actor, "server:scheduler");
}

TEST(Cancel, TheCauseIsTheSameWhetherItWaitedOrRan) {
  Bench b;
  b.Submit("waits");
  b.Do(CancelJob{.job = JobId{"waits"}});
  EXPECT_EQ(b.Get("waits").cause, Cause::kCancelled);
  EXPECT_EQ(b.events.rbegin()->second.cause, Cause::kCancelled);
  b.Register("n");
  b.Submit("runs");
  b.Progress("runs", 1, "n");
  b.Do(CancelJob{.job = JobId{"runs"}});
  b.Register("n");  // its node is restarted
  EXPECT_EQ(b.Get("runs").state, JobState::kCancelled);
  EXPECT_EQ(b.Get("runs").cause, Cause::kCancelled);
}

}  // namespace
}  // namespace cyxwiz::control
