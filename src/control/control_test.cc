#include "control/control.h"

#include <gtest/gtest.h>

#include "control/testing.h"
#include "control/transitions.h"

namespace cyxwiz::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using Outcome = ReportCompletion::Outcome;

TEST(JobLifecycle, AFreeNodeIsNamedInTheReplyToSubmit) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  const Job& job = b.reply<SubmitReply>().view->job;
  EXPECT_EQ(job.state, JobState::kAssigned);
  EXPECT_EQ(job.node.value, "n");
  EXPECT_EQ(job.attempt, 1);
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].endpoint, "n:50052");
  EXPECT_EQ(b.jobs.at("j").state, JobState::kAssigned)
      << "what is assigned is stored with the same batch";
}

TEST(JobLifecycle, WithoutANodeAJobWaitsAndSaysSo) {
  Bench b;
  b.Submit("j");
  const JobView& view = *b.reply<SubmitReply>().view;
  EXPECT_EQ(view.job.state, JobState::kQueued);
  ASSERT_EQ(view.reasons.size(), 1u);
  EXPECT_EQ(view.reasons[0].code, "NO_NODES");
  EXPECT_NE(view.job.message.find("no Server Node"), std::string::npos);
  b.Register("n");
  EXPECT_EQ(b.effects<AssignEffect>().size(), 1u) << "a node that comes is used at once";
}

TEST(JobLifecycle, RunsThenSucceeds) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Accepted("j", 1, "n");
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  b.Progress("j", 1, "n");
  EXPECT_TRUE(b.reply<ReportReply>().continue_job);
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kRunning);
  EXPECT_EQ(job.metrics->at("train_loss"), 0.5);
  EXPECT_NE(job.started_at.ms, 0);
  b.Complete("j", 1, "n");
  job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_EQ(job.progress, 1);
  EXPECT_EQ(b.nodes.at("n").jobs_completed, 1);
  b.Complete("j", 1, "n");
  EXPECT_TRUE(b.reply().status.ok()) << "a completion that is sent again is acknowledged again";
  EXPECT_EQ(b.nodes.at("n").jobs_completed, 1);
}

TEST(JobLifecycle, ReportFromAnOldAttemptChangesNothing) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Register("n");  // restarted without the attempt
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(b.Get("j").attempt, 2);
  b.Progress("j", 1, "n", 0.9);
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  b.Complete("j", 1, "n");
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(b.Get("j").retries, 0) << "losing a node is not the job's failure";
}

TEST(JobLifecycle, ReportFromAForeignNodeChangesNothing) {
  Bench b;
  b.Register("n");
  b.Register("m");
  b.Submit("j");
  std::string other = b.Get("j").node.value == "n" ? "m" : "n";
  b.Complete("j", 1, other);
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_EQ(b.StateOf("j"), "Assigned");
}

TEST(JobLifecycle, TheUsersOwnErrorIsNeverRetried) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Complete("j", 1, "n", Outcome::kFailed, Cause::kUserError, "label 7 of 5 classes");
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.attempt, 1);
  EXPECT_EQ(job.error->message, "label 7 of 5 classes");
}

