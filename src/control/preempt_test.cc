// Running jobs make room for one of a higher class that can start nowhere.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr int32_t kLow = 0, kNormal = 1, kHigh = 2, kCritical = 3;

Options On() { return {.preemption = {.on = true, .min_run = seconds(0), .most = 3}}; }

// A node of two cores whose attempts run.
void Begin(Bench& b, const std::string& id, int64_t cores = 2, int32_t priority = kLow,
           const std::string& node = "n") {
  b.Submit(id, cores, priority);
  Job job = b.Get(id);
  ASSERT_EQ(job.node.value, node);
  b.Accepted(id, job.attempt, node);
  b.Progress(id, job.attempt, node);
}

std::vector<std::string> Yielding(Bench& b, const std::string& node,
                                  std::vector<AttemptId> active) {
  b.Beat(node, std::move(active));
  std::vector<std::string> ids;
  for (const AttemptId& id : b.reply<HeartbeatReply>().yield) ids.push_back(id.job.value);
  return ids;
}

TEST(Preempt, ALowJobMakesRoomAndGoesOnLater) {
  Bench b(On());
  b.Register("n");
  Begin(b, "low");
  b.Submit("high", 2, kHigh);
  EXPECT_EQ(b.jobs.at("low").preempted_for->value, "high") << "durable before the node is told";
  auto stops = b.effects<StopEffect>();
  ASSERT_EQ(stops.size(), 1u);
  EXPECT_TRUE(stops[0].yield) << "it writes a checkpoint first";
  EXPECT_EQ(b.StateOf("low"), "Running");
  EXPECT_EQ(Yielding(b, "n", {{{"low"}, 1}}), std::vector<std::string>{"low"});

  b.Yield("low", 1, "n");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
  Job low = b.Get("low");
  EXPECT_EQ(low.state, JobState::kQueued);
  EXPECT_EQ(low.cause, Cause::kPreempted);
  EXPECT_EQ(low.retries, 0);
  EXPECT_EQ(low.preemptions, 1);
  EXPECT_TRUE(low.preempted_for->value.empty());
  EXPECT_NE(low.message.find("it made room for job 'high'"), std::string::npos) << low.message;
  b.Complete("high", 1, "n");
  EXPECT_EQ(b.StateOf("low"), "Assigned");
}

TEST(Preempt, OffUnlessAskedFor) {
  Bench b;
  b.Register("n");
  Begin(b, "low");
  b.Pass(minutes(10));
  b.Submit("high", 2, kCritical);
  EXPECT_TRUE(b.jobs.at("low").preempted_for->value.empty());
}

TEST(Preempt, OnlyALowerClassMakesRoom) {
  Bench b(On());
  b.Register("n");
  Begin(b, "a", 2, kHigh);
  b.Submit("b", 2, kHigh);
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  b.Do(SetPriority{.job = {"a"}, .priority = kNormal});
  b.Pass(seconds(1));
  EXPECT_EQ(b.jobs.at("a").preempted_for->value, "b") << "for the one that goes first";
}

TEST(Preempt, NobodyIsStoppedWhileThereIsRoomElsewhere) {
  Bench b(On());
  b.Register("n");
  Begin(b, "low");
  b.Register("m");
  b.Submit("high", 2, kHigh);
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  EXPECT_EQ(b.Get("high").node.value, "m");
}

TEST(Preempt, AnAttemptIsLeftAloneAtFirst) {
  Options options = On();
  options.preemption.min_run = seconds(30);
  options.lease = minutes(10);
  Bench b(options);
  b.Register("n");
  Begin(b, "low");
  b.Submit("high", 2, kHigh);
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  b.Pass(seconds(29));
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  EXPECT_LE(b.control().NextDeadline(), MonotonicTime{(b.now().monotonic + seconds(1)).ns});
  b.Pass(seconds(1));
  EXPECT_EQ(b.effects<StopEffect>().size(), 1u) << "nothing but time was needed";
}

TEST(Preempt, AJobMakesRoomOnlySoOften) {
  Options options = On();
  options.preemption.most = 1;
  Bench b(options);
  b.Register("n");
  Begin(b, "low");
  b.Submit("first", 2, kHigh);
  b.Yield("low", 1, "n");
  b.Complete("first", 1, "n");
  b.Accepted("low", 2, "n");
  b.Progress("low", 2, "n");
  b.Submit("second", 2, kHigh);
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  EXPECT_EQ(b.StateOf("second"), "Queued");
}

