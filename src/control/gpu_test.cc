// GPUs of attempts: which ones they get is decided once, told to the node, and known after a
// restart.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

constexpr int64_t kGpuBytes = 80 * kGiB;

void RegisterWithGpus(Bench& b, const std::string& id, int64_t gpus,
                      std::vector<AttemptId> active = {}) {
  Node node{.id = {id},
            .endpoint = id + ":1",
            .capacity = Resources{8000, 8 * kGiB}.WithGpus(gpus, kGpuBytes),
            .devices = {1, 2},
            .rendezvous_port = 29500,
            .rendezvous_ports = 100};
  b.Do(RegisterNode{.node = node, .active = std::move(active), .session = "session-" + id});
}

SubmitJob Ask(const std::string& id, int64_t millis, int64_t memory_bytes = 0,
              int32_t priority = 1) {
  SubmitJob command = Bench::SubmitCommand(id, 1, priority);
  command.job.resources.gpu_millis = millis;
  command.job.resources.gpu_memory_bytes = memory_bytes;
  return command;
}

using Parts = std::vector<GpuPart>;

TEST(Gpus, WhatAnAttemptGetsIsToldToItsNodeAndStored) {
  Bench b;
  RegisterWithGpus(b, "n", 2);
  b.Do(Ask("half", 500));
  auto assigned = b.effects<AssignEffect>();
  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].gpus, (Parts{{0, 500, 40 * kGiB}}));
  EXPECT_EQ(*b.jobs.at("half").gpus, assigned[0].gpus);
  b.Do(Ask("whole", 1000));
  EXPECT_EQ(*b.Get("whole").gpus, (Parts{{1, 1000, kGpuBytes}}));
  b.Do(Ask("memory", 0, 30 * kGiB));
  EXPECT_EQ(*b.Get("memory").gpus, (Parts{{0, 0, 30 * kGiB}}));
  b.Submit("none");
  EXPECT_TRUE(b.effects<AssignEffect>().at(0).gpus.empty());
  b.Do(GetNode{.node = {"n"}});
  EXPECT_EQ(*b.reply<NodeReply>().view.available.gpus, (Parts{{0, 500, 10 * kGiB}}));
}

TEST(Gpus, AdoptedAttemptsKeepTheirGpus) {
  Bench b;
  RegisterWithGpus(b, "n", 2);
  b.Do(Ask("first", 600));
  b.Do(Ask("second", 600));
  ASSERT_EQ(b.Get("second").gpus->at(0).index, 1);
  for (const char* id : {"first", "second"}) {
    b.Accepted(id, 1, "n");
    b.Progress(id, 1, "n");
  }
  b.Complete("first", 1, "n");
  b.Restart();
  RegisterWithGpus(b, "n", 2, {{{"second"}, 1}});
  EXPECT_EQ(b.Get("second").gpus->at(0).index, 1);
  b.Do(Ask("whole", 1000));
  EXPECT_EQ(b.Get("whole").gpus->at(0).index, 0) << "the other one is shared";
  b.Do(Ask("share", 300));
  EXPECT_EQ(*b.Get("share").gpus, (Parts{{1, 300, 24 * kGiB}}));
  b.Do(Ask("waits", 300));
  EXPECT_EQ(b.StateOf("waits"), "Queued");
  b.Complete("second", 1, "n");
  EXPECT_EQ(b.Get("waits").gpus->at(0).index, 1);
}

TEST(Gpus, AnAttemptOfAReleaseThatLeftTheChoiceToTheNodeHoldsOne) {
  Bench b;
  RegisterWithGpus(b, "n", 2);
  b.Do(Ask("old", 1000));
  b.Accepted("old", 1, "n");
  b.jobs.at("old").gpus = {};
  b.Restart();
  RegisterWithGpus(b, "n", 2, {{{"old"}, 1}});
  b.Do(Ask("new", 1000));
  EXPECT_EQ(b.Get("new").gpus->at(0).index, 1);
  b.Do(Ask("next", 1));
  EXPECT_EQ(b.StateOf("next"), "Queued");
  b.Complete("old", 1, "n");
  EXPECT_EQ(b.Get("next").gpus->at(0).index, 0);
}

