// Arrays: one job that stands for many alike, which need memory only while they run.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

void SubmitArray(Bench& b, const std::string& id, int64_t size, int64_t max_parallel = 0,
                 Terms terms = {}, int64_t cores = 1) {
  SubmitJob command = Bench::SubmitCommand(id, cores);
  Array array;
  array.size = size;
  array.max_parallel = max_parallel;
  command.job.array = std::make_shared<const Array>(array);
  command.job.max_retries = 1;
  if (terms != Terms()) command.job.terms = std::make_shared<const Terms>(std::move(terms));
  b.Do(std::move(command));
}

std::vector<std::string> Ids(const Bench& b) {
  std::vector<std::string> ids;
  for (const JobView& view : b.reply<ListReply>().jobs) ids.push_back(view.job.id.value);
  return ids;
}
using List = std::vector<std::string>;

TEST(Arrays, MembersStartInOrderWhereThereIsRoom) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 4);
  EXPECT_EQ(b.jobs.size(), 3u) << "the array and two members";
  EXPECT_EQ(b.StateOf("a.0"), "Assigned");
  EXPECT_EQ(b.StateOf("a.1"), "Assigned");
  EXPECT_EQ(b.StateOf("a.2"), "Queued") << "told from the array's own row";
  EXPECT_EQ(b.StateOf("a"), "Queued");
  b.Do(GetJob{.job = {"a.4"}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Complete("a.0", 1, "n");
  EXPECT_EQ(b.StateOf("a.2"), "Assigned");
  for (const char* id : {"a.1", "a.2"}) b.Complete(id, 1, "n");
  EXPECT_EQ(b.StateOf("a"), "Running") << "none is left to start";
  b.Complete("a.3", 1, "n");
  EXPECT_EQ(b.StateOf("a"), "Succeeded");
  EXPECT_EQ(b.Get("a").array->succeeded, 4);
  EXPECT_EQ(b.Get("a").progress, 1);
}

const std::vector<JobState> kPending = {JobState::kQueued, JobState::kAssigned, JobState::kPaused};

TEST(Arrays, AFilterOfThoseThatWaitLetsTheMembersGoOnThatRun) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 4);
  for (const char* id : {"a.0", "a.1"}) b.Progress(id, 1, "n");
  b.Do(CancelJobs{.filter = {.states = kPending}, .reason = "late"});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 1) << "the array";
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelled, 0);
  EXPECT_EQ(b.StateOf("a.0"), "Running");
  EXPECT_FALSE(b.Get("a.0").cancel_requested);
  EXPECT_EQ(b.StateOf("a.2"), "Cancelled");
  b.Do(CancelJobs{.filter = {.states = kPending}});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 0) << "none waits any more";
  b.Restart();
  b.Register("n", 2, {{JobId{"a.0"}, 1}, {JobId{"a.1"}, 1}});
  for (const char* id : {"a.0", "a.1"}) b.Complete(id, 1, "n");
  EXPECT_EQ(b.StateOf("a"), "Cancelled") << "none of the others has started";
  EXPECT_EQ(b.Get("a").array->succeeded, 2);
}

TEST(Arrays, MembersThatPausedWhileTheRestWasCancelledAreResumedWithTheirArray) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 2);
  b.Progress("a.0", 1, "n");
  b.Do(PauseJob{.job = {"a"}});
  b.Do(CancelJobs{.filter = {.states = kPending}});
  b.Complete("a.0", 1, "n", Outcome::kCancelled);
  ASSERT_EQ(b.StateOf("a.0"), "Paused");
  b.Do(ResumeJob{.job = {"a"}});
  EXPECT_EQ(b.StateOf("a.0"), "Assigned");
  b.Complete("a.0", 2, "n");
  EXPECT_EQ(b.StateOf("a"), "Cancelled");
}