TEST(Preempt, TheRoomIsKeptForTheJobThatItWasMadeFor) {
  Bench b(On());
  b.Register("n");
  Begin(b, "a", 1);
  Begin(b, "b", 1);
  b.Submit("high", 2, kHigh);
  b.Submit("late", 1, kHigh);
  b.Yield("a", 1, "n");
  EXPECT_EQ(b.StateOf("late"), "Queued") << "the core that is free now belongs to 'high'";
  b.Yield("b", 1, "n");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
  EXPECT_EQ(b.StateOf("late"), "Queued");
}

TEST(Preempt, WhenTheJobIsCancelledItsRoomIsForAll) {
  Bench b(On());
  b.Register("n");
  Begin(b, "a", 1);
  Begin(b, "b", 1);
  b.Submit("high", 2, kHigh);
  b.Submit("small", 1);
  b.Yield("a", 1, "n");
  EXPECT_EQ(b.StateOf("small"), "Queued");
  b.Do(CancelJob{.job = {"high"}});
  EXPECT_EQ(b.StateOf("small"), "Assigned");
}

TEST(Preempt, EachOfManyGetsRoomOfItsOwn) {
  Bench b(On());
  b.Register("n", 4);
  for (const char* id : {"a", "b", "c", "d"}) Begin(b, id, 1);
  for (const char* id : {"x", "y"}) b.Submit(id, 1, kHigh);
  int yielding = 0;
  for (const auto& [id, job] : b.jobs) yielding += !job.preempted_for->value.empty();
  EXPECT_EQ(yielding, 2);
}

TEST(Preempt, ARestartDoesNotStopOthersToo) {
  Bench b(On());
  b.Register("n");
  b.Register("m");
  Begin(b, "a", 2, kLow, "m");
  Begin(b, "b", 2, kLow, "n");
  b.Submit("high", 2, kHigh);
  std::string victim = b.jobs.at("a").preempted_for->value == "high" ? "a" : "b";
  std::string other = victim == "a" ? "b" : "a";
  b.Restart();
  b.Register("n", 2, {{{"b"}, 1}});
  b.Register("m", 2, {{{"a"}, 1}});
  EXPECT_EQ(b.jobs.at(victim).preempted_for->value, "high");
  EXPECT_TRUE(b.jobs.at(other).preempted_for->value.empty());
  b.Yield(victim, 1, victim == "a" ? "m" : "n");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
}

TEST(Preempt, RoomIsMadeForAGangOnAsManyNodesAsItNeeds) {
  Bench b(On());
  for (const char* node : {"n", "m", "o"}) b.Register(node);
  Begin(b, "a", 2, kLow, "m");
  Begin(b, "b", 2, kLow, "n");
  b.Do(Bench::GangCommand("high", 3, 2, kHigh));
  EXPECT_EQ(b.jobs.at("a").preempted_for->value, "high");
  EXPECT_EQ(b.jobs.at("b").preempted_for->value, "high");
  b.Submit("late", 2, kLow);
  EXPECT_EQ(b.StateOf("late"), "Queued") << "the node that is free waits for the others";
  b.Do(ExplainJob{.job = {"high"}});
  EXPECT_EQ(b.reply<PlanReply>().preempts, (std::vector<JobId>{{"a"}, {"b"}}));
  EXPECT_EQ(b.reply<PlanReply>().preempts_on.size(), 3u);
  EXPECT_EQ(b.reply<PlanReply>().reasons[0].message,
            "2 running jobs make room for it on nodes 'o', 'm', 'n': 'a', 'b'");
  b.Yield("a", 1, "m");
  EXPECT_EQ(b.StateOf("high"), "Queued");
  b.Yield("b", 1, "n");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
  EXPECT_EQ(b.StateOf("late"), "Queued");
}

TEST(Preempt, NobodyIsStoppedForAGangThatWouldNotFit) {
  Bench b(On());
  for (const char* node : {"n", "m"}) b.Register(node);
  Begin(b, "a", 2, kLow, "m");
  Begin(b, "b", 2, kHigh, "n");
  b.Do(Bench::GangCommand("high", 2, 2, kHigh));
  EXPECT_TRUE(b.jobs.at("a").preempted_for->value.empty());
}

TEST(Preempt, AGangEndsOnceForAGang) {
  Bench b(On());
  for (const char* node : {"n", "m"}) b.Register(node);
  b.Do(Bench::GangCommand("low", 2, 2, kLow));
  for (const char* node : {"n", "m"}) b.Accepted("low", 1, node);
  for (const char* node : {"n", "m"}) b.Progress("low", 1, node);
  b.Do(Bench::GangCommand("high", 2, 2, kHigh));
  EXPECT_EQ(b.jobs.at("low").preempted_for->value, "high");
  EXPECT_EQ(b.effects<StopEffect>().size(), 2u) << "each rank once";
  b.Yield("low", 1, "n");
  EXPECT_EQ(b.StateOf("high"), "Queued");
  b.Yield("low", 1, "m");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
  EXPECT_EQ(b.Get("low").preemptions, 1);
}

