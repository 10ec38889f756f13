#include "scheduler/forecast.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cyxwiz::scheduler {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int32_t kLow = 0, kNormal = 1, kHigh = 2;

// Of which nothing is free.
NodeState FullNode(const std::string& id, int64_t cores) {
  NodeState node{.id = {id}, .online = true, .capacity = {cores * 1000, 64 * kGiB}, .devices = {1}};
  node.free = {0, 64 * kGiB};
  return node;
}
NodeState FreeNode(const std::string& id, int64_t cores) {
  NodeState node = FullNode(id, cores);
  node.free = node.capacity;
  return node;
}

LineKey KeyOf(int64_t cores, int32_t priority = kNormal, int32_t nodes = 1) {
  return {priority, {.resources = {cores * 1000, kGiB}, .nodes = nodes}, "", ""};
}
Line LineOf(const LineKey& key, const std::vector<int64_t>& jobs) {
  Line line{key, {}, true};
  for (int64_t job : jobs) line.jobs.push_back({job, key.priority});
  return line;
}

Running Runs(const std::string& node, int64_t cores, std::optional<Duration> remaining,
             int64_t job = 0, int64_t array = 0) {
  return {{node}, {cores * 1000, kGiB}, remaining, "", "", job, array};
}

std::optional<Duration> Unknown(int64_t) { return std::nullopt; }
std::optional<Duration> HalfAMinute(int64_t) { return seconds(30); }

TEST(Forecast, FollowsTheEndsOfOthers) {
  auto forecast = ForecastStart({.fleet = Fleet({FullNode("a", 2)}),
                                 .lines = {LineOf(KeyOf(1), {1, 2, 3})},
                                 .running = {Runs("a", 1, seconds(10)), Runs("a", 1, seconds(20))}},
                                {.job = 3}, HalfAMinute);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(seconds(40))) << "behind 1, which starts at 10";
  EXPECT_EQ(forecast->node.value, "a");
}

TEST(Forecast, AGangStartsWhenEnoughNodesAreFree) {
  Prospect prospect;
  std::vector<NodeState> nodes = {FullNode("a", 2), FullNode("b", 2), FullNode("c", 2)};
  for (NodeState& node : nodes) {
    node.gangs = true;
    prospect.running.push_back(Runs(node.id.value, 2, minutes(prospect.running.size() + 1)));
  }
  prospect.fleet = Fleet(std::move(nodes));
  prospect.lines = {LineOf(KeyOf(2, kNormal, 2), {7})};
  auto forecast = ForecastStart(std::move(prospect), {.job = 7}, Unknown);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(minutes(2)));
}

TEST(Forecast, ANodeThatIsKeptForAnotherIsNoPlaceToStart) {
  Fleet fleet({FreeNode("a", 2)});
  const LineKey large = KeyOf(4), small = KeyOf(1);
  fleet.AddHold({large, MonotonicTime::Never(), {}, {{{"a"}, {}, {}}}});
  EXPECT_FALSE(ForecastStart({.fleet = fleet, .lines = {LineOf(small, {1})}}, {.job = 1}, Unknown));
  EXPECT_TRUE(
      ForecastStart({.fleet = fleet, .lines = {LineOf(KeyOf(1, kHigh), {1})}}, {.job = 1}, Unknown))
      << "who goes before it";
}

TEST(Forecast, ANodeIsKeptUntilTheJobHasStartedForWhichItIs) {
  Fleet fleet({FullNode("a", 2)});
  const LineKey large = KeyOf(2), small = KeyOf(1);
  fleet.AddHold({large, MonotonicTime::Never(), {}, {{{"a"}, {}, {}}}});
  auto forecast = ForecastStart({.fleet = fleet,
                                 .lines = {LineOf(large, {1}), LineOf(small, {2})},
                                 .running = {Runs("a", 1, seconds(5)), Runs("a", 1, seconds(10))}},
                                {.job = 2}, HalfAMinute);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(seconds(40)));
}