TEST(Arrays, AFilterOfThoseThatRunLetsTheMembersStartThatWait) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 4);
  b.Progress("a.0", 1, "n");
  for (const JobFilter& others : {JobFilter{.user = "nobody", .states = {JobState::kRunning}},
                                  JobFilter{.type = 4, .states = {JobState::kRunning}}}) {
    b.Do(CancelJobs{.filter = others});
    EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 0);
  }
  b.Do(CancelJobs{.filter = {.states = {JobState::kRunning}}});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 1);
  EXPECT_TRUE(b.Get("a.0").cancel_requested);
  EXPECT_EQ(b.StateOf("a.1"), "Assigned");
  EXPECT_FALSE(b.Get("a").cancel_requested);
  b.Complete("a.0", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("a.2"), "Assigned");
}

TEST(Arrays, AFilterThatMeansAllOfAnArrayCancelsIt) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 2);
  for (const char* id : {"a.0", "a.1"}) b.Progress(id, 1, "n");
  b.Do(CancelJobs{.filter = {.states = {JobState::kRunning}}});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 1);
  for (const char* id : {"a.0", "a.1"}) b.Complete(id, 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("a"), "Cancelled");
}

TEST(Arrays, AMillionMembersAreOneRow) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", kMaxArraySize);
  EXPECT_EQ(b.jobs.size(), 3u);
  EXPECT_EQ(b.Get("a").array->started, 2);
  EXPECT_EQ(b.StateOf("a.999999"), "Queued");
}

TEST(Arrays, NoMoreRunThanItLets) {
  Bench b;
  b.Register("n", 8);
  SubmitArray(b, "a", 5, 2);
  EXPECT_EQ(b.Get("a").array->started, 2);
  b.Do(GetJob{.job = {"a"}});
  EXPECT_EQ(b.reply<JobReply>().view.reasons.at(0).code, "ARRAY_PARALLEL");
  EXPECT_EQ(b.reply<JobReply>().view.reasons.at(0).message,
            "2 of its members run, as many as it lets");
  b.Submit("other", 6);
  EXPECT_EQ(b.StateOf("other"), "Assigned") << "others are not held up";
  b.Complete("a.1", 1, "n");
  EXPECT_EQ(b.Get("a").array->started, 3);
  b.Complete("a.0", 1, "n", Outcome::kFailed, Cause::kRunnerCrashed);
  EXPECT_EQ(b.Get("a").array->started, 3) << "one that waits to be tried again counts";
}

TEST(Arrays, AListShowsTheArrayAndOnRequestItsMembers) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 5);
  b.Complete("a.0", 1, "n");
  b.Do(ListJobs{});
  EXPECT_EQ(Ids(b), List{"a"});
  EXPECT_EQ(b.reply<ListReply>().total, 1);
  b.Do(ListJobs{.filter = {.array_id = {"a"}}});
  EXPECT_EQ(Ids(b), (List{"a.2", "a.1", "a.0"}));
  EXPECT_EQ(b.reply<ListReply>().total, 3);
  b.Do(ListJobs{.page_size = 1, .filter = {.states = {JobState::kAssigned}, .array_id = {"a"}}});
  EXPECT_EQ(Ids(b), List{"a.2"});
  EXPECT_EQ(b.reply<ListReply>().total, 2);
  EXPECT_NE(b.reply<ListReply>().next_after_sequence, 0);
  b.Submit("plain");
  b.Do(ListJobs{.filter = {.array_id = {"plain"}}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
}

TEST(Arrays, CancelledAsAWhole) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 100);
  b.Do(CancelJob{.job = {"a"}, .reason = "enough"});
  EXPECT_EQ(b.effects<StopEffect>().size(), 2u);
  EXPECT_EQ(b.StateOf("a"), "Running") << "until the processes have ended";
  EXPECT_EQ(*b.Get("a.0").cancel_reason, "enough");
  b.Complete("a.0", 1, "n", Outcome::kCancelled);
  b.Complete("a.1", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("a"), "Cancelled");
  EXPECT_EQ(b.StateOf("a.50"), "Cancelled");
  EXPECT_EQ(b.jobs.size(), 3u) << "members that never started have no row";
}