TEST(Preempt, AnElasticGangClaimsNoMoreThanItsLeast) {
  Bench b(On());
  for (const char* node : {"n", "m"}) b.Register(node);
  Begin(b, "a", 2, kLow, "m");
  Begin(b, "b", 2, kLow, "n");
  SubmitJob elastic = Bench::GangCommand("high", 3, 2, kHigh);
  Terms terms = *elastic.job.terms;
  terms.min_nodes = 2;
  elastic.job.terms = std::make_shared<const Terms>(terms);
  b.Do(std::move(elastic));
  for (const char* victim : {"a", "b"}) EXPECT_EQ(b.jobs.at(victim).preempted_for->value, "high");
  b.Register("o");
  b.Submit("late", 2, kLow);
  EXPECT_EQ(b.StateOf("late"), "Assigned") << "the third node is nobody's";
}

TEST(Preempt, ARestartDoesNotGiveAwayWhatAGangHasClaimed) {
  Bench b(On());
  for (const char* node : {"n", "m", "o"}) b.Register(node);
  Begin(b, "a", 2, kLow, "m");
  Begin(b, "b", 2, kLow, "n");
  b.Do(Bench::GangCommand("high", 2, 2, kHigh));
  const std::string victim = b.jobs.at("a").preempted_for->value == "high" ? "a" : "b";
  const std::string other = victim == "a" ? "b" : "a";
  b.Submit("late", 2, kLow);
  b.Restart();
  b.Register("n", 2, {{{"b"}, 1}});
  b.Register("m", 2, {{{"a"}, 1}});
  b.Register("o");
  EXPECT_EQ(b.StateOf("late"), "Queued") << "the node that is free waits for the other";
  EXPECT_TRUE(b.jobs.at(other).preempted_for->value.empty());
  b.Yield(victim, 1, victim == "a" ? "m" : "n");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
}

TEST(Preempt, ACancelledVictimStopsAtOnce) {
  Bench b(On());
  b.Register("n");
  Begin(b, "low");
  b.Submit("high", 2, kHigh);
  b.Do(CancelJob{.job = {"low"}});
  ASSERT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_FALSE(b.effects<StopEffect>()[0].yield);
  b.Yield("low", 1, "n");
  EXPECT_EQ(b.StateOf("low"), "Cancelled");
  EXPECT_EQ(b.StateOf("high"), "Assigned");
}

TEST(Preempt, AVictimThatSucceedsFirstHasSucceeded) {
  Bench b(On());
  b.Register("n");
  Begin(b, "low");
  b.Submit("high", 2, kHigh);
  b.Complete("low", 1, "n");
  EXPECT_EQ(b.StateOf("low"), "Succeeded");
  EXPECT_EQ(b.Get("low").preemptions, 0);
  EXPECT_EQ(b.StateOf("high"), "Assigned");
}

TEST(Preempt, ExplainAndPlanSayWhoMakesRoom) {
  Bench b(On());
  b.Register("n");
  Begin(b, "low");
  b.Do(Bench::PlanCommand(2, kHigh));
  EXPECT_EQ(b.reply<PlanReply>().preempts, std::vector<JobId>{{"low"}});
  EXPECT_EQ(b.reply<PlanReply>().preempts_on, std::vector<NodeId>{{"n"}});
  EXPECT_TRUE(b.jobs.at("low").preempted_for->value.empty()) << "asking changes nothing";
  b.Do(Bench::PlanCommand(2, kLow));
  EXPECT_TRUE(b.reply<PlanReply>().preempts.empty());

  b.Submit("high", 2, kHigh);
  b.Do(ExplainJob{.job = {"high"}});
  EXPECT_EQ(b.reply<PlanReply>().preempts, std::vector<JobId>{{"low"}});
  ASSERT_FALSE(b.reply<PlanReply>().reasons.empty());
  EXPECT_EQ(b.reply<PlanReply>().reasons[0].code, "PREEMPTING");
  EXPECT_EQ(b.reply<PlanReply>().reasons[0].message,
            "1 running job makes room for it on node 'n': 'low'");
  EXPECT_NE(b.Get("low").message.find("making room for job 'high'"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::control
