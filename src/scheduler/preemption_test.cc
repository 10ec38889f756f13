#include "scheduler/preemption.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "scheduler/scheduler.h"

namespace cyxwiz::scheduler {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr int32_t kLow = 0, kNormal = 1, kHigh = 2;

Request Cores(int64_t cores) { return {{cores * 1000, 0, 0}, 0, {}, {}}; }

// Nodes of four cores, with the attempts that run there.
struct Cluster {
  std::map<NodeId, std::vector<Victim>> victims;
  Fleet fleet;

  void Add(const std::string& id, std::vector<Victim> attempts) {
    NodeState node{.id = {id}, .online = true, .capacity = {4000, 0, 0}};
    node.free = node.capacity;
    for (const Victim& one : attempts) node.free -= one.resources;
    victims[node.id] = std::move(attempts);
    fleet.Put(std::move(node));
  }
  std::optional<Preemption> Plan(int64_t cores) {
    return PlanPreemption(fleet, {kHigh, Cores(cores), "", ""}, {}, [this](const NodeId& id) {
      std::vector<Victim> lower;
      for (const Victim& one : victims[id]) {
        if (one.priority < kHigh) lower.push_back(one);
      }
      return lower;
    });
  }
};

Victim Attempt(int64_t job, int64_t cores, int32_t priority = kLow, Duration lost = {}) {
  return {job, priority, {cores * 1000, 0, 0}, lost};
}

using Jobs = std::vector<int64_t>;

TEST(PlanPreemption, TheLeastWorkIsLost) {
  Cluster c;
  c.Add("a", {Attempt(1, 4, kLow, minutes(9))});
  c.Add("b", {Attempt(2, 4, kLow, minutes(2))});
  c.Add("c", {Attempt(3, 4, kLow, minutes(5))});
  auto plan = c.Plan(4);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->node.value, "b");
  EXPECT_EQ(plan->victims, Jobs{2});
}

TEST(PlanPreemption, TheLowestClassGoesFirstWhateverIsLost) {
  Cluster c;
  c.Add("a", {Attempt(1, 4, kNormal)});
  c.Add("b", {Attempt(2, 4, kLow, minutes(50))});
  EXPECT_EQ(c.Plan(4)->node.value, "b");
}

TEST(PlanPreemption, FewAttemptsRatherThanManyThatLoseAsMuch) {
  Cluster c;
  c.Add("a", {Attempt(1, 2), Attempt(2, 2)});
  c.Add("b", {Attempt(3, 4)});
  EXPECT_EQ(c.Plan(4)->victims, Jobs{3});
}

TEST(PlanPreemption, NobodyEndsForNothing) {
  Cluster c;
  // In order of cost: 1, then 2. Once 2 ends, 1 need not.
  c.Add("a", {Attempt(1, 1, kLow, seconds(1)), Attempt(2, 3, kLow, seconds(5))});
  EXPECT_EQ(c.Plan(3)->victims, Jobs{2});
}

TEST(PlanPreemption, WhatCannotMakeEnoughRoomIsLeftAlone) {
  Cluster c;
  c.Add("a", {Attempt(1, 2), Attempt(2, 2, kHigh)});
  EXPECT_FALSE(c.Plan(3));
  EXPECT_TRUE(c.Plan(2));
}

TEST(PlanPreemption, ANodeThatGetsNothingIsLeftAlone) {
  for (auto spoil :
       {+[](NodeState& n) { n.cordoned = true; }, +[](NodeState& n) { n.held = true; },
        +[](NodeState& n) { n.online = false; }, +[](NodeState& n) { n.quarantined = true; }}) {
    Cluster c;
    c.Add("a", {Attempt(1, 4)});
    c.fleet.Change({"a"}, spoil);
    EXPECT_FALSE(c.Plan(4));
  }
}

TEST(PlanPreemption, RoomThatAnotherHasClaimedIsNotGivenTwice) {
  Cluster c;
  c.Add("a", {Attempt(1, 2), Attempt(2, 2)});
  c.fleet.AddClaim({9, {kNormal, Cores(2), "", ""}, {"a"}, {{1, {2000, 0, 0}}}});
  std::erase_if(c.victims[{"a"}], [](const Victim& one) { return one.job == 1; });
  EXPECT_EQ(c.Plan(2)->victims, Jobs{2});
  EXPECT_FALSE(c.Plan(3));
}

// ---- Claims within a pass of the scheduler

std::vector<int64_t> Placed(Fleet* fleet, const std::vector<Line>& lines) {
  Shares shares;
  std::vector<int64_t> jobs;
  for (const Placement& one : Schedule(fleet, lines, &shares, {})) jobs.push_back(one.job);
  return jobs;
}

TEST(Claims, TheFreedRoomGoesToTheLineThatItWasMadeFor) {
  Fleet fleet({{.id = {"a"}, .online = true, .capacity = {4000, 0, 0}, .free = {2000, 0, 0}}});
  fleet.AddClaim({7, {kHigh, Cores(4), "u", ""}, {"a"}, {{1, {2000, 0, 0}}}});
  Line small{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, true};
  Line large{{kHigh, Cores(4), "u", ""}, {{7, kHigh}}, true};
  EXPECT_EQ(Placed(&fleet, {small, large}), Jobs{}) << "half of the room is free: for nobody yet";
  fleet.GiveBack({"a"}, {2000, 0, 0});
  EXPECT_EQ(Placed(&fleet, {small, large}), Jobs{7});
  EXPECT_TRUE(fleet.claims().empty());
}

TEST(Claims, AHigherClassGoesBeforeThem) {
  Fleet fleet({{.id = {"a"}, .online = true, .capacity = {4000, 0, 0}, .free = {4000, 0, 0}}});
  fleet.AddClaim({7, {kNormal, Cores(4), "u", ""}, {"a"}, {}});
  EXPECT_EQ(Placed(&fleet, {{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, true}}), Jobs{});
  EXPECT_EQ(Placed(&fleet, {{{kHigh, Cores(1), "u", ""}, {{9, kHigh}}, true}}), Jobs{9});
}

TEST(Claims, WhatIsDroppedIsFreeForAll) {
  Fleet fleet({{.id = {"a"}, .online = true, .capacity = {4000, 0, 0}, .free = {4000, 0, 0}}});
  fleet.AddClaim({7, {kHigh, Cores(4), "u", ""}, {"a"}, {}});
  Line small{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, false};
  EXPECT_EQ(Placed(&fleet, {small}), Jobs{});
  fleet.DropClaim(0);
  EXPECT_EQ(Placed(&fleet, {small}), Jobs{8}) << "the node counts as changed";
}

}  // namespace
}  // namespace cyxwiz::scheduler