TEST(Arrays, PausedAndResumedAsAWhole) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 3);
  b.Accepted("a.0", 1, "n");
  b.Progress("a.0", 1, "n");
  b.Do(PauseJob{.job = {"a"}});
  EXPECT_EQ(b.StateOf("a"), "Paused");
  b.Do(ResumeJob{.job = {"a"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << "a.0 is still pausing";
  b.Yield("a.0", 1, "n");
  EXPECT_EQ(b.StateOf("a.0"), "Paused");
  EXPECT_EQ(b.Get("a").array->started, 1) << "nothing starts meanwhile";
  b.Do(ResumeJob{.job = {"a"}});
  EXPECT_TRUE(b.StateOf("a.0") == "Assigned" || b.StateOf("a.1") == "Assigned");
}

TEST(Arrays, AFailedMemberFailsTheArrayAtItsEnd) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 2);
  b.Complete("a.0", 1, "n", Outcome::kFailed, Cause::kUserError, "no such column");
  EXPECT_EQ(b.StateOf("a"), "Running") << "the others go on";
  b.Complete("a.1", 1, "n");
  Job job = b.Get("a");
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error->message, "of 2 members 1 failed and 0 were cancelled");
  EXPECT_EQ(job.cause, Cause::kUserError) << "that of the member that failed last";
  b.Do(RetryJob{.job = {"a"}, .new_job = {"again"}});
  EXPECT_EQ(b.Get("again").array->size, 2);
  EXPECT_EQ(b.StateOf("again.0"), "Assigned");
}

TEST(Arrays, OthersMayComeAfterTheWholeArray) {
  Bench b;
  b.Register("n", 2);
  b.Submit("first", 2);
  SubmitArray(b, "a", 2, 0, {.after = {{{"first"}}}});
  b.SubmitWith("last", {.after = {{{"a"}}}});
  EXPECT_EQ(b.Get("a").array->started, 0);
  b.Complete("first", 1, "n");
  b.Complete("a.0", 1, "n");
  EXPECT_EQ(b.StateOf("last"), "Queued");
  b.Complete("a.1", 1, "n");
  EXPECT_EQ(b.StateOf("last"), "Assigned");
}

TEST(Arrays, ARestartGoesOnWhereItStopped) {
  Bench b;
  b.Register("n", 2);
  SubmitArray(b, "a", 5, 3);
  b.Complete("a.0", 1, "n");
  b.Restart();
  EXPECT_EQ(b.Get("a").array->started, 3);
  EXPECT_EQ(b.StateOf("a.0"), "Succeeded");
  b.Register("n", 2, {{{"a.1"}, 1}, {{"a.2"}, 1}});
  b.Complete("a.1", 1, "n");
  EXPECT_EQ(b.StateOf("a.3"), "Assigned");
  for (const char* id : {"a.2", "a.3", "a.4"}) b.Complete(id, 1, "n");
  EXPECT_EQ(b.StateOf("a"), "Succeeded");
}

