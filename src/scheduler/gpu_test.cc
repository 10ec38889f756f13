// Shares of GPUs, and whole ones: where they are placed, and what is said when they are not.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "scheduler/forecast.h"
#include "scheduler/preemption.h"
#include "scheduler/scheduler.h"

namespace cyxwiz::scheduler {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// A core, and so much of GPUs.
Resources Ask(int64_t gpu_millis, int64_t gpu_gib = 0) {
  Resources resources{1000, kGiB, gpu_millis};
  resources.gpu_memory_bytes = gpu_gib * kGiB;
  return resources;
}

LineKey LineFor(const Resources& resources, int32_t priority = 1) {
  return {priority, {.resources = resources, .device = 2}, "", ""};
}

NodeState MakeNode(const std::string& id, int64_t gpus, int64_t gib_of_gpu = 80) {
  Resources all{16'000, 64 * kGiB};
  all.AddGpus(gpus, gib_of_gpu * kGiB);
  return {.id = {id}, .online = true, .capacity = all, .free = all, .devices = {1, 2}};
}

class GpuTest : public testing::Test {
 protected:
  explicit GpuTest(std::vector<NodeState> nodes = {MakeNode("a", 2)}) : fleet_(std::move(nodes)) {}

  // Where it is placed: "a 0" for GPU 0 of node a, "" for nowhere.
  std::string Place(const Resources& resources, int32_t priority = 1) {
    Line line{LineFor(resources, priority), {{++last_job_, priority}}, true};
    auto plan = Schedule(&fleet_, {line}, &shares_, now_);
    if (plan.empty()) return "";
    std::string text = plan[0].node.value;
    for (const GpuPart& part : plan[0].gpus.at(0)) text += " " + std::to_string(part.index);
    held_ = resources;
    held_.gpus = plan[0].gpus[0];
    return text;
  }
  std::string Why(const Resources& resources) {
    auto reasons = Explain(LineFor(resources).request, fleet_.nodes());
    return reasons.empty() ? "" : reasons[0].code + ": " + reasons[0].message;
  }

  MonotonicTime now_;
  Fleet fleet_;
  Shares shares_;
  int64_t last_job_ = 0;
  Resources held_;  // by the last that was placed
};

TEST_F(GpuTest, SharesPackAndWholeOnesStayFree) {
  EXPECT_EQ(Place(Ask(500)), "a 0");
  EXPECT_EQ(Place(Ask(250)), "a 0");
  EXPECT_EQ(Place(Ask(1000)), "a 1");
  EXPECT_EQ(Place(Ask(250)), "a 0");
  EXPECT_EQ(Place(Ask(1)), "");
}

TEST_F(GpuTest, ANodeWhoseGpuIsSharedAlreadyGoesFirst) {
  fleet_.Put(MakeNode("b", 1));
  const Resources share = Ask(100);
  EXPECT_EQ(Place(share), "b 0") << "the better fit";
  fleet_.GiveBack({"b"}, held_);
  fleet_.Take({"a"}, Placed(fleet_.Find({"a"})->free, fleet_.Find({"a"})->capacity, share));
  EXPECT_EQ(Place(share), "a 0") << "though it leaves more room";
  EXPECT_EQ(Place(Ask(1000)), "b 0");
  EXPECT_EQ(Place(Ask(2000)), "");
}

TEST_F(GpuTest, MemoryAloneLiesOnOneGpuToo) {
  EXPECT_EQ(Place(Ask(0, 50)), "a 0");
  EXPECT_EQ(Place(Ask(0, 31)), "a 1");
  EXPECT_EQ(Place(Ask(0, 30)), "a 0");
  EXPECT_EQ(Place(Ask(1000)), "") << "both are shared";
  EXPECT_EQ(Place(Ask(0, 50)), "");
}

TEST_F(GpuTest, ExplainTellsTheLargestFreePiece) {
  ASSERT_EQ(Place(Ask(700, 70)), "a 0");
  ASSERT_EQ(Place(Ask(600, 20)), "a 1");
  EXPECT_EQ(Why(Ask(500, 20)),
            "NO_SINGLE_GPU: needs 0.5 of one GPU with 20.0 GiB; 1 node has the rest free, but not "
            "that: the largest free piece of a GPU is 0.4 with 60.0 GiB, of GPU 1 of node 'a'");
  EXPECT_EQ(Why(Ask(1000)).substr(0, 34), "NO_SINGLE_GPU: needs a whole GPU; ");
  EXPECT_EQ(Why(Ask(0, 61)).substr(0, 41), "NO_SINGLE_GPU: needs 61.0 GiB of one GPU;");
  EXPECT_EQ(Why(Ask(400, 60)), "");
  EXPECT_EQ(SmallestChange(LineFor(Ask(500)).request, fleet_.nodes()),
            "node 'a' must have 0.5 of one GPU free: the largest free piece is 0.4 with 60.0 GiB, "
            "of GPU 1 of node 'a'");
  // Where more than a GPU is missing it is told of all.
  Resources large = Ask(500);
  large.cpu_millis = 15'000;
  EXPECT_EQ(Why(large).substr(0, 16), "NOT_ENOUGH_FREE:");
}

TEST_F(GpuTest, WhatNoGpuHasIsRefusedWithNumbers) {
  EXPECT_TRUE(CouldEverRun(LineFor(Ask(1000, 80)).request, fleet_.nodes()).ok());
  const std::string why = CouldEverRun(LineFor(Ask(500, 81)).request, fleet_.nodes()).message();
  EXPECT_NE(why.find("0.5 GPU with 81.0 GiB"), std::string::npos) << why;
  EXPECT_NE(why.find("the most memory of a GPU is 80.0 GiB"), std::string::npos) << why;
  EXPECT_FALSE(CouldEverRun(LineFor(Ask(0, 81)).request, fleet_.nodes()).ok());
  EXPECT_FALSE(CouldEverRun(LineFor(Ask(3000)).request, fleet_.nodes()).ok());
  EXPECT_FALSE(CouldEverRun(LineFor(Ask(1500)).request, fleet_.nodes()).ok());
}

TEST_F(GpuTest, AsManyAsFitAreLookedFor) {
  EXPECT_EQ(MostPlacements(LineFor(Ask(400)).request, fleet_, false), 4) << "two on each";
  EXPECT_EQ(MostPlacements(LineFor(Ask(400, 50)).request, fleet_, false), 2);
  EXPECT_EQ(MostPlacements(LineFor(Ask(1000)).request, fleet_, false), 2);
  EXPECT_EQ(MostPlacements(LineFor(Ask(2000)).request, fleet_, false), 1);
  EXPECT_EQ(MostPlacements(LineFor(Ask(0, 30)).request, fleet_, false), 4);
  ASSERT_EQ(Place(Ask(100)), "a 0");
  EXPECT_EQ(MostPlacements(LineFor(Ask(1000)).request, fleet_, false), 1);
}

TEST_F(GpuTest, AKeptGpuIsNotSharedByThoseThatWouldDelayIt) {
  ASSERT_EQ(Place(Ask(600)), "a 0");
  const Resources first = held_;
  ASSERT_EQ(Place(Ask(600)), "a 1");
  const Resources second = held_;
  // The first ends before long, so what waits for a whole GPU will get that one.
  const LineKey waiting = LineFor(Ask(1000));
  auto hold = PlanHold(fleet_, waiting, nullptr, now_, [&](const NodeId&) {
    return std::vector<Occupant>{{1, first, now_ + std::chrono::minutes(10)}, {2, second}};
  });
  ASSERT_TRUE(hold);
  EXPECT_EQ(hold->start, now_ + std::chrono::minutes(10));
  fleet_.AddHold(*hold);
  EXPECT_EQ(Place(Ask(300)), "a 1") << "on GPU 0 it would be in the way";
  EXPECT_EQ(Place(Ask(300)), "") << "though GPU 0 has 0.4 free";
  fleet_.GiveBack({"a"}, first);
  EXPECT_EQ(Place(waiting.request.resources), "a 0");
}

TEST_F(GpuTest, RoomIsMadeOnOneGpu) {
  auto victim = [](int64_t job, GpuPart part) {
    Resources held = Ask(part.millis);
    held.gpus = std::vector<GpuPart>{part};
    return Victim{job, 0, held, std::chrono::seconds(job)};
  };
  // Each of the cheap ones shares its GPU with one that may not end.
  const std::vector<Victim> victims = {victim(1, {0, 500, 40 * kGiB}),
                                       victim(2, {1, 400, 32 * kGiB}),
                                       victim(3, {1, 600, 48 * kGiB})};
  for (const Victim& one : victims) fleet_.Take({"a"}, one.resources);
  fleet_.Take({"a"}, victim(4, {0, 500, 40 * kGiB}).resources);
  auto plan =
      PlanPreemption(fleet_, LineFor(Ask(1000), 2), now_, [&](const NodeId&) { return victims; });
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->places.front().victims, (std::vector<int64_t>{2, 3}))
      << "not 1, which would end in vain";
}

TEST_F(GpuTest, AClaimedGpuIsLeftAloneWhileItBecomesFree) {
  Resources shared[2];
  for (Resources& one : shared) {
    ASSERT_EQ(Place(Ask(500)), "a 0");
    one = held_;
  }
  ASSERT_EQ(Place(Ask(100)), "a 1");
  const LineKey high = LineFor(Ask(1000), 2);
  fleet_.AddClaim({99, high, {{{"a"}, {{1, shared[0]}, {2, shared[1]}}}}});
  fleet_.GiveBack({"a"}, shared[0]);
  fleet_.EndVictim(1, {"a"});
  EXPECT_EQ(Place(Ask(500)), "a 1") << "half of GPU 0 is free, but claimed";
  EXPECT_EQ(Place(Ask(500)), "");
  fleet_.GiveBack({"a"}, shared[1]);
  fleet_.EndVictim(2, {"a"});
  EXPECT_EQ(Place(Ask(100, 1)), "a 1");
  EXPECT_EQ(Place(high.request.resources, 2), "a 0");
}

TEST_F(GpuTest, AForecastFollowsEachGpu) {
  Resources held = Ask(600);
  std::vector<Running> running;
  for (int32_t i = 0; i < 2; ++i) {
    held.gpus = std::vector<GpuPart>{{i, 600, 48 * kGiB}};
    fleet_.Take({"a"}, held);
    running.push_back({{"a"}, held, std::chrono::minutes(10 * (i + 1)), "", ""});
  }
  // Together 0.8 are free now, but 0.5 of one only after ten minutes.
  Line line{LineFor(Ask(500)), {{1, 1}}, true};
  auto forecast = ForecastStart({.fleet = fleet_, .lines = {line}, .running = running}, {.job = 1},
                                [](int64_t) { return std::nullopt; });
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, std::chrono::minutes(10));
}