TEST(JobLifecycle, ACrashIsRetriedWithBackoffUpToTheLimit) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  for (int attempt = 1; attempt <= 2; ++attempt) {
    b.Complete("j", attempt, "n", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
    b.Do(GetJob{.job = JobId{"j"}});
    const JobView& view = b.reply<JobReply>().view;
    EXPECT_EQ(view.job.state, JobState::kQueued);
    EXPECT_EQ(view.reasons[0].code, "BACKOFF");
    EXPECT_NE(view.job.message.find("signal 11"), std::string::npos);
    // 1 s, then 2 s, each a quarter more or less.
    b.Pass(milliseconds(740) * attempt);
    EXPECT_TRUE(b.effects<AssignEffect>().empty());
    b.Pass(milliseconds(520) * attempt);
    EXPECT_EQ(b.effects<AssignEffect>().size(), 1u);
    EXPECT_EQ(b.Get("j").attempt, attempt + 1);
    b.Beat("n", {{JobId{"j"}, attempt + 1}});
  }
  b.Complete("j", 3, "n", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
  EXPECT_EQ(b.StateOf("j"), "Failed");
  EXPECT_EQ(b.Get("j").cause, Cause::kRunnerCrashed);
}

TEST(JobLifecycle, WhatRanOutOfEstimatedMemoryGetsTwiceAsMuchWhileANodeHasIt) {
  Bench b;
  b.Register("n");
  const int64_t most = b.nodes.at("n").capacity.memory_bytes;
  SubmitJob command = Bench::SubmitCommand("j");
  command.job.resources.memory_bytes = most / 3;
  command.job.max_retries = 5;
  b.Do(command);
  auto run_out = [&b](int attempt, Code code) {
    b.Do(ReportCompletion{.node = NodeId{"n"},
                          .attempt = {JobId{"j"}, attempt},
                          .outcome = Outcome::kFailed,
                          .cause = Cause::kOutOfMemory,
                          .error = {static_cast<int32_t>(code), "not enough", ""}});
  };
  auto next = [&b](int attempt) {
    b.Beat("n");
    b.Pass(seconds(5));
    b.Beat("n");
    b.Pass(seconds(5));
    const Job job = b.Get("j");
    EXPECT_EQ(job.state, JobState::kAssigned);
    EXPECT_EQ(job.attempt, attempt);
    return job.resources.memory_bytes;
  };
  run_out(1, Code::kResourceExhausted);
  EXPECT_EQ(next(2), most / 3) << "what it had is what it named";
  run_out(2, Code::kOutOfRange);
  EXPECT_NE(b.Get("j").message.find("retry 2 of 5 with " + FormatBytes(most / 3 * 2)),
            std::string::npos)
      << b.Get("j").message;
  b.Restart();
  b.Register("n");
  EXPECT_EQ(next(3), most / 3 * 2);
  run_out(3, Code::kOutOfRange);
  EXPECT_EQ(next(4), most) << "all that the largest node has";
  run_out(4, Code::kOutOfRange);
  const Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.cause, Cause::kOutOfMemory);
  EXPECT_EQ(job.message,
            "not enough; no node has more memory than the " + FormatBytes(most) + " that it had");
}

TEST(JobLifecycle, TheTransitionTableKeepsFinalStatesFinal) {
  for (JobState from : {JobState::kSucceeded, JobState::kFailed, JobState::kCancelled}) {
    for (int to = 1; to <= 7; ++to) EXPECT_FALSE(IsLegal(from, static_cast<JobState>(to)));
  }
  EXPECT_FALSE(IsLegal(JobState::kQueued, JobState::kSucceeded));
}

TEST(Submit, SameIdAndBodyIsTheSameJobAnotherBodyIsRefused) {
  Bench b;
  b.Submit("j", 1, 1, "one");
  int64_t sequence = b.reply<SubmitReply>().view->job.sequence;
  b.Submit("j", 1, 1, "one");
  EXPECT_TRUE(b.reply<SubmitReply>().existed);
  EXPECT_EQ(b.reply<SubmitReply>().view->job.sequence, sequence);
  b.Submit("j", 1, 1, "two");
  EXPECT_EQ(b.reply().status.code(), Code::kAlreadyExists);
  EXPECT_EQ(b.control().counters().submitted, 1);
}

TEST(Submit, AJobThatNoNodeCouldEverHoldIsRefusedWithTheNumbers) {
  Bench b;
  b.Register("n", 2);
  b.Submit("j", 64);
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_NE(b.reply().status.message().find("64 cores"), std::string::npos);
  EXPECT_TRUE(b.jobs.empty());
}

TEST(Submit, AFullQueueRefuses) {
  Bench b({.max_queued = 2});
  b.Submit("1");
  b.Submit("2");
  b.Submit("3");
  EXPECT_EQ(b.reply().status.code(), Code::kResourceExhausted);
}

