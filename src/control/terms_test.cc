// Limits and dependencies of jobs.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

Terms After(const std::string& job, bool any_end = false) {
  return {.limits = {}, .after = {{JobId{job}, any_end}}, .labels = {}};
}

TEST(Limits, AnAttemptThatRunsTooLongIsStoppedAndTheJobFails) {
  Bench b;
  b.Register("n");
  b.SubmitWith("j", {.limits = {.run = seconds(30)}});
  b.Pass(seconds(5));
  b.Beat("n", {{JobId{"j"}, 1}});
  b.Progress("j", 1, "n");
  for (int i = 0; i < 4; ++i) {  // the lease is 10 s
    b.Pass(seconds(5));
    b.Beat("n", {{JobId{"j"}, 1}});
  }
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Pass(seconds(5));
  ASSERT_EQ(b.effects<StopEffect>().size(), 1u) << "30 s after its assignment";
  EXPECT_EQ(b.effects<StopEffect>()[0].reason, "it ran longer than its limit of 30 s");
  EXPECT_EQ(b.StateOf("j"), "Running") << "until its processes are gone";
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<RegisterReply>().stop.size(), 1u) << "that it must end is durable";
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("j"), "Failed");
  EXPECT_EQ(b.Get("j").cause, Cause::kTimeLimit);
  EXPECT_EQ(b.Get("j").error->message, "it ran longer than its limit of 30 s");
}

TEST(Limits, TheTimeOfAnAttemptGoesOnOverARestartOfTheServer) {
  Bench b;
  b.Register("n");
  b.SubmitWith("j", {.limits = {.run = seconds(30)}});
  b.Progress("j", 1, "n");
  b.Pass(seconds(8));
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  for (int i = 0; i < 3; ++i) {
    b.Pass(seconds(7));
    b.Beat("n", {{JobId{"j"}, 1}});
  }
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  b.Pass(seconds(1));
  EXPECT_EQ(b.effects<StopEffect>().size(), 1u);
}

TEST(Limits, TheTimeInWhichAnAttemptPreparesCounts) {
  Bench b;
  b.Register("n");
  b.SubmitWith("j", {.limits = {.run = seconds(30)}});
  b.Accepted("j", 1, "n");
  auto pass = [&b](int times) {
    for (int i = 0; i < times; ++i) {
      b.Pass(seconds(5));
      b.Beat("n", {{JobId{"j"}, 1}});
    }
  };
  pass(3);
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  pass(2);
  EXPECT_EQ(b.StateOf("j"), "Assigned") << "it still fetches its data";
  b.Pass(seconds(5));
  ASSERT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_EQ(b.effects<StopEffect>()[0].reason, "it ran longer than its limit of 30 s");
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.Get("j").cause, Cause::kTimeLimit);
}

TEST(Limits, OfAnAttemptThatAnEarlierReleaseHasAssignedTheTimeCountsFromTheStartOfTheServer) {
  Bench b;
  b.Register("n");
  b.SubmitWith("j", {.limits = {.run = seconds(9)}});
  b.jobs.at("j").attempt_started_at = {};  // as that wrote it
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  b.Pass(seconds(8));
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  b.Pass(seconds(1));
  EXPECT_EQ(b.effects<StopEffect>().size(), 1u);
}

TEST(Limits, ANewAttemptHasTheWholeTimeAgain) {
  Bench b;
  b.Register("n");
  b.SubmitWith("j", {.limits = {.run = seconds(9)}});
  b.Progress("j", 1, "n");
  b.Pass(seconds(8));
  b.Register("n");  // restarted, without the attempt
  b.Progress("j", 2, "n");
  b.Pass(seconds(8));
  EXPECT_TRUE(b.effects<StopEffect>().empty());
  b.Pass(seconds(1));
  EXPECT_EQ(b.effects<StopEffect>().size(), 1u);
}

