// Pause, resume, priority, retry, bulk cancel, cordon and drain, and the events that tell of them.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

bool Stops(const Bench& b, const std::string& job) {
  for (const StopEffect& stop : b.effects<StopEffect>()) {
    if (stop.attempt.job.value == job) return true;
  }
  return false;
}

TEST(Pause, AQueuedJobWaitsUntilItIsResumed) {
  Bench b;
  b.Submit("j");
  b.Do(PauseJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply<JobReply>().view.job.state, JobState::kPaused);
  b.Register("n");
  EXPECT_EQ(b.StateOf("j"), "Paused") << "a free node does not start it";
  b.Restart();
  EXPECT_EQ(b.StateOf("j"), "Paused");
  b.Register("n");
  b.Do(ResumeJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply<JobReply>().view.job.state, JobState::kAssigned);
}

TEST(Pause, ARunningJobIsPausedWhenItsProcessesAreGone) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Accepted("j", 1, "n");
  b.Progress("j", 1, "n");
  b.Do(PauseJob{.job = JobId{"j"}});
  EXPECT_TRUE(Stops(b, "j"));
  EXPECT_EQ(b.reply<JobReply>().view.job.state, JobState::kRunning);
  b.Do(ResumeJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << "it is still pausing";
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<RegisterReply>().stop.size(), 1u) << "the wish to pause is durable";
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("j"), "Paused");
  b.Do(ResumeJob{.job = JobId{"j"}});
  EXPECT_EQ(b.Get("j").attempt, 2);
  EXPECT_EQ(b.StateOf("j"), "Assigned");
}

TEST(Pause, AJobThatEndsMeanwhileHasEnded) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Do(PauseJob{.job = JobId{"j"}});
  b.Complete("j", 1, "n");
  EXPECT_EQ(b.StateOf("j"), "Succeeded");
  EXPECT_FALSE(b.Get("j").pause_requested);
  b.Do(PauseJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
}

TEST(Pause, APausedJobCanBeCancelled) {
  Bench b;
  b.Submit("j");
  b.Do(PauseJob{.job = JobId{"j"}});
  b.Do(CancelJob{.job = JobId{"j"}});
  EXPECT_EQ(b.StateOf("j"), "Cancelled");
}

TEST(Pause, ALostNodePausesWhatWasPausing) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Do(PauseJob{.job = JobId{"j"}});
  b.Pass(seconds(11));
  EXPECT_EQ(b.StateOf("j"), "Paused");
}

TEST(Priority, OfAQueuedJobChangesItsPlace) {
  Bench b;
  b.Submit("first");
  b.Submit("second");
  b.Do(SetPriority{.job = JobId{"second"}, .priority = 3});
  EXPECT_EQ(b.reply<JobReply>().view.job.priority, 3);
  b.Register("n", 1);
  EXPECT_EQ(b.StateOf("second"), "Assigned");
  EXPECT_EQ(b.StateOf("first"), "Queued");
  b.Do(SetPriority{.job = JobId{"first"}, .priority = 9});
  EXPECT_EQ(b.reply().status.code(), Code::kInvalidArgument);
}

TEST(Retry, MakesANewJobOfTheSameBody) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Do(RetryJob{.job = JobId{"j"}, .new_job = JobId{"again"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << "it has not ended";
  b.Complete("j", 1, "n", Outcome::kFailed, Cause::kUserError, "bad");
  b.Do(RetryJob{.job = JobId{"j"}, .new_job = JobId{"again"}});
  ASSERT_TRUE(b.reply().status.ok()) << b.reply().status;
  EXPECT_EQ(b.reply<JobReply>().view.job.id.value, "again");
  EXPECT_EQ(b.Get("again").retry_of->value, "j");
  EXPECT_EQ(b.StateOf("again"), "Assigned");
  EXPECT_EQ(b.StateOf("j"), "Failed") << "final states never change";
  EXPECT_EQ(b.bodies.size(), 1u);
}

TEST(CancelJobs, CancelsWhatTheFilterMeansAndNothingElse) {
  Bench b;
  b.Register("n", 1);
  for (const char* id : {"a", "b", "c"}) b.Submit(id);
  b.Progress("a", 1, "n");
  b.Do(CancelJobs{.filter = {.states = {JobState::kQueued}}, .reason = "too many"});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelled, 2);
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 0);
  EXPECT_EQ(b.StateOf("a"), "Running");
  EXPECT_EQ(b.Get("b").message, "cancelled: too many");
  b.Do(CancelJobs{.filter = {.user = "nobody"}});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 0);
  b.Do(CancelJobs{});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 1);
  EXPECT_TRUE(Stops(b, "a"));
}

