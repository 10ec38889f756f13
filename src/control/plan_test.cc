// What explain and plan say, and what a job's status tells of when it may start.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

Options LongLeases() {
  Options options;
  options.lease = options.assign_timeout = hours(1000);
  return options;
}

class PlanTest : public testing::Test {
 protected:
  explicit PlanTest(Options options = LongLeases()) : bench_(std::move(options)) {}

  const PlanReply& Explain(const std::string& id, WhatIf what_if = {}) {
    bench_.Do(ExplainJob{.job = {id}, .what_if = std::move(what_if)});
    return bench_.reply<PlanReply>();
  }
  const PlanReply& Plan(SubmitJob submit, WhatIf what_if = {}) {
    PlanJob plan = Bench::PlanOf(std::move(submit));
    plan.what_if = std::move(what_if);
    bench_.Do(std::move(plan));
    return bench_.reply<PlanReply>();
  }
  // Of the reply to a plan that submitting the job would get, too.
  Status Refusal(const SubmitJob& submit) {
    PlanJob plan = Bench::PlanOf(submit);
    bench_.Do(std::move(plan));
    const Status planned = bench_.reply().status;
    bench_.Do(submit);
    EXPECT_EQ(planned.ToString(), bench_.reply().status.ToString());
    return planned;
  }
  void RegisterWithGpus(const std::string& id, int64_t cores, int64_t gpus, int64_t gib_of_gpu) {
    Node node{.id = {id}, .endpoint = id + ":1", .capacity = {cores * 1000, 8 * kGiB}};
    node.capacity.AddGpus(gpus, gib_of_gpu * kGiB);
    node.devices = gpus > 0 ? std::vector<int32_t>{1, 2} : std::vector<int32_t>{1};
    bench_.Do(RegisterNode{.node = node, .session = "session-" + id});
  }
  // It runs, and is expected to for so long.
  void Run(const std::string& id, Duration expected) {
    const Job job = bench_.Get(id);
    bench_.Progress(id, job.attempt, job.node.value, 0);
    bench_.Pass(expected);
    bench_.Progress(id, job.attempt, job.node.value, 0.5);
  }
  static SubmitJob ArrayCommand(const std::string& id, int64_t size, int64_t max_parallel = 0) {
    SubmitJob command = Bench::SubmitCommand(id);
    command.job.array =
        std::make_shared<const Array>(Array{.size = size, .max_parallel = max_parallel});
    return command;
  }
  static std::vector<std::string> Codes(const PlanReply& plan) {
    std::vector<std::string> codes;
    for (const scheduler::Reason& reason : plan.reasons) codes.push_back(reason.code);
    return codes;
  }
  using List = std::vector<std::string>;

  Bench bench_;
};

// ---- Supposed nodes