TEST(Cancel, AQueuedJobEndsAtOnce) {
  Bench b;
  b.Submit("j");
  b.Do(CancelJob{.job = JobId{"j"}, .reason = "typo"});
  EXPECT_EQ(b.reply<JobReply>().view.job.state, JobState::kCancelled);
  EXPECT_EQ(b.reply<JobReply>().view.job.message, "cancelled: typo");
  b.Register("n");
  EXPECT_TRUE(b.effects<AssignEffect>().empty());
}

TEST(Cancel, ARunningJobEndsOnlyWhenItsNodeSaysSo) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Do(CancelJob{.job = JobId{"j"}});
  EXPECT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_TRUE(b.jobs.at("j").cancel_requested) << "the intent is durable";
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u)
      << "a lost stop is repeated by the heartbeat";
  b.Progress("j", 1, "n");
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("j"), "Cancelled");
}

TEST(Cancel, SurvivesARestartOfTheServer) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Do(CancelJob{.job = JobId{"j"}});
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<RegisterReply>().stop.size(), 1u);
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("j"), "Cancelled");
}

TEST(Cancel, AnEndedJobCannotBeCancelled) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Complete("j", 1, "n");
  b.Do(CancelJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
}

TEST(Lease, WhenItRunsOutTheJobGoesToAnotherNode) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Pass(seconds(9));
  b.Beat("n", {{JobId{"j"}, 1}});
  b.Register("m");
  b.Pass(seconds(9));
  b.Beat("m");
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Pass(seconds(1));
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kAssigned);
  EXPECT_EQ(job.node.value, "m");
  EXPECT_EQ(job.attempt, 2);
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<RegisterReply>().stop.size(), 1u)
      << "the old node stops what is no longer its own";
}

TEST(Lease, AnAttemptThatItsNodeNoLongerListsIsLost) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  for (int i = 0; i < 4; ++i) {
    b.Pass(seconds(3));
    b.Beat("n");
  }
  EXPECT_EQ(b.Get("j").attempt, 2);
}

TEST(Restart, RunningAttemptsAreAdopted) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Restart();
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound)
      << "a node of before the restart registers again";
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_TRUE(b.reply<RegisterReply>().stop.empty());
  EXPECT_EQ(b.StateOf("j"), "Running");
  EXPECT_EQ(b.Get("j").attempt, 1);
  b.Complete("j", 1, "n");
  EXPECT_EQ(b.StateOf("j"), "Succeeded");
}

TEST(Restart, AnAttemptWhoseNodeDoesNotComeBackIsQueuedAgainAfterOneLease) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Restart();
  b.Pass(seconds(9));
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Pass(seconds(1));
  EXPECT_EQ(b.StateOf("j"), "Queued");
}

TEST(Assign, ARefusalTriesAgainAfterAMoment) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Do(AssignOutcome{{JobId{"j"}, 1}, NodeId{"n"}, AssignOutcome::Kind::kRejected, "disk is full"});
  EXPECT_TRUE(b.effects<AssignEffect>().empty());
  b.Do(GetJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply<JobReply>().view.reasons[0].code, "NODES_HELD");
  EXPECT_NE(b.Get("j").message.find("disk is full"), std::string::npos);
  b.Pass(seconds(1));
  EXPECT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.Get("j").retries, 0);
}

TEST(Completion, ANodesOwnTroubleIsNotCountedAndAnotherNodeIsPreferred) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Complete("j", 1, "n", ReportCompletion::Outcome::kFailed, Cause::kNodeLost, "disk is full");
  EXPECT_EQ(b.StateOf("j"), "Queued");
  EXPECT_EQ(b.Get("j").retries, 0);
  EXPECT_EQ(b.Get("j").cause, Cause::kNodeLost);
  EXPECT_NE(b.Get("j").message.find("disk is full"), std::string::npos) << b.Get("j").message;
  b.Register("m");
  b.Beat("n");
  b.Pass(milliseconds(1250));
  EXPECT_EQ(b.StateOf("j"), "Assigned") << "after a first wait of 1 s, a quarter more or less";
  EXPECT_EQ(b.Get("j").node.value, "m");
}