TEST(Forecast, RoomThatIsMadeForAnotherIsNoPlaceToStart) {
  Fleet fleet({FullNode("a", 2)});
  const LineKey high = KeyOf(2, kHigh), low = KeyOf(1, kLow);
  fleet.AddClaim({1, high, {{{"a"}, {{8, {2000, kGiB}}}}}});
  Prospect prospect{.fleet = fleet,
                    .lines = {LineOf(high, {1}), LineOf(low, {2})},
                    .running = {Runs("a", 2, seconds(10), 8)}};
  auto first = ForecastStart(prospect, {.job = 1}, HalfAMinute);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->start, Duration(seconds(10)));
  auto second = ForecastStart(prospect, {.job = 2}, HalfAMinute);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->start, Duration(seconds(40)));
}

TEST(Forecast, AClaimThatNobodyTakesIsGivenUp) {
  Fleet fleet({FullNode("a", 2)});
  fleet.AddClaim({1, KeyOf(2, kHigh), {{{"a"}, {{8, {2000, kGiB}}}}}});  // its line has gone
  auto forecast = ForecastStart(
      {.fleet = fleet, .lines = {LineOf(KeyOf(1), {2})}, .running = {Runs("a", 2, seconds(10), 8)}},
      {.job = 2}, Unknown);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(seconds(10)));
}

TEST(Forecast, TheNodeThatKeepsTheDataIsNamed) {
  Fleet fleet({FreeNode("a", 2), FreeNode("b", 2)});
  fleet.SetData({"b"}, {77});
  Line line = LineOf(KeyOf(1), {1});
  EXPECT_EQ(ForecastStart({.fleet = fleet, .lines = {line}}, {.job = 1}, Unknown)->node.value, "a");
  line.jobs[0].data = 77;
  EXPECT_EQ(ForecastStart({.fleet = fleet, .lines = {line}}, {.job = 1}, Unknown)->node.value, "b");
}

TEST(Forecast, ANodeThatIsHeldIsUsedOnceItIsAskedAgain) {
  NodeState node = FreeNode("a", 2);
  node.held = true;
  Prospect prospect{.fleet = Fleet({node}), .lines = {LineOf(KeyOf(1), {1})}};
  EXPECT_FALSE(ForecastStart(prospect, {.job = 1}, Unknown));
  prospect.resting = {{{"a"}, seconds(7)}};
  auto forecast = ForecastStart(prospect, {.job = 1}, Unknown);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(seconds(7)));
}

TEST(Forecast, WhoIsNotDueDoesNotStartBefore) {
  Prospect prospect{.fleet = Fleet({FreeNode("a", 1)}),
                    .lines = {LineOf(KeyOf(1, kHigh), {1}), LineOf(KeyOf(1), {2})}};
  auto forecast = ForecastStart(prospect, {.job = 1, .not_before = seconds(20)}, HalfAMinute);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(seconds(30))) << "behind 2, which has begun";
}

TEST(Forecast, EachMemberOfAnArrayTakesItsRoomAndTime) {
  // Three members of array 1 before it, on a node for two.
  Prospect prospect{.fleet = Fleet({FreeNode("a", 2)}),
                    .lines = {LineOf(KeyOf(1), {1, 1, 1}), LineOf(KeyOf(2), {2})}};
  auto forecast = ForecastStart(prospect, {.job = 2}, HalfAMinute);
  ASSERT_TRUE(forecast);
  EXPECT_EQ(forecast->start, Duration(minutes(1)));
  auto last = ForecastStart(prospect, {.job = 1, .members_before = 2}, HalfAMinute);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->start, Duration(seconds(30)));
}

TEST(Forecast, AnArrayStartsNoMoreAtATimeThanItLets) {
  // One of array 1 runs, two more shall, one at a time.
  Prospect prospect{.fleet = Fleet({FreeNode("a", 2)}), .lines = {LineOf(KeyOf(1), {})}};
  prospect.fleet.Take({"a"}, {1000, kGiB});
  prospect.running = {Runs("a", 1, seconds(10), 5, 1)};
  prospect.rests = {{1, {0, {1, kNormal}, 2}}};
  auto next = ForecastStart(prospect, {.job = 1}, HalfAMinute);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->start, Duration(seconds(10)));
  auto last = ForecastStart(prospect, {.job = 1, .members_before = 1}, HalfAMinute);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->start, Duration(seconds(40)));
}

}  // namespace
}  // namespace cyxwiz::scheduler