TEST(Arrays, DeletedWithAllItsMembers) {
  Bench b;
  b.Register("n", 3);
  SubmitArray(b, "a", 3);
  for (const char* id : {"a.0", "a.1", "a.2"}) b.Complete(id, 1, "n");
  b.Do(RemoveJob{.job = {"a.1"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  for (int i = 0; i < 8; ++i) {
    b.Pass(seconds(9));
    b.Beat("n");
  }
  b.Get("a.1");  // in memory again
  b.Do(RemoveJob{.job = {"a"}});
  EXPECT_TRUE(b.reply().status.ok()) << b.reply().status;
  EXPECT_TRUE(b.jobs.empty());
  EXPECT_TRUE(b.bodies.empty());
  EXPECT_EQ(b.control().counters().jobs_by_state[static_cast<int>(JobState::kSucceeded)], 0);
  b.Do(GetJob{.job = {"a.1"}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  SubmitArray(b, "a", 1);
  EXPECT_EQ(b.Get("a.0").attempt, 2) << "no late word of the old a.0 is taken for one of this";
}

TEST(Arrays, TheIdsOfItsMembersAreItsOwn) {
  Bench b;
  b.Submit("x.1");
  SubmitArray(b, "x", 3);
  EXPECT_EQ(b.reply().status.code(), Code::kAlreadyExists);
  SubmitArray(b, "y", 3);
  b.Submit("y.2");
  EXPECT_EQ(b.reply().status.code(), Code::kAlreadyExists);
  b.Submit("y.3");
  EXPECT_TRUE(b.reply().status.ok()) << "it has but three";
}

TEST(Arrays, ALimitEndsIt) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 9, 0, {.limits = {.deadline = {b.now().unix.ms + 5000}}});
  EXPECT_EQ(b.Get("a").array->started, 1);
  b.Pass(seconds(5));
  EXPECT_EQ(b.StateOf("a"), "Running");
  b.Do(CancelJobs{.filter = {.states = {JobState::kQueued}}});
  EXPECT_EQ(b.reply<CancelJobsReply>().cancelling, 0) << "the others will not start anyhow";
  b.Complete("a.0", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("a.0"), "Failed");
  EXPECT_EQ(b.StateOf("a"), "Failed");
  EXPECT_EQ(b.Get("a").cause, Cause::kDeadline);
}

TEST(Arrays, TheLimitOfItsCheckpointsIsThatOfEachMember) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 2, 0, {.limits = {.checkpoint_bytes = 1000}});
  b.Do(ReportProgress{.node = {"n"},
                      .attempt = {{"a.0"}, 1},
                      .checkpoint = {"step-10", 1, 10, {{"state", "sha", 1001}}}});
  EXPECT_FALSE(b.Get("a.0").checkpoint->exists());
}

TEST(Arrays, ItsPriorityIsThatOfItsMembers) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 3);
  b.Do(SetPriority{.job = {"a"}, .priority = 3});
  EXPECT_EQ(b.Get("a.0").priority, 3);
  b.Submit("other", 1, 2);
  b.Complete("a.0", 1, "n");
  EXPECT_EQ(b.StateOf("a.1"), "Assigned");
  EXPECT_EQ(b.Get("a.1").priority, 3);
}

TEST(Arrays, AMemberThatHasNotStartedCannotBeChangedAndSaysWhatCan) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 10);
  EXPECT_EQ(b.Get("a.5").attempt, 0);
  auto expect_told = [&](const char* what) {
    const Status& status = b.reply().status;
    EXPECT_EQ(status.code(), Code::kFailedPrecondition) << what;
    EXPECT_NE(status.message().find("member 5 of the array 'a' and has not started"),
              std::string::npos)
        << what << ": " << status;
    EXPECT_NE(status.hint().find("name 'a' instead"), std::string::npos) << what << ": " << status;
  };
  b.Do(CancelJob{.job = {"a.5"}});
  expect_told("cancel");
  b.Do(PauseJob{.job = {"a.5"}});
  expect_told("pause");
  b.Do(ResumeJob{.job = {"a.5"}});
  expect_told("resume");
  b.Do(SetPriority{.job = {"a.5"}, .priority = 2});
  expect_told("priority");
  b.Do(RetryJob{.job = {"a.5"}, .new_job = {"again"}});
  expect_told("retry");
  b.Do(RemoveJob{.job = {"a.5"}});
  expect_told("delete");
  b.Do(CancelJob{.job = {"a.10"}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound) << "there is none of this number";
}

TEST(Arrays, NothingComesAfterAMemberThatHasNotStarted) {
  Bench b;
  b.Register("n", 1);
  SubmitArray(b, "a", 10);
  b.SubmitWith("later", {.after = {{JobId{"a.5"}}}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_NE(b.reply().status.hint().find("after the array 'a'"), std::string::npos)
      << b.reply().status;
  b.SubmitWith("later", {.after = {{JobId{"a.0"}}}});
  EXPECT_TRUE(b.reply().status.ok()) << b.reply().status;
}

}  // namespace
}  // namespace cyxwiz::control