TEST(Gpus, EachRankOfAGangHasItsOwn) {
  Bench b;
  RegisterWithGpus(b, "a", 2);
  RegisterWithGpus(b, "b", 2);
  b.Do(Ask("share", 100));
  const std::string shared = b.Get("share").node.value;
  SubmitJob command = Ask("gang", 2000);
  command.job.terms = std::make_shared<const Terms>(Terms{.nodes = 2});
  b.Do(std::move(command));
  EXPECT_EQ(b.StateOf("gang"), "Queued") << "on one of the nodes a GPU is shared";
  b.Complete("share", 1, shared);
  ASSERT_EQ(b.StateOf("gang"), "Assigned");
  const Job gang = b.jobs.at("gang");
  for (const Gang::Rank& rank : gang.gang->ranks) {
    EXPECT_EQ(HeldOn(gang, rank.node).gpus->size(), 2u);
    EXPECT_EQ(rank.gpus.size(), 2u);
  }
  b.Restart();
  RegisterWithGpus(b, "a", 2, {{{"gang"}, 1}});
  RegisterWithGpus(b, "b", 2, {{{"gang"}, 1}});
  b.Do(Ask("later", 1));
  EXPECT_EQ(b.StateOf("later"), "Queued");
}

TEST(Gpus, WhyAShareWaitsIsToldWithNumbers) {
  Bench b;
  RegisterWithGpus(b, "n", 2);
  b.Do(Ask("1", 600));
  b.Do(Ask("2", 700));
  b.Do(Ask("waits", 500, 10 * kGiB));
  b.Do(GetJob{.job = {"waits"}});
  const JobView& view = b.reply<JobReply>().view;
  ASSERT_EQ(view.reasons.size(), 1u);
  EXPECT_EQ(view.reasons[0].code, "NO_SINGLE_GPU");
  EXPECT_NE(view.reasons[0].message.find(
                "needs 0.5 of one GPU with 10.0 GiB; 1 node has the rest free, but not that: the "
                "largest free piece of a GPU is 0.4 with 32.0 GiB, of GPU 0 of node 'n'"),
            std::string::npos)
      << view.reasons[0].message;
  b.Do(ExplainJob{.job = {"waits"}});
  EXPECT_EQ(b.reply<PlanReply>().smallest_change,
            "node 'n' must have 0.5 of one GPU with 10.0 GiB free: the largest free piece is 0.4 "
            "with 32.0 GiB, of GPU 0 of node 'n'");
  b.Do(ExplainJob{.job = {"waits"}, .what_if = {.more_nodes = 1}});
  EXPECT_EQ(b.reply<PlanReply>().node.value, "what-if-1");
}

TEST(Gpus, ASupposedNodeHasGpusLikeTheKnownOnes) {
  Bench b;
  RegisterWithGpus(b, "n", 1);
  b.Do(Ask("1", 1000));
  b.Do(Ask("waits", 500, 80 * kGiB));
  b.Do(ExplainJob{.job = {"waits"},
                  .what_if = {.more_nodes = 1, .resources = {4000, 4 * kGiB, 1000}}});
  EXPECT_EQ(b.reply<PlanReply>().node.value, "what-if-1");
}

TEST(Gpus, MoreThanAnyGpuHasIsRefused) {
  Bench b;
  RegisterWithGpus(b, "n", 2);
  b.Do(Ask("large", 500, 81 * kGiB));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_NE(b.reply().status.message().find("the most memory of a GPU is 80.0 GiB"),
            std::string::npos)
      << b.reply().status;
  b.Do(Ask("many", 3000));
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << b.reply().status;
}

TEST(Gpus, RoomIsMadeOnOneOfThemAlsoOverARestart) {
  Bench b({.preemption = {.on = true, .min_run = {}}});
  RegisterWithGpus(b, "n", 2);
  for (const char* id : {"a", "b", "c", "d"}) {
    b.Do(Ask(id, 500, 0, 0));
    b.Accepted(id, 1, "n");
    b.Progress(id, 1, "n");
  }
  ASSERT_EQ(b.Get("a").gpus->at(0).index, b.Get("b").gpus->at(0).index);
  b.Pass(std::chrono::seconds(1));
  b.Do(Ask("high", 1000, 0, 2));
  std::vector<std::string> victims;
  for (const auto& [id, job] : b.jobs) {
    if (!job.preempted_for->empty()) victims.push_back(id);
  }
  ASSERT_EQ(victims.size(), 2u);
  EXPECT_EQ(b.Get(victims[0]).gpus->at(0).index, b.Get(victims[1]).gpus->at(0).index);
  const int32_t index = b.Get(victims[0]).gpus->at(0).index;
  b.Restart();
  std::vector<AttemptId> active;
  for (const char* id : {"a", "b", "c", "d"}) active.push_back({{id}, 1});
  RegisterWithGpus(b, "n", 2, active);
  b.Do(Ask("low", 500, 0, 0));
  b.Yield(victims[0], 1, "n");
  EXPECT_EQ(b.StateOf("low"), "Queued") << "that half is not for it";
  EXPECT_EQ(b.StateOf("high"), "Queued");
  b.Yield(victims[1], 1, "n");
  EXPECT_EQ(*b.Get("high").gpus, (Parts{{index, 1000, kGpuBytes}}));
}

}  // namespace
}  // namespace cyxwiz::control