TEST(Limits, AJobThatWaitsTooLongFails) {
  Bench b;
  b.SubmitWith("j", {.limits = {.queue = seconds(30)}});
  b.Pass(seconds(29));
  EXPECT_EQ(b.StateOf("j"), "Queued");
  b.Restart();
  b.Pass(seconds(1));
  EXPECT_EQ(b.StateOf("j"), "Failed");
  EXPECT_EQ(b.Get("j").cause, Cause::kQueueTimeLimit);
  // One that has started once does not wait in this sense any more.
  b.Register("n");
  b.SubmitWith("k", {.limits = {.queue = seconds(9)}});
  b.Progress("k", 1, "n");
  b.Register("n", 0);  // restarted, with no room for it
  b.Pass(seconds(9));
  EXPECT_EQ(b.StateOf("k"), "Queued");
}

TEST(Limits, AJobFailsAtItsDeadlineWhereverItIs) {
  Bench b;
  UnixTime deadline{b.now().unix.ms + 9'000};
  b.SubmitWith("paused", {.limits = {.deadline = deadline}});
  b.Do(PauseJob{.job = JobId{"paused"}});
  b.Register("n", 1);
  b.SubmitWith("running", {.limits = {.deadline = deadline}});
  b.Progress("running", 1, "n");
  b.SubmitWith("waiting", {.limits = {.deadline = deadline}});
  b.Pass(seconds(9));
  EXPECT_EQ(b.StateOf("paused"), "Failed");
  EXPECT_EQ(b.StateOf("waiting"), "Failed");
  EXPECT_EQ(b.StateOf("running"), "Running");
  EXPECT_EQ(b.Get("waiting").cause, Cause::kDeadline);
  b.Pass(seconds(2));  // the lease of its node ends: so do its processes
  EXPECT_EQ(b.StateOf("running"), "Failed");
  EXPECT_EQ(b.Get("running").cause, Cause::kDeadline);
  b.SubmitWith("late", {.limits = {.deadline = deadline}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
}

TEST(Limits, AClockSetBackDoesNotMakeAJobWaitLongerThanItsLimit) {
  Bench b;
  b.SubmitWith("j", {.limits = {.queue = seconds(30)}});
  b.jobs.at("j").created_at.ms += 1'000'000'000;  // as after the clock was set back
  b.Restart();
  b.Pass(seconds(30));
  EXPECT_EQ(b.StateOf("j"), "Failed");
}

TEST(Dependencies, AJobStartsWhenTheOneBeforeHasSucceeded) {
  Bench b;
  b.Register("n");
  b.Submit("a");
  b.SubmitWith("b", After("a"));
  EXPECT_EQ(b.StateOf("b"), "Queued") << "though a core is free";
  b.Do(ExplainJob{.job = JobId{"b"}});
  ASSERT_FALSE(b.reply<PlanReply>().reasons.empty());
  EXPECT_EQ(b.reply<PlanReply>().reasons[0].code, "DEPENDENCY");
  EXPECT_EQ(b.reply<PlanReply>().reasons[0].message, "waits for 1 job: 'a' (Assigned)");
  b.Restart();
  b.Register("n", 2, {{JobId{"a"}, 1}});
  EXPECT_EQ(b.StateOf("b"), "Queued");
  b.Complete("a", 1, "n");
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].attempt.job.value, "b");
}

TEST(Dependencies, AFailureCancelsAWholeChainWithTheReason) {
  Bench b;
  b.Register("n");
  b.Submit("j0");
  constexpr int kLong = 5000;
  for (int i = 1; i < kLong; ++i)
    b.SubmitWith("j" + std::to_string(i), After("j" + std::to_string(i - 1)));
  b.Complete("j0", 1, "n", Outcome::kFailed, Cause::kUserError, "labels");
  for (int batch = 0; batch < kLong / 1000; ++batch) b.GoOn();  // some a batch
  for (int i : {1, 2, kLong - 1}) {
    Job job = b.Get("j" + std::to_string(i));
    EXPECT_EQ(job.state, JobState::kCancelled);
    EXPECT_EQ(job.cause, Cause::kDependencyFailed);
  }
  EXPECT_EQ(b.Get("j1").message, "job 'j0', which had to succeed first, has ended Failed");
  EXPECT_EQ(b.jobs.at("j2").state, JobState::kCancelled) << "and it is stored";
}

TEST(Dependencies, AfterAnyEndAFailureIsFineToo) {
  Bench b;
  b.Register("n");
  b.Submit("a");
  b.SubmitWith("b", After("a", true));
  b.Do(CancelJob{.job = JobId{"a"}});
  EXPECT_EQ(b.StateOf("b"), "Queued") << "its processes still end";
  b.Complete("a", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("b"), "Assigned");
}

TEST(Dependencies, AllOfThemMustEnd) {
  Bench b;
  b.Register("n", 4);
  b.Submit("a");
  b.Submit("b");
  Terms terms = After("a");
  terms.after.push_back({JobId{"b"}, false});
  b.SubmitWith("c", terms);
  b.Complete("a", 1, "n");
  EXPECT_EQ(b.StateOf("c"), "Queued");
  b.Do(RemoveJob{.job = JobId{"a"}});
  b.Restart();
  b.Register("n", 4, {{JobId{"b"}, 1}});
  EXPECT_EQ(b.StateOf("c"), "Queued") << "b still runs";
  b.Complete("b", 1, "n");
  EXPECT_EQ(b.StateOf("c"), "Assigned") << "a was deleted after it had succeeded";
}

TEST(Dependencies, TheFailureOfOneOfThemIsEnough) {
  Bench b;
  b.Register("n", 4);
  b.Submit("a");
  b.Submit("b");
  b.SubmitWith("c", {.after = {{JobId{"a"}}, {JobId{"b"}, true}}});
  b.Complete("a", 1, "n", Outcome::kFailed, Cause::kUserError, "labels");
  EXPECT_EQ(b.StateOf("c"), "Cancelled") << "though b may end as it likes";
}

TEST(Dependencies, AJobThatHasTakenTheIdOfAnEndedOneIsNotWaitedFor) {
  Bench b;
  b.Register("n");
  b.Submit("first");
  b.Submit("other");
  b.SubmitWith("last", {.after = {{JobId{"first"}}, {JobId{"other"}}}});
  b.Progress("first", 1, "n");
  b.Progress("other", 1, "n");
  b.Complete("first", 1, "n");
  b.Do(RemoveJob{.job = JobId{"first"}});
  b.SubmitWith("first", After("last"));  // with what is stored, a circle
  EXPECT_EQ(b.StateOf("first"), "Queued");
  b.Restart();
  b.Register("n", 2, {AttemptId{JobId{"other"}, 1}});
  EXPECT_EQ(b.Get("last").message.substr(0, 29), "waits for 1 job: 'other' (Run");
  b.Complete("other", 1, "n");
  EXPECT_EQ(b.StateOf("last"), "Assigned");
  b.Progress("last", 1, "n");
  b.Complete("last", 1, "n");
  EXPECT_EQ(b.StateOf("first"), "Assigned");
}

TEST(Dependencies, WhatCannotComeTrueIsRefused) {
  Bench b;
  b.SubmitWith("a", After("a"));
  EXPECT_EQ(b.reply().status.code(), Code::kInvalidArgument) << "after itself";
  b.SubmitWith("a", After("nobody"));
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Submit("a");
  b.Do(CancelJob{.job = JobId{"a"}});
  b.SubmitWith("b", After("a"));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  b.SubmitWith("b", After("a", true));
  EXPECT_TRUE(b.reply().status.ok());
  b.Register("n");
  EXPECT_EQ(b.StateOf("b"), "Assigned");
}

TEST(Dependencies, ACancelledOrPausedJobWaitsForNothing) {
  Bench b;
  b.Register("n");
  b.Submit("a");
  b.SubmitWith("b", After("a"));
  b.SubmitWith("c", After("a"));
  b.Do(CancelJob{.job = JobId{"b"}});
  b.Do(RemoveJob{.job = JobId{"b"}});
  b.Do(PauseJob{.job = JobId{"c"}});
  b.Complete("a", 1, "n");
  EXPECT_EQ(b.StateOf("c"), "Paused");
  b.Do(ResumeJob{.job = JobId{"c"}});
  EXPECT_EQ(b.StateOf("c"), "Assigned");
}

}  // namespace
}  // namespace cyxwiz::control
