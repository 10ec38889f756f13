#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

namespace cyxwiz::scheduler {
namespace {

constexpr int64_t kGiB = 1ll << 30;

NodeState MakeNode(const std::string& id, int64_t cores, int64_t gib, int64_t gpus = 0) {
  Resources all{cores * 1000, gib * kGiB, gpus};
  NodeState node{.id = NodeId{id}, .online = true, .capacity = all, .free = all, .devices = {1}};
  if (gpus > 0) node.devices.push_back(2);
  return node;
}

Line MakeLine(int32_t priority, int64_t cores, int64_t gib, std::vector<int64_t> sequences) {
  Line line{
      .priority = priority, .request = {.resources = {cores * 1000, gib * kGiB, 0}}, .jobs = {}};
  for (int64_t s : sequences) line.jobs.emplace_back(s, JobId{"j" + std::to_string(s)});
  return line;
}

TEST(Scheduler, HigherPriorityGoesFirstThenOlder) {
  auto plan =
      Schedule({{MakeNode("a", 2, 8)}, {MakeLine(1, 1, 1, {1, 2}), MakeLine(2, 1, 2, {3})}});
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].job.value, "j3");
  EXPECT_EQ(plan[1].job.value, "j1");
}

TEST(Scheduler, OlderGoesFirstAcrossLinesOfOnePriority) {
  auto plan = Schedule({{MakeNode("a", 1, 8)}, {MakeLine(1, 1, 1, {5}), MakeLine(1, 1, 2, {4})}});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].job.value, "j4");
}

TEST(Scheduler, TakesTheBestFittingNode) {
  auto plan =
      Schedule({{MakeNode("big", 16, 64), MakeNode("small", 2, 4)}, {MakeLine(1, 2, 4, {1})}});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "small");
}

TEST(Scheduler, SparesGpuNodesForThoseWhoNeedThem) {
  auto plan =
      Schedule({{MakeNode("gpu", 4, 8, 1), MakeNode("cpu", 4, 8)}, {MakeLine(1, 1, 1, {1})}});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "cpu");
}

TEST(Scheduler, NeverOversells) {
  auto plan = Schedule(
      {{MakeNode("a", 3, 4), MakeNode("b", 2, 1)}, {MakeLine(1, 1, 1, {1, 2, 3, 4, 5, 6})}});
  int on_a = 0, on_b = 0;
  for (auto& p : plan) (p.node.value == "a" ? on_a : on_b)++;
  EXPECT_EQ(on_a, 3);
  EXPECT_EQ(on_b, 1);
}

TEST(Scheduler, ALargeJobThatDoesNotFitDoesNotHoldUpASmallOne) {
  auto plan = Schedule({{MakeNode("a", 1, 1)}, {MakeLine(3, 4, 1, {1}), MakeLine(0, 1, 1, {2})}});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].job.value, "j2");
}

TEST(Scheduler, OfflineHeldAndDevicelessNodesGetNothing) {
  NodeState offline = MakeNode("a", 4, 4), held = MakeNode("b", 4, 4);
  offline.online = false;
  held.held = true;
  EXPECT_TRUE(Schedule({{offline, held}, {MakeLine(1, 1, 1, {1})}}).empty());
  Line gpu = MakeLine(1, 1, 1, {1});
  gpu.request.device = 2;
  EXPECT_TRUE(Schedule({{MakeNode("c", 4, 4)}, {gpu}}).empty());
}

TEST(Scheduler, MostPlacementsBoundsThePlan) {
  std::vector<NodeState> nodes = {MakeNode("a", 3, 4), MakeNode("b", 2, 1)};
  EXPECT_EQ(MostPlacements({{1000, kGiB, 0}}, nodes), 4);
  EXPECT_EQ(MostPlacements({{8000, kGiB, 0}}, nodes), 0);
}

TEST(Explain, NamesEveryObstacleWithNumbers) {
  NodeState busy = MakeNode("busy", 2, 8), offline = MakeNode("off", 4, 8),
            tiny = MakeNode("tiny", 1, 1);
  busy.free = {500, kGiB, 0};
  offline.online = false;
  auto reasons = Explain({{2000, 2 * kGiB, 0}}, {busy, offline, tiny});
  ASSERT_EQ(reasons.size(), 3u);
  EXPECT_EQ(reasons[0].code, "NOT_ENOUGH_FREE");
  EXPECT_NE(reasons[0].message.find("2 cores, 2.0 GiB"), std::string::npos) << reasons[0].message;
  EXPECT_NE(reasons[0].message.find("0.5 cores"), std::string::npos) << reasons[0].message;
  EXPECT_EQ(reasons[1].code, "NODES_OFFLINE");
  EXPECT_EQ(reasons[2].code, "TOO_LARGE");
  EXPECT_EQ(reasons[2].nodes, std::vector<NodeId>{NodeId{"tiny"}});
  EXPECT_EQ(Explain({}, {})[0].code, "NO_NODES");
  EXPECT_TRUE(Explain({{1000, kGiB, 0}}, {MakeNode("a", 1, 1)}).empty());
}

TEST(CouldEverRun, GivesTheNumbersWhenNot) {
  std::string reason;
  EXPECT_TRUE(CouldEverRun({{1000000, kGiB, 0}}, {}, &reason));
  EXPECT_FALSE(CouldEverRun({{64000, kGiB, 0}}, {MakeNode("a", 4, 8)}, &reason));
  EXPECT_NE(reason.find("64 cores"), std::string::npos);
  EXPECT_NE(reason.find("4 cores, 8.0 GiB"), std::string::npos);
  EXPECT_FALSE(CouldEverRun({{1000, kGiB, 0}, 2}, {MakeNode("a", 4, 8)}, &reason));
  EXPECT_NE(reason.find("CUDA"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::scheduler