TEST(GpuShares, CountExactlyForQuotasAndFairShare) {
  Quotas quotas({{"user:ann", {.gpu_millis = 1000, .borrow = false}}});
  LineKey line = LineFor(Ask(250));
  line.account = "ann";
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(quotas.Of(line), Standing::kWithin) << i;
    quotas.Take(line, line.request.resources);
  }
  EXPECT_EQ(quotas.Of(line), Standing::kBlocked);
  EXPECT_EQ(quotas.Explain(line),
            "user 'ann' holds 1 GPU of a quota of 1 GPU, and this needs 0.25 GPU");
  line = LineFor(Ask(0, 10));
  line.account = "ann";
  const Status beside = quotas.CouldEverRun(line);
  EXPECT_NE(beside.message().find("gpu_share"), std::string::npos) << beside;

  Shares shares;
  Resources total{100'000, 1000 * kGiB};
  shares.SetTotal(total.WithGpus(4, 80 * kGiB));
  shares.Take("ann", "", Ask(400), {});
  EXPECT_DOUBLE_EQ(shares.Of("ann", "", {}).of_project, 0.1);
  shares.Take("bob", "", Ask(0, 80), {});
  EXPECT_DOUBLE_EQ(shares.Of("bob", "", {}).of_project, 0.25) << "of the memory of all GPUs";
}

}  // namespace
}  // namespace cyxwiz::scheduler