TEST(Completion, ANodesOwnTroubleIsTriedAgainWithBackoffForEver) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  for (int i = 1; i <= 20; ++i) {
    b.Progress("j", i, "n");
    b.Complete("j", i, "n", ReportCompletion::Outcome::kFailed, Cause::kNodeLost, "disk is full");
    EXPECT_EQ(b.StateOf("j"), "Queued");
    int waited = 0;
    for (; b.StateOf("j") == "Queued" && waited < 200; ++waited) {
      b.Beat("n");
      b.Pass(seconds(1));
    }
    // Alone, the node is held twice as long as the job waits, which is a quarter more or less.
    const double twice = std::min(2.0 * (1 << (i - 1)), 120.0);
    EXPECT_GE(waited, 0.75 * twice) << i;
    EXPECT_LE(waited, 1.25 * twice + 1) << i;
  }
  EXPECT_EQ(b.Get("j").retries, 0);
}

TEST(Assign, ANodeThatGoesOnRefusingIsAskedLessAndLess) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  auto refuse = [&] {
    b.Do(AssignOutcome{{JobId{"j"}, b.Get("j").attempt},
                       NodeId{"n"},
                       AssignOutcome::Kind::kRejected,
                       "disk is full"});
  };
  for (int wait : {1, 2, 4}) {
    refuse();
    b.Beat("n");
    b.Pass(seconds(wait) - std::chrono::milliseconds(1));
    EXPECT_EQ(b.StateOf("j"), "Queued") << wait;
    b.Beat("n");
    b.Pass(std::chrono::milliseconds(1));
    EXPECT_EQ(b.StateOf("j"), "Assigned") << wait;
  }
  b.Accepted("j", 4, "n");
  b.Complete("j", 4, "n");
  b.Submit("k");
  b.Do(AssignOutcome{{JobId{"k"}, 1}, NodeId{"n"}, AssignOutcome::Kind::kRejected, "again"});
  b.Pass(seconds(1));
  EXPECT_EQ(b.StateOf("k"), "Assigned") << "it has taken one since";
}

TEST(Assign, ANodeThatWasNotReachedIsAskedToRegisterAgainBeforeTheJobGoesOn) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Do(AssignOutcome{
      {JobId{"j"}, 1}, NodeId{"n"}, AssignOutcome::Kind::kUnreachable, "deadline exceeded"});
  EXPECT_EQ(b.StateOf("j"), "Assigned") << "the node may have taken it all the same";
  b.Submit("k");
  EXPECT_EQ(b.StateOf("k"), "Queued") << "nothing more goes there";
  b.Beat("n");
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Register("n");
  ASSERT_EQ(b.effects<AssignEffect>().size(), 2u);
  EXPECT_EQ(b.Get("j").attempt, 2);
}

TEST(Assign, ANodeThatWasNotReachedButTookTheAttemptKeepsIt) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Do(AssignOutcome{{JobId{"j"}, 1}, NodeId{"n"}, AssignOutcome::Kind::kUnreachable, "reset"});
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_TRUE(b.effects<AssignEffect>().empty());
  b.Progress("j", 1, "n");
  EXPECT_EQ(b.StateOf("j"), "Running");
  EXPECT_EQ(b.Get("j").attempt, 1);
}

TEST(Assign, NoOutcomeInTimeIsLikeANodeThatWasNotReached) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Pass(seconds(5));
  b.Beat("n");
  b.Pass(seconds(5));
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  b.Beat("n");
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Pass(seconds(5));
  EXPECT_EQ(b.StateOf("j"), "Queued") << "at the latest when the lease ends";
}

TEST(Assign, EachAttemptNamesTheSessionItIsGivenTo) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].session, "session-n");
}