TEST(Cordon, ANodeKeepsItsAttemptsAndGetsNoNewOnes) {
  Bench b;
  b.Register("n");
  b.Submit("a");
  b.Do(CordonNode{.node = NodeId{"n"}, .reason = "new disk"});
  EXPECT_TRUE(b.reply<NodeReply>().view.node.cordoned);
  b.Submit("b");
  EXPECT_EQ(b.StateOf("a"), "Assigned");
  EXPECT_EQ(b.StateOf("b"), "Queued");
  b.Do(GetJob{.job = JobId{"b"}});
  EXPECT_EQ(b.reply<JobReply>().view.reasons.at(0).code, "NODES_CORDONED");
  b.Restart();
  b.Register("n", 2, {{JobId{"a"}, 1}});
  EXPECT_EQ(b.StateOf("b"), "Queued") << "registering again does not uncordon";
  EXPECT_EQ(b.nodes.at("n").cordon_reason, "new disk");
  b.Do(CordonNode{.node = NodeId{"n"}, .cordoned = false});
  EXPECT_EQ(b.StateOf("b"), "Assigned");
}

TEST(Drain, AttemptsGoElsewhereWithoutCountingAsFailures) {
  Bench b;
  b.Register("n");
  b.Submit("a");
  b.Progress("a", 1, "n");
  b.Do(CordonNode{.node = NodeId{"n"}, .drain = true});
  EXPECT_TRUE(Stops(b, "a"));
  b.Register("m");
  b.Complete("a", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.Get("a").node.value, "m");
  EXPECT_EQ(b.Get("a").retries, 0);
}

TEST(MaintenanceWindow, BeginsAndEndsByItself) {
  Bench b({.lease = std::chrono::hours(9)});
  b.Register("n");
  const int64_t now = b.now().unix.ms;
  b.Submit("a");
  b.Progress("a", 1, "n");
  b.Do(CordonNode{.node = NodeId{"n"},
                  .drain = true,
                  .reason = "new disk",
                  .from = {now + 3'600'000},
                  .until = {now + 7'200'000}});
  EXPECT_FALSE(b.nodes.at("n").cordoned);
  EXPECT_EQ(b.nodes.at("n").cordon_from.ms, now + 3'600'000);
  EXPECT_FALSE(Stops(b, "a"));
  b.Pass(std::chrono::minutes(59));
  b.Restart();
  b.Register("n", 2, {{{"a"}, 1}});
  EXPECT_FALSE(b.nodes.at("n").cordoned);
  b.Pass(std::chrono::minutes(10));
  EXPECT_TRUE(b.nodes.at("n").draining) << "the restart has not forgotten it";
  EXPECT_EQ(b.nodes.at("n").cordon_reason, "new disk");
  b.Complete("a", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("a"), "Queued");
  while (b.now().unix.ms < now + 7'200'000) b.Pass(std::chrono::minutes(10));
  EXPECT_FALSE(b.nodes.at("n").cordoned);
  EXPECT_EQ(b.StateOf("a"), "Assigned");
}