TEST_F(PlanTest, ASupposedNodeIsLikeTheLargestButForWhatIsSaid) {
  bench_.Register("n", 2);
  SubmitJob wide = Bench::SubmitCommand("wide", 16);
  EXPECT_FALSE(Plan(wide).could_ever_run);
  const PlanReply& plan = Plan(wide, {.more_nodes = 1, .resources = {16'000}});
  EXPECT_TRUE(plan.could_ever_run);
  EXPECT_EQ(plan.node.value, "what-if-1") << "with the memory of 'n'";
  wide.job.resources.memory_bytes = 9 * kGiB;
  EXPECT_FALSE(Plan(wide, {.more_nodes = 1, .resources = {16'000}}).could_ever_run);
  EXPECT_TRUE(Plan(wide, {.more_nodes = 1, .resources = {16'000, 9 * kGiB}}).could_ever_run);
}

TEST_F(PlanTest, ASupposedNodeHasGpusWithTheMemoryOfTheLargestOrAsSaid) {
  RegisterWithGpus("n", 4, 1, 80);
  SubmitJob job = Bench::SubmitCommand("job");
  job.job.resources.gpu_millis = 2000;
  job.job.resources.gpu_memory_bytes = 80 * kGiB;
  WhatIf two{.more_nodes = 1, .resources = {0, 0, 2000}};
  EXPECT_EQ(Plan(job, two).node.value, "what-if-1");
  two.resources.gpu_memory_bytes = 24 * kGiB;
  EXPECT_FALSE(Plan(job, two).could_ever_run);
  WhatIf larger{.more_nodes = 1};
  larger.resources.gpu_memory_bytes = 96 * kGiB;
  job.job.resources.gpu_millis = 1000;
  job.job.resources.gpu_memory_bytes = 96 * kGiB;
  EXPECT_EQ(Plan(job, larger).node.value, "what-if-1") << "one, as 'n' has, but larger";
}

TEST_F(PlanTest, ASupposedNodeOfAFleetWithoutGpusGetsThoseThatAreSaid) {
  RegisterWithGpus("n", 4, 0, 0);
  SubmitJob job = Bench::SubmitCommand("job");
  job.job.device = 2;
  job.job.resources.gpu_millis = 1000;
  EXPECT_EQ(Plan(job, {.more_nodes = 1, .resources = {0, 0, 1000}}).node.value, "what-if-1");
}

TEST_F(PlanTest, NothingIsSupposedOfWhichNothingIsKnown) {
  PlanJob plan = Bench::PlanCommand(1);
  plan.what_if = {.more_nodes = 1, .resources = {16'000}};
  bench_.Do(plan);
  EXPECT_EQ(bench_.reply().status.code(), Code::kFailedPrecondition);
  plan.what_if.resources.memory_bytes = kGiB;
  bench_.Do(plan);
  EXPECT_EQ(bench_.reply<PlanReply>().node.value, "what-if-1");
}

// ---- What the scheduler would do

TEST_F(PlanTest, WhoIsKeptFromANodeDoesNotStartThereNow) {
  bench_.Register("n", 4);
  auto limited = [](const std::string& id, int64_t cores, Duration run) {
    SubmitJob command = Bench::SubmitCommand(id, cores);
    command.job.terms = std::make_shared<const Terms>(Terms{.limits = {.run = run}});
    return command;
  };
  for (const char* id : {"s0", "s1"}) {
    bench_.Do(limited(id, 2, minutes(50)));
    bench_.Progress(id, 1, "n", 0);
  }
  bench_.Submit("large", 4);
  bench_.Do(limited("s2", 2, minutes(50)));
  bench_.Pass(seconds(1));
  bench_.Complete("s0", 1, "n");  // s2 passes the large one by
  bench_.Progress("s2", 1, "n", 0);
  bench_.Pass(minutes(2));
  bench_.Do(CancelJob{.job = {"s1"}});
  bench_.Complete("s1", 1, "n", Outcome::kCancelled);
  bench_.Submit("late", 2);
  const PlanReply plan = Explain("late");
  EXPECT_EQ(Codes(plan), List{"NODES_KEPT"});
  EXPECT_TRUE(plan.node.empty()) << plan.node;
  EXPECT_EQ(plan.smallest_change, "the job that node 'n' is kept for must start first");
}

TEST_F(PlanTest, APlanNamesTheNodeThatKeepsTheData) {
  bench_.Register("a", 2);
  bench_.Register("b", 2);
  bench_.Do(Heartbeat{.node = {"b"}, .session = "session-b", .data = std::vector<ContentKey>{77}});
  SubmitJob reads = Bench::SubmitCommand("reads");
  reads.job.data = 77;
  EXPECT_EQ(Plan(reads).node.value, "b");
  bench_.Do(reads);
  EXPECT_EQ(bench_.Get("reads").node.value, "b");
}

TEST_F(PlanTest, RoomThatIsMadeForAnotherIsNotPromised) {
  Options options = LongLeases();
  options.preemption = {.on = true, .min_run = seconds(0), .most = 3};
  Bench b(options);
  b.Register("n", 2);
  b.Submit("low", 2, 0);
  b.Accepted("low", 1, "n");
  b.Progress("low", 1, "n", 0);
  b.Submit("high", 2, 2);
  b.Do(ExplainJob{.job = {"high"}});
  EXPECT_EQ(b.reply<PlanReply>().smallest_change,
            "job 'low' must end, to make room for it as asked");
  ASSERT_TRUE(b.reply<PlanReply>().estimated_start);
  EXPECT_LE(*b.reply<PlanReply>().estimated_start, UnixTime{b.now().unix.ms + 60'000});
  b.Do(Bench::PlanCommand(1, 0));
  EXPECT_FALSE(b.reply<PlanReply>().estimated_start) << "it comes after 'high'";
}

TEST_F(PlanTest, ANodeThatIsHeldIsExpectedOnceItIsAskedAgain) {
  bench_.Register("n", 2);
  bench_.Submit("one", 1);
  bench_.Do(AssignOutcome{
      .attempt = {{"one"}, 1}, .node = {"n"}, .kind = AssignOutcome::Kind::kRejected});
  bench_.Submit("two", 1);
  const PlanReply plan = Explain("two");
  EXPECT_EQ(Codes(plan), List{"NODES_HELD"});
  EXPECT_TRUE(plan.node.empty());
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_GT(*plan.estimated_start, bench_.now().unix);
}

// ---- Arrays

TEST_F(PlanTest, EachMemberOfAnArrayThatIsAheadCounts) {
  bench_.Register("n", 1);
  bench_.Submit("runs", 1);
  Run("runs", seconds(10));
  bench_.Do(ArrayCommand("array", 300));
  bench_.Submit("behind", 1);
  PlanReply plan = Explain("behind");
  EXPECT_EQ(plan.queue_position, 301);
  EXPECT_EQ(plan.jobs_queued, 301);
  EXPECT_FALSE(plan.estimated_start) << "how long a member runs is not known";
  bench_.Complete("runs", 1, "n");  // after 10 s
  bench_.Progress("array.0", 1, "n", 0);
  plan = Explain("behind");
  EXPECT_EQ(plan.queue_position, 300);
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - bench_.now().unix.ms, 300 * 10'000);
}

TEST_F(PlanTest, AnArrayThatLetsFewRunTakesAsLongAsItTakes) {
  bench_.Register("n", 2);
  bench_.Submit("runs", 1);
  Run("runs", seconds(10));
  bench_.Complete("runs", 1, "n");
  bench_.Do(ArrayCommand("array", 4, 1));
  bench_.Progress("array.0", 1, "n", 0);
  PlanReply plan = Explain("array");
  EXPECT_EQ(Codes(plan), List{"ARRAY_PARALLEL"});
  EXPECT_EQ(plan.smallest_change, "a member of it that runs must end");
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - bench_.now().unix.ms, 10'000);
  plan = Explain("array.3");
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - bench_.now().unix.ms, 30'000);
  EXPECT_EQ(plan.queue_position, 3);
  bench_.Submit("wide", 2);
  plan = Explain("wide");
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - bench_.now().unix.ms, 40'000) << "behind all of its members";
}

TEST_F(PlanTest, ALongArrayAheadIsCountedAndNotForecast) {
  bench_.Register("n", 1);
  bench_.Do(ArrayCommand("array", 1'000'000));
  bench_.Submit("behind", 1);
  const PlanReply plan = Explain("behind");
  EXPECT_EQ(plan.queue_position, 1'000'000);
  EXPECT_EQ(plan.estimate_basis, "more than 1000 jobs are ahead");
}

TEST_F(PlanTest, AMemberThatHasNotStartedIsExplainedByItsArray) {
  bench_.Register("n", 2);
  bench_.Do(ArrayCommand("array", 10));
  const PlanReply plan = Explain("array.5");
  EXPECT_EQ(plan.view.job.id.value, "array.5");
  EXPECT_EQ(plan.view.job.attempt, 0) << "the array's is that of members that run";
  EXPECT_EQ(Codes(plan), List{"NOT_ENOUGH_FREE"});
  EXPECT_EQ(plan.queue_position, 4);
  bench_.Do(GetJob{.job = {"array.5"}});
  const JobView& view = bench_.reply<JobReply>().view;
  ASSERT_TRUE(view.outlook);
  EXPECT_EQ(view.outlook->queue_position, 4);
}

// ---- Jobs that are not due

TEST_F(PlanTest, AJobThatWaitsForOthersIsPlannedFromTheirEnd) {
  bench_.Register("n", 2);
  bench_.Submit("first", 1);
  Run("first", seconds(10));
  SubmitJob later = Bench::SubmitCommand("later", 2);
  later.job.terms = std::make_shared<const Terms>(Terms{.after = {{JobId{"first"}}}});
  const PlanReply planned = Plan(later);
  EXPECT_EQ(Codes(planned), (List{"DEPENDENCY", "NOT_ENOUGH_FREE"}));
  bench_.Do(later);
  PlanReply plan = Explain("later");
  EXPECT_EQ(Codes(plan), Codes(planned));
  EXPECT_EQ(plan.queue_position, 1);
  EXPECT_EQ(plan.smallest_change,
            "job 'first' must succeed, and node 'n' must have 1 core more free");
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_EQ(plan.estimated_start->ms - bench_.now().unix.ms, 10'000);
  plan = Explain("later", {.more_nodes = 1});
  EXPECT_EQ(Codes(plan), List{"DEPENDENCY"}) << "a node does not help";
  EXPECT_TRUE(plan.node.empty());
  EXPECT_EQ(plan.smallest_change, "job 'first' must succeed");
}

TEST_F(PlanTest, WhenJobsThatWaitThemselvesWillEndIsNotGuessed) {
  bench_.Register("n", 1);
  bench_.Submit("runs", 1);
  bench_.Submit("first", 1);
  bench_.SubmitWith("later", {.after = {{JobId{"first"}, true}}});
  const PlanReply plan = Explain("later");
  EXPECT_EQ(plan.queue_position, 2);
  EXPECT_FALSE(plan.estimated_start);
  EXPECT_EQ(plan.estimate_basis, "nothing is known of when the jobs that it waits for will end");
  EXPECT_NE(plan.smallest_change.find("job 'first' must end"), std::string::npos);
}

TEST_F(PlanTest, AJobBetweenTwoTriesIsPlannedFromTheNext) {
  bench_.Register("n", 2);
  bench_.Submit("j", 1);
  bench_.Complete("j", 1, "n", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
  const int64_t wait = bench_.jobs.at("j").not_before.ms - bench_.now().unix.ms;
  ASSERT_GT(wait, 0);
  const PlanReply plan = Explain("j");
  ASSERT_EQ(Codes(plan), List{"BACKOFF"});
  EXPECT_TRUE(plan.reasons[0].message.starts_with("waits ")) << plan.reasons[0].message;
  EXPECT_NE(plan.reasons[0].message.find(" s more"), std::string::npos) << plan.reasons[0].message;
  EXPECT_TRUE(plan.smallest_change.starts_with("wait ")) << plan.smallest_change;
  EXPECT_EQ(plan.queue_position, 1);
  ASSERT_TRUE(plan.estimated_start);
  EXPECT_NEAR(static_cast<double>(plan.estimated_start->ms - bench_.now().unix.ms),
              static_cast<double>(wait), 1);
  EXPECT_EQ(Codes(Explain("j", {.more_nodes = 1})), List{"BACKOFF"});
}

// ---- What submitting would refuse

TEST_F(PlanTest, WhatSubmittingRefusesIsNotPlanned) {
  bench_.Register("n", 2);
  auto with = [](Terms terms) {
    SubmitJob command = Bench::SubmitCommand("new");
    command.job.terms = std::make_shared<const Terms>(std::move(terms));
    return command;
  };
  EXPECT_EQ(Refusal(with({.after = {{JobId{"nobody"}}}})).code(), Code::kNotFound);
  EXPECT_EQ(Refusal(with({.limits = {.deadline = {1}}})).code(), Code::kFailedPrecondition);
  bench_.Submit("taken");
  EXPECT_EQ(Refusal(Bench::SubmitCommand("taken", 1, 1, "another")).code(), Code::kAlreadyExists);
  EXPECT_EQ(Refusal(ArrayCommand(std::string(130, 'a'), 2)).code(), Code::kInvalidArgument);
  EXPECT_EQ(bench_.jobs.size(), 1u) << "nothing was accepted";
}

TEST_F(PlanTest, AFullQueueIsTold) {
  Options options = LongLeases();
  options.max_queued = 1;
  Bench b(options);
  b.Submit("waits");
  b.Do(Bench::PlanCommand());
  EXPECT_EQ(b.reply().status.code(), Code::kResourceExhausted);
}

TEST_F(PlanTest, ThePlanOfAJobThatWasAcceptedIsItsExplanation) {
  bench_.Register("n", 1);
  bench_.Submit("runs", 1);
  bench_.Submit("waits", 1);
  const PlanReply plan = Plan(Bench::SubmitCommand("waits", 1));
  EXPECT_EQ(plan.view.job.id.value, "waits");
  EXPECT_EQ(plan.queue_position, 1);
}

// ---- The smallest change beside nodes

TEST_F(PlanTest, AQuotaIsPartOfTheSmallestChange) {
  Options options = LongLeases();
  options.quotas = {{"user:ann", {.cpu_millis = 2000, .borrow = false}}};
  Bench b(options);
  b.Register("n", 4);
  for (const char* id : {"one", "two"}) {
    SubmitJob command = Bench::SubmitCommand(id, 2);
    command.job.user = "ann";
    b.Do(std::move(command));
  }
  b.Do(ExplainJob{.job = {"two"}});
  EXPECT_EQ(b.reply<PlanReply>().smallest_change,
            "jobs of user 'ann' must give back 2 cores, or its quota be raised by that");
  EXPECT_TRUE(b.reply<PlanReply>().node.empty());
}

// ---- In the job's status and in the answer to its submission

TEST_F(PlanTest, AStatusTellsThePlaceTheChangeAndTheStart) {
  bench_.Register("n", 2);
  bench_.Submit("runs", 2);
  Run("runs", seconds(10));
  bench_.Submit("waits", 1);
  const JobView submitted = *bench_.reply<SubmitReply>().view;
  bench_.Do(GetJob{.job = {"waits"}});
  const JobView got = bench_.reply<JobReply>().view;
  for (const JobView& view : {submitted, got}) {
    ASSERT_TRUE(view.outlook);
    EXPECT_EQ(view.outlook->queue_position, 1);
    EXPECT_EQ(view.outlook->smallest_change, "node 'n' must have 1 core more free");
    ASSERT_TRUE(view.outlook->start);
    EXPECT_EQ(view.outlook->start->ms - bench_.now().unix.ms, 10'000);
  }
  bench_.Do(GetJob{.job = {"runs"}});
  EXPECT_FALSE(bench_.reply<JobReply>().view.outlook) << "it does not wait";
}

TEST_F(PlanTest, ABatchOfManyStatusesDoesNotAskForAllOfThem) {
  bench_.Register("n", 1);
  bench_.Submit("runs", 1);
  bench_.Submit("waits", 1);
  std::vector<Command> batch;
  for (int i = 0; i < 1000; ++i) batch.push_back(GetJob{.reply_to = 1, .job = {"waits"}});
  bench_.DoBatch(std::move(batch));
  int64_t told = 0;
  for (const Reply& reply : bench_.effects<Reply>())
    told += std::get<JobReply>(reply.content).view.outlook.has_value();
  EXPECT_GT(told, 0);
  EXPECT_LT(told, 100);
}

TEST_F(PlanTest, FarBackInTheQueueNoPlaceIsTold) {
  bench_.Register("n", 1);
  bench_.Do(ArrayCommand("array", 300));
  bench_.Submit("waits", 1);
  bench_.Do(GetJob{.job = {"waits"}});
  const JobView& view = bench_.reply<JobReply>().view;
  ASSERT_TRUE(view.outlook);
  EXPECT_EQ(view.outlook->queue_position, 0);
  EXPECT_FALSE(view.outlook->smallest_change.empty());
}

}  // namespace
}  // namespace cyxwiz::control
