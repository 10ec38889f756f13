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
  std::optional<Preemption> Plan(int64_t cores) { return PlanFor(Cores(cores)); }
  std::optional<Preemption> PlanFor(const Request& request) {
    return PlanPreemption(fleet, {kHigh, request, "", ""}, {}, [this](const NodeId& id) {
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
using Ending = std::vector<std::pair<std::string, Jobs>>;

Ending Places(const std::optional<Preemption>& plan) {
  Ending places;
  if (!plan) return places;
  for (const Preemption::Place& place : plan->places)
    places.emplace_back(place.node.value, place.victims);
  return places;
}

TEST(PlanPreemption, TheLeastWorkIsLost) {
  Cluster c;
  c.Add("a", {Attempt(1, 4, kLow, minutes(9))});
  c.Add("b", {Attempt(2, 4, kLow, minutes(2))});
  c.Add("c", {Attempt(3, 4, kLow, minutes(5))});
  auto plan = c.Plan(4);
  ASSERT_TRUE(plan);
  EXPECT_EQ(Places(plan), (Ending{{"b", {2}}}));
}

TEST(PlanPreemption, TheLowestClassGoesFirstWhateverIsLost) {
  Cluster c;
  c.Add("a", {Attempt(1, 4, kNormal)});
  c.Add("b", {Attempt(2, 4, kLow, minutes(50))});
  EXPECT_EQ(Places(c.Plan(4)), (Ending{{"b", {2}}}));
}

TEST(PlanPreemption, FewAttemptsRatherThanManyThatLoseAsMuch) {
  Cluster c;
  c.Add("a", {Attempt(1, 2), Attempt(2, 2)});
  c.Add("b", {Attempt(3, 4)});
  EXPECT_EQ(Places(c.Plan(4)), (Ending{{"b", {3}}}));
}

TEST(PlanPreemption, NobodyEndsForNothing) {
  Cluster c;
  // In order of cost: 1, then 2. Once 2 ends, 1 need not.
  c.Add("a", {Attempt(1, 1, kLow, seconds(1)), Attempt(2, 3, kLow, seconds(5))});
  EXPECT_EQ(Places(c.Plan(3)), (Ending{{"a", {2}}}));
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
  c.fleet.AddClaim({9, {kNormal, Cores(2), "", ""}, {{{"a"}, {{1, {2000, 0, 0}}}}}});
  std::erase_if(c.victims[{"a"}], [](const Victim& one) { return one.job == 1; });
  EXPECT_EQ(Places(c.Plan(2)), (Ending{{"a", {2}}}));
  EXPECT_FALSE(c.Plan(3));
}

Request Gang(int32_t nodes, int64_t cores = 4) {
  Request request = Cores(cores);
  request.nodes = nodes;
  return request;
}

TEST(PlanPreemption, AGangGetsTheNodesThatLoseTheLeast) {
  Cluster c;
  c.Add("a", {Attempt(1, 4, kLow, minutes(9))});
  c.Add("b", {Attempt(2, 4, kLow, minutes(2))});
  c.Add("c", {Attempt(3, 4, kNormal)});
  c.Add("d", {Attempt(4, 4, kLow, minutes(5))});
  for (auto& [id, victims] : c.victims) c.fleet.Change(id, [](NodeState& n) { n.gangs = true; });
  EXPECT_EQ(Places(c.PlanFor(Gang(2))), (Ending{{"b", {2}}, {"d", {4}}}));
  EXPECT_EQ(Places(c.PlanFor(Gang(4))), (Ending{{"b", {2}}, {"d", {4}}, {"a", {1}}, {"c", {3}}}));
  EXPECT_FALSE(c.PlanFor(Gang(5))) << "nobody is stopped for a part of it";
  Request elastic = Gang(5);
  elastic.min_nodes = 2;
  EXPECT_EQ(Places(c.PlanFor(elastic)), (Ending{{"b", {2}}, {"d", {4}}})) << "for its least";
}

TEST(PlanPreemption, AGangUsesWhatIsFree) {
  Cluster c;
  c.Add("a", {Attempt(1, 4)});
  c.Add("b", {});
  c.Add("c", {Attempt(2, 2)});
  for (auto& [id, victims] : c.victims) c.fleet.Change(id, [](NodeState& n) { n.gangs = true; });
  EXPECT_EQ(Places(c.PlanFor(Gang(2, 2))), Ending{}) << "it starts as it is";
  EXPECT_EQ(Places(c.PlanFor(Gang(2))), (Ending{{"b", {}}, {"a", {1}}}));
}

TEST(PlanPreemption, AGangThatEndsOnOneNodeEndsOnAll) {
  Cluster c;
  c.Add("a", {
                 Attempt(1, 4, kLow, minutes(1)),
             });
  c.Add("b", {Attempt(1, 2, kLow, minutes(1)), Attempt(2, 2)});
  c.Add("c", {Attempt(3, 4, kLow, minutes(50))});
  for (auto& [id, victims] : c.victims) c.fleet.Change(id, [](NodeState& n) { n.gangs = true; });
  EXPECT_EQ(Places(c.PlanFor(Gang(2, 2))), (Ending{{"b", {2}}, {"a", {1}}}));
  EXPECT_EQ(Places(c.PlanFor(Gang(2, 4))), (Ending{{"a", {1}}, {"b", {1, 2}}}));
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
  fleet.AddClaim({7, {kHigh, Cores(4), "u", ""}, {{{"a"}, {{1, {2000, 0, 0}}}}}});
  Line small{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, true};
  Line large{{kHigh, Cores(4), "u", ""}, {{7, kHigh}}, true};
  EXPECT_EQ(Placed(&fleet, {small, large}), Jobs{}) << "half of the room is free: for nobody yet";
  fleet.GiveBack({"a"}, {2000, 0, 0});
  EXPECT_EQ(Placed(&fleet, {small, large}), Jobs{7});
  EXPECT_TRUE(fleet.claims().empty());
}

TEST(Claims, LastThoughTheirNodeRegistersAgain) {
  const NodeState node{.id = {"a"}, .online = true, .capacity = {4000, 0, 0}, .free = {2000, 0, 0}};
  Fleet fleet({node});
  fleet.AddClaim({7, {kHigh, Cores(4), "u", ""}, {{{"a"}, {{1, {2000, 0, 0}}}}}});
  fleet.Put(node);
  EXPECT_EQ(Placed(&fleet, {{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, true}}), Jobs{});
}

TEST(Claims, AHigherClassGoesBeforeThem) {
  Fleet fleet({{.id = {"a"}, .online = true, .capacity = {4000, 0, 0}, .free = {4000, 0, 0}}});
  fleet.AddClaim({7, {kNormal, Cores(4), "u", ""}, {{{"a"}, {}}}});
  EXPECT_EQ(Placed(&fleet, {{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, true}}), Jobs{});
  EXPECT_EQ(Placed(&fleet, {{{kHigh, Cores(1), "u", ""}, {{9, kHigh}}, true}}), Jobs{9});
}

TEST(Claims, WhatIsDroppedIsFreeForAll) {
  Fleet fleet({{.id = {"a"}, .online = true, .capacity = {4000, 0, 0}, .free = {4000, 0, 0}}});
  fleet.AddClaim({7, {kHigh, Cores(4), "u", ""}, {{{"a"}, {}}}});
  Line small{{kNormal, Cores(1), "u", ""}, {{8, kNormal}}, false};
  EXPECT_EQ(Placed(&fleet, {small}), Jobs{});
  fleet.DropClaim(fleet.claims().front());
  EXPECT_EQ(Placed(&fleet, {small}), Jobs{8}) << "the node counts as changed";
}

TEST(Claims, AGangHasOneWithAPlaceOnEachNode) {
  auto node = [](const char* id, int64_t free) {
    return NodeState{
        .id = {id}, .online = true, .capacity = {4000, 0, 0}, .free = {free, 0, 0}, .gangs = true};
  };
  Fleet fleet({node("a", 4000), node("b", 0), node("c", 4000)});
  Request two = Gang(2);
  fleet.AddClaim({7, {kHigh, two, "u", ""}, {{{"a"}, {}}, {{"b"}, {{1, {4000, 0, 0}}}}}});
  fleet.Take({"c"}, {4000, 0, 0});
  Line small{{kNormal, Cores(4), "u", ""}, {{8, kNormal}}, true};
  Line gang{{kHigh, two, "u", ""}, {{7, kHigh}}, true};
  EXPECT_EQ(Placed(&fleet, {small, gang}), Jobs{}) << "what is free waits for the rest";
  fleet.GiveBack({"c"}, {4000, 0, 0});
  EXPECT_EQ(Placed(&fleet, {small, gang}), Jobs{7}) << "wherever it has room first";
  EXPECT_TRUE(fleet.claims().empty());
  EXPECT_EQ(fleet.Find({"b"})->claims, 0);
  fleet.GiveBack({"b"}, {4000, 0, 0});
  EXPECT_EQ(Placed(&fleet, {small}), Jobs{8});
}

}  // namespace
}  // namespace cyxwiz::scheduler