TEST(MaintenanceWindow, IsCalledOffByUncordonAndCheckedForItsEnd) {
  Bench b({.lease = std::chrono::hours(9)});
  b.Register("n");
  const int64_t now = b.now().unix.ms;
  b.Do(CordonNode{.node = NodeId{"n"}, .from = {now + 2000}, .until = {now + 1000}});
  EXPECT_EQ(b.reply().status.code(), Code::kInvalidArgument);
  b.Do(CordonNode{.node = NodeId{"n"}, .from = {now + 60'000}});
  b.Do(CordonNode{.node = NodeId{"n"}, .cordoned = false});
  b.Pass(std::chrono::minutes(20));
  EXPECT_FALSE(b.nodes.at("n").cordoned);
  b.Do(CordonNode{.node = NodeId{"n"}, .until = {b.now().unix.ms + 60'000}});
  EXPECT_TRUE(b.nodes.at("n").cordoned);
  b.Pass(std::chrono::minutes(1));
  EXPECT_FALSE(b.nodes.at("n").cordoned) << "one that begins at once ends by itself, too";
}

TEST(Events, TellALifeInOrder) {
  Bench b;
  b.Submit("j");
  EXPECT_EQ(b.effects<EventEffect>().at(0).event.kind, EventKind::kSubmitted);
  EXPECT_TRUE(b.events.empty()) << "the job's own row tells of its submission";
  b.Register("n");
  b.Progress("j", 1, "n");
  b.Do(SetPriority{.job = JobId{"j"}, .priority = 2});
  b.Complete("j", 1, "n", Outcome::kFailed, Cause::kUserError, "bad");
  std::vector<std::string> told;
  int64_t last = b.Get("j").sequence;
  for (const auto& [number, event] : b.events) {
    EXPECT_GT(number, last) << "numbers grow, and come after the submission";
    last = number;
    told.push_back(std::string(EventKindName(event.kind)) +
                   (event.kind == EventKind::kStateChanged
                        ? std::string(" ") + JobStateName(event.from) + "-" + JobStateName(event.to)
                        : "") +
                   (event.message.empty() ? "" : ": " + event.message));
  }
  std::vector<std::string> expected = {
      "NODE_REGISTERED: n:50052", "STATE_CHANGED Queued-Assigned", "STATE_CHANGED Assigned-Running",
      "PRIORITY_CHANGED: normal to high", "STATE_CHANGED Running-Failed: bad"};
  EXPECT_EQ(told, expected);
  EXPECT_EQ(b.events.rbegin()->second.cause, Cause::kUserError);
  EXPECT_EQ(b.events.rbegin()->second.node.value, "n");
  int64_t before = b.events.rbegin()->first;
  b.Restart();
  b.Submit("k");
  EXPECT_GT(b.Get("k").sequence, before) << "numbers go on after a restart";
}

TEST(Events, TheOldestGoWhenThereAreTooMany) {
  Bench b({.max_events = 500});
  for (int i = 0; i < 3000; ++i) {
    b.Submit("j");
    b.Do(CancelJob{.job = JobId{"j"}});
    b.Do(RemoveJob{.job = JobId{"j"}});
  }
  EXPECT_LT(b.events.size(), 2600u);
  EXPECT_GE(b.events.size(), 300u);
}

TEST(Events, AreToldInTheOrderOfTheirNumbers) {
  Bench b;
  b.Register("n");
  b.Submit("one");
  // The cancelling of the one comes before the submission of the other.
  b.DoBatch({CancelJob{.job = JobId{"one"}}, Bench::SubmitCommand("two")});
  int64_t last = 0;
  for (const EventEffect& effect : b.effects<EventEffect>()) {
    EXPECT_GT(effect.event.number, last);
    last = effect.event.number;
  }
  EXPECT_GT(last, 0);
}

TEST(Explain, TellsPlaceChangeAndStart) {
  Bench b;
  b.Register("n", 2);
  b.Submit("one", 2);
  b.Progress("one", 1, "n", 0.0);
  b.Pass(seconds(5));
  b.Beat("n", {{JobId{"one"}, 1}});
  b.Progress("one", 1, "n", 0.5);
  b.Submit("two", 1);
  b.Submit("three", 2);
  b.Do(ExplainJob{.job = JobId{"three"}});
  PlanReply plan = b.reply<PlanReply>();
  EXPECT_EQ(plan.queue_position, 2);
  EXPECT_EQ(plan.jobs_queued, 2);
  ASSERT_FALSE(plan.reasons.empty());
  EXPECT_EQ(plan.reasons[0].code, "NOT_ENOUGH_FREE");
  EXPECT_EQ(plan.smallest_change, "node 'n' must have 2 cores more free");
  EXPECT_FALSE(plan.estimated_start) << "how long 'two' runs is not known";
  b.Do(ExplainJob{.job = JobId{"two"}});
  plan = b.reply<PlanReply>();
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - b.now().unix.ms, 5000) << plan.estimate_basis;
  b.Do(ExplainJob{.job = JobId{"three"}, .what_if = {.more_nodes = 2}});
  plan = b.reply<PlanReply>();
  EXPECT_EQ(plan.node.value, "what-if-2") << "'two' takes the first";
  EXPECT_EQ(b.StateOf("three"), "Queued") << "nothing was changed";
  b.Do(Bench::PlanCommand(64));
  plan = b.reply<PlanReply>();
  EXPECT_FALSE(plan.could_ever_run);
  EXPECT_EQ(plan.reasons.at(0).code, "TOO_LARGE");
  b.Do(Bench::PlanCommand(1, 3));
  EXPECT_EQ(b.reply<PlanReply>().queue_position, 1);
}

TEST(Explain, ALongJobIsExpectedToTakeLongerThanAShortOne) {
  Bench b;
  b.Register("n", 2);
  b.Submit("short", 2, 1, "short");  // 5 epochs
  b.Progress("short", 1, "n", 0.0);
  b.Pass(seconds(5));
  b.Complete("short", 1, "n");
  SubmitJob long_one = Bench::SubmitCommand("long", 2, 1, "long");
  long_one.job.total_epochs = 500;
  b.Do(std::move(long_one));
  b.Progress("long", 1, "n", 0.0);
  b.Submit("next", 1);
  b.Do(ExplainJob{.job = JobId{"next"}});
  const PlanReply plan = b.reply<PlanReply>();
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - b.now().unix.ms, 500'000) << "a second for each epoch";
  EXPECT_NE(plan.estimate_basis.find("1 earlier job took"), std::string::npos)
      << plan.estimate_basis;
}

}  // namespace
}  // namespace cyxwiz::control