TEST(Assign, NodesAreNeverOversold) {
  Bench b;
  b.Register("n", 2);
  for (int i = 0; i < 5; ++i) b.Submit("j" + std::to_string(i));
  EXPECT_EQ(b.control().counters().jobs_by_state[static_cast<int>(JobState::kAssigned)], 2);
  b.Complete("j0", 1, "n");
  EXPECT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].job.id.value, "j2");
}

TEST(Progress, ReachesTheStoreWithinASecondNotAtOnce) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n", 0.1);
  b.Progress("j", 1, "n", 0.2);
  EXPECT_EQ(b.jobs.at("j").progress, 0.1)
      << "the change to Running was stored, the progress after it not yet";
  b.Pass(seconds(1));
  EXPECT_EQ(b.jobs.at("j").progress, 0.2);
}

TEST(Progress, MetricsAreBounded) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  std::map<std::string, double> many;
  for (int i = 0; i < 1000; ++i) many["m" + std::to_string(i)] = i;
  many[std::string(kMaxMetricNameBytes + 1, 'x')] = 1;
  b.Do(ReportProgress{.node = NodeId{"n"}, .attempt = {JobId{"j"}, 1}, .metrics = many});
  EXPECT_EQ(b.Get("j").metrics->size(), kMaxMetrics);
  b.Do(ReportProgress{.node = NodeId{"n"}, .attempt = {JobId{"j"}, 1}, .metrics = {{"m0", 7}}});
  EXPECT_EQ(b.Get("j").metrics->at("m0"), 7) << "those it has go on";
}

TEST(Retry, TheNextAttemptDoesNotCarryTheErrorOfTheOneBefore) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Complete("j", 1, "n", ReportCompletion::Outcome::kFailed, Cause::kRunnerCrashed, "SIGSEGV");
  EXPECT_EQ(b.Get("j").error->message, "SIGSEGV") << "while it waits for the retry";
  EXPECT_TRUE(b.Get("j").metrics->empty());
  b.Pass(seconds(2));
  b.Progress("j", 2, "n");
  EXPECT_EQ(b.Get("j").error->message, "");
}

TEST(Nodes, ALostNodeMustRegisterAgainBeforeItIsHeard) {
  Bench b;
  b.Register("n");
  b.Pass(seconds(10));
  b.Beat("n");
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound)
      << "an AssignJob of before is still under way, and void once the node has a new session";
}

TEST(Nodes, ARegistrationThatANewerOneOvertookChangesNothing) {
  Bench b;
  auto register_at = [&b](const std::string& boot, int64_t number, const std::string& session) {
    Node node{.id = NodeId{"n"}, .endpoint = "n:1", .capacity = {2000, 8 * kGiB, 0}};
    b.Do(RegisterNode{.node = node, .session = session, .boot = boot, .number = number});
  };
  register_at("one", 20, "new");
  b.Submit("j");
  b.Accepted("j", 1, "n");
  register_at("one", 10, "old");
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  b.Do(Heartbeat{.node = NodeId{"n"}, .session = "new", .active = {{JobId{"j"}, 1}}});
  EXPECT_TRUE(b.reply().status.ok());
  register_at("two", 5, "newest");
  EXPECT_TRUE(b.reply().status.ok()) << "the machine was started again, and its count with it";
}

TEST(Nodes, AWrongSessionIsRefused) {
  Bench b;
  b.Register("n");
  b.Do(Heartbeat{.node = NodeId{"n"}, .session = "stale"});
  EXPECT_EQ(b.reply().status.code(), Code::kUnauthenticated);
  b.Do(Heartbeat{.node = NodeId{"x"}, .session = ""});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
}

TEST(List, PagesNewestFirstAndFilters) {
  Bench b;
  for (int i = 1; i <= 5; ++i) b.Submit("j" + std::to_string(i));
  b.Do(CancelJob{.job = JobId{"j3"}});
  b.Do(ListJobs{.page_size = 2});
  ListReply page = b.reply<ListReply>();
  EXPECT_EQ(page.total, 5);
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.jobs[0].job.id.value, "j5");
  b.Do(ListJobs{.page_size = 2,
                .after_sequence = page.next_after_sequence,
                .filter = {.states = {JobState::kQueued}}});
  page = b.reply<ListReply>();
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.jobs[0].job.id.value, "j2");
  EXPECT_EQ(page.total, 4);
  EXPECT_EQ(page.next_after_sequence, 0);
  b.Do(ListJobs{.filter = {.user = "nobody"}});
  EXPECT_EQ(b.reply<ListReply>().total, 0);
}

