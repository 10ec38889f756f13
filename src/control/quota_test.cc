// Quotas of users and projects, and what is borrowed beyond them.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::seconds;

scheduler::Quota Cores(int64_t cores, bool borrow = true) {
  return {.cpu_millis = cores * 1000, .borrow = borrow};
}

void SubmitAs(Bench& b, const std::string& id, const std::string& user, int64_t cores = 1,
              const std::string& project = "", int32_t priority = 1) {
  SubmitJob command = Bench::SubmitCommand(id, cores, priority);
  command.job.user = user;
  if (!project.empty()) {
    Terms terms;
    terms.project = project;
    command.job.terms = std::make_shared<const Terms>(std::move(terms));
  }
  b.Do(std::move(command));
}

void Start(Bench& b, const std::string& id) {
  Job job = b.Get(id);
  b.Accepted(id, job.attempt, job.node.value);
  b.Progress(id, job.attempt, job.node.value);
}

TEST(JobQuotas, AHardQuotaHoldsBackWithNumbersAndLetsGo) {
  Bench b({.quotas = {{"user:ann", Cores(2, false)}}});
  b.Register("n", 4);
  b.Register("m", 4);
  for (const char* id : {"1", "2", "3"}) SubmitAs(b, id, "ann");
  EXPECT_EQ(b.StateOf("2"), "Assigned");
  b.Do(GetJob{.job = {"3"}});
  const JobView& view = b.reply<JobReply>().view;
  EXPECT_EQ(view.job.state, JobState::kQueued);
  ASSERT_FALSE(view.reasons.empty());
  EXPECT_EQ(view.reasons[0].code, "QUOTA_EXCEEDED");
  EXPECT_EQ(view.reasons[0].message,
            "user 'ann' holds 2 cores of a quota of 2 cores, and this needs 1 core");
  SubmitAs(b, "4", "bob", 4);
  EXPECT_EQ(b.StateOf("4"), "Assigned") << "others are not held up";
  b.Complete("1", 1, b.Get("1").node.value);
  EXPECT_EQ(b.StateOf("3"), "Assigned") << "on whichever node";
}

TEST(JobQuotas, RoomThatWasThereAllAlongIsFoundWhenTheQuotaLetsGo) {
  Bench b({.quotas = {{"user:ann", Cores(1, false)}}});
  b.Register("n", 1);
  SubmitAs(b, "1", "ann");
  b.Register("m", 4);
  SubmitAs(b, "2", "ann");
  b.Do(CordonNode{.node = {"n"}});
  b.Complete("1", 1, "n");
  EXPECT_EQ(b.Get("2").node.value, "m") << "though nothing has changed on 'm'";
}

TEST(JobQuotas, WhatCanNeverRunIsRefused) {
  Bench b({.quotas = {{"project:vision", Cores(2, false)}}});
  b.Register("n", 8);
  SubmitAs(b, "1", "ann", 3, "vision");
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_NE(b.reply().status.message().find("the quota of project 'vision' is 2 cores"),
            std::string::npos)
      << b.reply().status;
}

TEST(JobQuotas, TheLenderGoesFirstAtTheNextChance) {
  Bench b({.quotas = {{"user:ann", Cores(2)}}});
  b.Register("n", 2);
  SubmitAs(b, "1", "bob", 1, "", 3);
  SubmitAs(b, "2", "bob", 1, "", 3);
  EXPECT_EQ(b.StateOf("2"), "Assigned") << "borrowed";
  SubmitAs(b, "3", "bob", 1, "", 3);
  SubmitAs(b, "4", "ann", 1, "", 0);
  b.Do(GetJob{.job = {"3"}});
  EXPECT_EQ(b.reply<JobReply>().view.reasons.at(0).code, "QUOTA_BORROWING");
  b.Do(ExplainJob{.job = {"4"}});
  EXPECT_EQ(b.reply<PlanReply>().queue_position, 1);
  b.Complete("1", 1, "n");
  EXPECT_EQ(b.StateOf("4"), "Assigned");
  EXPECT_EQ(b.StateOf("3"), "Queued");
}

TEST(JobQuotas, WithPreemptionTheLenderTakesItBack) {
  Bench b({.quotas = {{"user:ann", Cores(2)}, {"user:bob", Cores(1)}},
           .preemption = {.on = true, .min_run = seconds(0)}});
  b.Register("n", 3);
  for (const char* id : {"1", "2", "3"}) {
    SubmitAs(b, id, "bob");
    Start(b, id);
  }
  SubmitAs(b, "4", "ann");
  int yielding = 0;
  for (const auto& [id, job] : b.jobs) yielding += job.preempted_for->value == "4";
  EXPECT_EQ(yielding, 1) << "one core is enough";
  SubmitAs(b, "5", "bob");
  EXPECT_EQ(b.effects<StopEffect>().size(), 0u) << "who borrows takes nothing from equals";
}

TEST(JobQuotas, NoMoreIsTakenBackThanTheQuotaIsMeantFor) {
  Bench b({.quotas = {{"user:ann", Cores(2)}}, .preemption = {.on = true, .min_run = seconds(0)}});
  b.Register("n", 4);
  for (const char* id : {"1", "2", "3", "4"}) {
    SubmitAs(b, id, "bob");
    Start(b, id);
  }
  for (const char* id : {"5", "6", "7", "8"}) SubmitAs(b, id, "ann");
  b.Pass(seconds(2));
  int yielding = 0;
  for (const auto& [id, job] : b.jobs) yielding += !job.preempted_for->value.empty();
  EXPECT_EQ(yielding, 2);
}

TEST(JobQuotas, CountedAnewAfterARestart) {
  Bench b({.quotas = {{"user:ann", Cores(1, false)}}});
  b.Register("n", 4);
  SubmitAs(b, "1", "ann");
  SubmitAs(b, "2", "ann");
  b.Restart();
  b.Register("n", 4, {{{"1"}, 1}});
  EXPECT_EQ(b.StateOf("2"), "Queued");
}

}  // namespace
}  // namespace cyxwiz::control