TEST(Remove, OnlyEndedJobs) {
  Bench b;
  b.Submit("j");
  b.Do(RemoveJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  b.Do(CancelJob{.job = JobId{"j"}});
  b.Do(RemoveJob{.job = JobId{"j"}});
  EXPECT_TRUE(b.reply().status.ok());
  EXPECT_TRUE(b.jobs.empty());
  EXPECT_TRUE(b.bodies.empty());
  b.Do(GetJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Submit("j");
  EXPECT_EQ(b.bodies.size(), 1u) << "the body is stored again for the new job";
}

TEST(Remove, AnIdSubmittedAgainInTheSameBatchIsStored) {
  Bench b;
  b.Submit("j");
  b.Do(CancelJob{.job = JobId{"j"}});
  b.DoBatch({RemoveJob{.job = JobId{"j"}}, Bench::SubmitCommand("j")});
  ASSERT_TRUE(b.jobs.contains("j"));
  EXPECT_EQ(b.jobs.at("j").state, JobState::kQueued);
  EXPECT_TRUE(b.bodies.contains(b.jobs.at("j").body));
  b.Restart();
  EXPECT_EQ(b.StateOf("j"), "Queued");
}

TEST(Remove, AJobWithTheIdOfARemovedOneGoesOnCountingAttempts) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Complete("j", 1, "n");
  int64_t sequence = b.Get("j").sequence;
  b.Do(RemoveJob{.job = JobId{"j"}});
  b.Restart();
  b.Register("n");
  b.Submit("j");
  EXPECT_EQ(b.Get("j").attempt, 2);
  EXPECT_GT(b.Get("j").sequence, sequence);
  b.Complete("j", 1, "n");  // again, because its answer was lost
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_TRUE(b.Get("j").artifacts->empty());
}

TEST(Remove, OnlyTheNewestRemovedJobsAreRemembered) {
  Bench b({.max_removed = 2});
  b.Register("n");
  for (std::string id : {"1", "2", "3", "2"}) {
    b.Submit(id);
    b.Complete(id, b.Get(id).attempt, "n");
    b.Do(RemoveJob{.job = JobId{id}});
  }
  EXPECT_EQ(b.removed.size(), 2u);
  EXPECT_EQ(b.removed.at("2").attempt, 2);
  EXPECT_EQ(b.removed.at("3").attempt, 1);
}

std::string Found(Bench& b, const std::string& text) {
  b.Do(FindJobs{.text = text});
  std::string ids;
  for (const JobId& id : b.reply<FoundReply>().jobs) ids += id.value + " ";
  return ids;
}

TEST(Control, FindsJobsThatHaveNotEndedByTheirConfiguration) {
  Bench b;
  b.Register("n1", 1);
  b.Submit("a", 1, 1, "reads x of y");
  b.Submit("b", 1, 1, "reads x");
  b.Submit("c", 1, 1, "reads z");
  EXPECT_EQ(Found(b, "x"), "a b ");
  EXPECT_EQ(Found(b, "of y"), "a ");
  EXPECT_EQ(Found(b, "w"), "");
  b.Accepted("a", 1, "n1");
  b.Progress("a", 1, "n1");
  b.Do(PauseJob{.job = {"b"}});
  EXPECT_EQ(Found(b, "x"), "a b ");
  b.Complete("a", 1, "n1");
  EXPECT_EQ(Found(b, "x"), "b ");
  b.Restart();
  EXPECT_EQ(Found(b, "x"), "b ");
}

}  // namespace
}  // namespace cyxwiz::control
