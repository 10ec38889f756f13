#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

namespace cyxwiz::scheduler {
namespace {

constexpr int64_t kGiB = 1ll << 30;

NodeState MakeNode(const std::string& id, int64_t cores, int64_t gib, int64_t gpus = 0,
                   int64_t gib_of_gpu = 8) {
  Resources all{cores * 1000, gib * kGiB};
  all.AddGpus(gpus, gib_of_gpu * kGiB);
  NodeState node{.id = NodeId{id}, .online = true, .capacity = all, .free = all, .devices = {1}};
  if (gpus > 0) node.devices.push_back(2);
  return node;
}

Line MakeLine(int32_t priority, int64_t cores, int64_t gib, std::vector<int64_t> sequences) {
  Line line{.key = {.priority = priority, .request = {.resources = {cores * 1000, gib * kGiB, 0}}},
            .jobs = {}};
  for (int64_t s : sequences) line.jobs.push_back({s, priority});
  return line;
}

std::vector<Placement> Plan(std::vector<NodeState> nodes, std::vector<Line> lines) {
  Fleet fleet(std::move(nodes));
  Shares shares;
  return Schedule(&fleet, lines, &shares, {});
}

TEST(Scheduler, HigherPriorityGoesFirstThenOlder) {
  auto plan = Plan({MakeNode("a", 2, 8)}, {MakeLine(1, 1, 1, {1, 2}), MakeLine(2, 1, 2, {3})});
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].job, 3);
  EXPECT_EQ(plan[1].job, 1);
}

TEST(Scheduler, OlderGoesFirstAcrossLinesOfOnePriority) {
  auto plan = Plan({MakeNode("a", 1, 8)}, {MakeLine(1, 1, 1, {5}), MakeLine(1, 1, 2, {4})});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].job, 4);
}

TEST(Scheduler, TakesTheBestFittingNode) {
  auto plan = Plan({MakeNode("big", 16, 64), MakeNode("small", 2, 4)}, {MakeLine(1, 2, 4, {1})});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "small");
}

TEST(Scheduler, PrefersTheNodeThatKeepsWhatTheJobReads) {
  Line line = MakeLine(1, 2, 1, {1, 2, 3});
  line.jobs[0].data = line.jobs[1].data = 7;
  line.jobs[2].data = 8;  // nowhere
  Fleet fleet({MakeNode("big", 16, 64), MakeNode("small", 2, 4), MakeNode("middle", 2, 8)});
  fleet.SetData({"middle"}, {7, 9});
  Shares shares;
  auto plan = Schedule(&fleet, {line}, &shares, {});
  ASSERT_EQ(plan.size(), 3u);
  EXPECT_EQ(plan[0].node.value, "middle");
  EXPECT_EQ(plan[1].node.value, "small") << "the one that keeps it is full";
  EXPECT_EQ(plan[2].node.value, "big");
  // It has been dropped there.
  fleet.GiveBack({"middle"}, line.key.request.resources);
  fleet.GiveBack({"small"}, line.key.request.resources);
  fleet.SetData({"middle"}, {9});
  line.jobs.resize(1);
  plan = Schedule(&fleet, {line}, &shares, {});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "small");
}

TEST(Scheduler, SparesGpuNodesForThoseWhoNeedThem) {
  auto plan = Plan({MakeNode("gpu", 4, 8, 1), MakeNode("cpu", 4, 8)}, {MakeLine(1, 1, 1, {1})});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "cpu");
}

TEST(Scheduler, NeverOversells) {
  auto plan =
      Plan({MakeNode("a", 3, 4), MakeNode("b", 2, 1)}, {MakeLine(1, 1, 1, {1, 2, 3, 4, 5, 6})});
  int on_a = 0, on_b = 0;
  for (auto& p : plan) (p.node.value == "a" ? on_a : on_b)++;
  EXPECT_EQ(on_a, 3);
  EXPECT_EQ(on_b, 1);
}

TEST(Scheduler, ALargeJobThatDoesNotFitDoesNotHoldUpASmallOne) {
  auto plan = Plan({MakeNode("a", 1, 1)}, {MakeLine(3, 4, 1, {1}), MakeLine(0, 1, 1, {2})});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].job, 2);
}

TEST(Scheduler, OfflineHeldAndDevicelessNodesGetNothing) {
  NodeState offline = MakeNode("a", 4, 4), held = MakeNode("b", 4, 4);
  offline.online = false;
  held.held = true;
  EXPECT_TRUE(Plan({offline, held}, {MakeLine(1, 1, 1, {1})}).empty());
  Line gpu = MakeLine(1, 1, 1, {1});
  gpu.key.request.device = 2;
  EXPECT_TRUE(Plan({MakeNode("c", 4, 4)}, {gpu}).empty());
}

TEST(Scheduler, MostPlacementsBoundsThePlan) {
  Fleet fleet({MakeNode("a", 3, 4), MakeNode("b", 2, 1)});
  EXPECT_EQ(MostPlacements({{1000, kGiB, 0}}, fleet, false), 4);
  EXPECT_EQ(MostPlacements({{8000, kGiB, 0}}, fleet, false), 0);
  Shares shares;
  Schedule(&fleet, {}, &shares, {});
  EXPECT_EQ(MostPlacements({{1000, kGiB, 0}}, fleet, true), 0) << "nothing has changed";
  fleet.GiveBack({"b"}, {});
  EXPECT_EQ(MostPlacements({{1000, kGiB, 0}}, fleet, true), 1);
}

TEST(Scheduler, CountsNamedResourcesAndScratchSpace) {
  NodeState node = MakeNode("a", 8, 8);
  node.capacity.SetNamed("licence", 2);
  node.capacity.disk_bytes = 10 * kGiB;
  node.free = node.capacity;
  Line licence = MakeLine(1, 1, 1, {1, 2, 3}), disk = MakeLine(0, 1, 1, {4, 5});
  licence.key.request.resources.SetNamed("licence", 1);
  disk.key.request.resources.disk_bytes = 6 * kGiB;
  auto plan = Plan({node}, {licence, disk});
  ASSERT_EQ(plan.size(), 3u);
  EXPECT_EQ(plan[0].job, 1);
  EXPECT_EQ(plan[1].job, 2);
  EXPECT_EQ(plan[2].job, 4);
  EXPECT_TRUE(Plan({MakeNode("b", 8, 8)}, {licence}).empty()) << "none there";
}

TEST(Scheduler, AJobGoesOnlyWhereItsLabelsAre) {
  NodeState a = MakeNode("a", 8, 8), b = MakeNode("b", 8, 8);
  a.labels = std::make_shared<const Labels>(Labels{{"zone", "west"}});
  b.labels = std::make_shared<const Labels>(Labels{{"disk", "fast"}, {"zone", "east"}});
  Line line = MakeLine(1, 1, 1, {1});
  line.key.request.labels = {{"zone", "east"}};
  auto plan = Plan({a, b}, {line});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "b");
  line.key.request.labels["disk"] = "slow";
  auto reasons = Explain(line.key.request, {a, b});
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_EQ(reasons[0].code, "NO_SUCH_LABEL");
  EXPECT_EQ(reasons[0].message, "2 nodes without the labels disk=slow, zone=east");
  const Status refused = CouldEverRun(line.key.request, {a, b});
  EXPECT_NE(refused.message().find("disk=slow"), std::string::npos) << refused;
  EXPECT_NE(refused.hint().find("--labels"), std::string::npos) << refused;
}

TEST(Scheduler, NodesOfAPoolTakeOnlyJobsThatNameIt) {
  NodeState pooled = MakeNode("gpu", 4, 4);
  pooled.labels = std::make_shared<const Labels>(Labels{{"pool", "gpu"}});
  Line named = MakeLine(1, 1, 1, {1}), none = MakeLine(1, 1, 1, {2});
  named.key.request.labels = {{"pool", "gpu"}};
  auto plan = Plan({pooled, MakeNode("plain", 4, 4)}, {named, none});
  ASSERT_EQ(plan.size(), 2u);
  for (const Placement& one : plan) EXPECT_EQ(one.node.value, one.job == 1 ? "gpu" : "plain");
  auto reasons = Explain(none.key.request, {pooled});
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_EQ(reasons[0].code, "OTHER_POOL");
  EXPECT_EQ(SmallestChange(none.key.request, {pooled}),
            "add a node that is in no pool, or name the pool 'gpu' in the job");
  const Status refused = CouldEverRun(none.key.request, {pooled});
  EXPECT_EQ(refused.message(), "all registered nodes are in pools, and the job names none");
  EXPECT_NE(refused.hint().find("\"pool\""), std::string::npos) << refused;
  EXPECT_TRUE(CouldEverRun(named.key.request, {pooled}).ok());
}

TEST(Scheduler, JobsOfAnAntiAffinityGroupNeverShareANode) {
  Line apart = MakeLine(1, 1, 1, {1, 2, 3}), other = MakeLine(1, 1, 1, {4});
  apart.key.request.resources.SetNamed(AntiAffinityToken("ann", "web"), 1);
  other.key.request.resources.SetNamed(AntiAffinityToken("bob", "web"), 1);
  Fleet fleet({MakeNode("a", 4, 4), MakeNode("b", 4, 4)});
  EXPECT_EQ(MostPlacements(apart.key.request, fleet, false), 2);
  Shares shares;
  auto plan = Schedule(&fleet, {apart, other}, &shares, {});
  std::map<int64_t, std::string> where;
  for (const Placement& one : plan) where[one.job] = one.node.value;
  ASSERT_EQ(where.size(), 3u);  // not the third of ann's
  EXPECT_NE(where[1], where[2]);
  EXPECT_TRUE(where.contains(4));
  auto reasons = Explain(apart.key.request, fleet.nodes());
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_EQ(reasons[0].code, "ANTI_AFFINITY");
  EXPECT_EQ(reasons[0].nodes.size(), 2u);
  EXPECT_EQ(SmallestChange(apart.key.request, fleet.nodes()),
            "a job of the same anti-affinity group must end on node 'a'");
  // One of them ends.
  fleet.GiveBack({"b"}, apart.key.request.resources);
  Line third = MakeLine(1, 1, 1, {3});
  third.key.request = apart.key.request;
  plan = Schedule(&fleet, {third}, &shares, {});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "b");
}

TEST(Scheduler, AQuarantinedNodeGetsNothingButOneProbe) {
  NodeState sick = MakeNode("sick", 8, 8);
  sick.quarantined = true;
  EXPECT_TRUE(Plan({sick}, {MakeLine(1, 1, 1, {1, 2})}).empty());
  EXPECT_EQ(Explain({{1000, kGiB, 0}}, {sick})[0].code, "NODES_QUARANTINED");
  sick.probe = true;
  EXPECT_EQ(Plan({sick}, {MakeLine(1, 1, 1, {1, 2})}).size(), 1u);
}

// A pass that looks only at what has changed must do what a pass that tries every job on every
// node, one after the other, would do.
TEST(Scheduler, PassesThatLookAtChangesAloneDoTheSameAsWholeOnes) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    auto draw = [&random](int from, int to) {
      return from + static_cast<int>(random() % static_cast<uint32_t>(to - from + 1));
    };
    std::vector<NodeState> nodes;
    for (int i = draw(1, 8); i > 0; --i) {
      nodes.push_back(MakeNode("n" + std::to_string(draw(0, 99)) + "-" + std::to_string(i),
                               draw(1, 4), draw(1, 4), draw(0, 1)));
    }
    Fleet fleet(nodes), reference(nodes);
    Shares shares, reference_shares;
    Resources total;
    for (const NodeState& node : nodes) total += node.capacity;
    shares.SetTotal(total);
    reference_shares.SetTotal(total);
    std::map<std::string, Quota> limits;
    if (draw(0, 1)) {
      limits["user:ann"] = {.cpu_millis = 1000 * draw(0, 4), .borrow = draw(0, 1) == 0};
      if (draw(0, 1))
        limits["user:bob"] = {.gpu_millis = 500 * draw(0, 2), .borrow = draw(0, 1) == 0};
    }
    Quotas quotas(limits), reference_quotas(limits);
    MonotonicTime now;
    using Key = std::tuple<int32_t, int, std::string>;
    std::map<Key, std::pair<Request, std::set<int64_t>>> queue;
    std::set<Key> known;
    std::vector<std::tuple<NodeId, Resources, std::string>> running;  // and what they hold
    int64_t sequence = 0;
    for (int round = 0; round < 40; ++round) {
      for (int i = draw(0, 3); i > 0; --i) {
        int kind = draw(0, 7), priority = draw(0, 2);
        Request request{{1000 * (1 + kind % 3), (1 + kind / 3) * kGiB}, kind > 4 ? 2 : 0, {}, {}};
        if (kind == 5) request.resources.gpu_millis = kWholeGpu;
        if (kind > 5) request.resources.gpu_millis = 500;
        if (kind > 6) request.resources.gpu_memory_bytes = 5 * kGiB;
        auto& line = queue[{priority, kind, draw(0, 1) ? "ann" : "bob"}];
        line.first = request;
        line.second.insert(++sequence);
      }
      for (int i = draw(0, 2); i > 0 && !running.empty(); --i) {
        size_t which = random() % running.size();
        auto& [node, amount, account] = running[which];
        fleet.GiveBack(node, amount);
        reference.GiveBack(node, amount);
        amount.gpus = {};
        shares.GiveBack(account, "", amount, now);
        reference_shares.GiveBack(account, "", amount, now);
        quotas.GiveBack(account, "", amount);
        reference_quotas.GiveBack(account, "", amount);
        running.erase(running.begin() + static_cast<ptrdiff_t>(which));
      }
      if (draw(0, 3) == 0) {
        NodeId id = nodes[random() % nodes.size()].id;
        bool online = draw(0, 2) != 0;
        fleet.Change(id, [&](NodeState& node) { node.online = online; });
        reference.Change(id, [&](NodeState& node) { node.online = online; });
      }
      now = now + std::chrono::minutes(draw(0, 600));
      auto key_of = [](const Key& key, const Request& request) {
        return LineKey{std::get<0>(key), request, std::get<2>(key), ""};
      };
      std::vector<Line> lines;
      for (const auto& [key, line] : queue) {
        Line one{key_of(key, line.first), {}, known.count(key) == 0};
        for (int64_t job : line.second) one.jobs.push_back({job, one.key.priority});
        lines.push_back(std::move(one));
      }
      known.clear();
      std::vector<Placement> got = Schedule(&fleet, lines, &shares, now, &quotas), wanted;
      std::set<int64_t> tried;
      for (;;) {  // the first of those that were not tried, by what their accounts have now
        const std::pair<const Key, std::pair<Request, std::set<int64_t>>>* first = nullptr;
        std::tuple<bool, int32_t, Share, int64_t> first_rank;
        for (const auto& one : queue) {
          for (int64_t job : one.second.second) {
            if (tried.count(job) > 0) continue;
            std::tuple<bool, int32_t, Share, int64_t> rank(
                reference_quotas.Of(key_of(one.first, one.second.first)) != Standing::kWithin,
                -std::get<0>(one.first), reference_shares.Of(std::get<2>(one.first), "", now), job);
            if (first == nullptr || rank < first_rank) {
              first = &one;
              first_rank = rank;
            }
          }
        }
        if (first == nullptr) break;
        int64_t job = std::get<3>(first_rank);
        tried.insert(job);
        Line alone{
            key_of(first->first, first->second.first), {{job, std::get<0>(first->first)}}, true};
        reference.Change(nodes[0].id, [](NodeState&) {});
        for (Placement& one :
             Schedule(&reference, {alone}, &reference_shares, now, &reference_quotas))
          wanted.push_back(std::move(one));
      }
      ASSERT_EQ(got.size(), wanted.size()) << "seed " << seed << ", round " << round;
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].job, wanted[i].job) << "seed " << seed << ", round " << round;
        ASSERT_EQ(got[i].node, wanted[i].node) << "seed " << seed << ", round " << round;
        ASSERT_EQ(got[i].gpus, wanted[i].gpus) << "seed " << seed << ", round " << round;
        for (auto& [key, line] : queue) {
          if (line.second.erase(got[i].job) == 0) continue;
          Resources held = line.first.resources;
          if (held.AsksForGpu()) held.gpus = got[i].gpus.at(0);
          running.emplace_back(got[i].node, held, std::get<2>(key));
        }
      }
      std::erase_if(queue, [](const auto& one) { return one.second.second.empty(); });
      for (const auto& [key, line] : queue) {
        if (quotas.Of(key_of(key, line.first)) != Standing::kBlocked) known.insert(key);
      }
    }
  }
}

TEST(Scheduler, TheAccountThatHasHadLeastGoesFirst) {
  Fleet fleet({MakeNode("a", 3, 8)});
  Shares shares(std::chrono::hours(24), {{"vip", 2.0}});
  shares.SetTotal({8000, 16 * kGiB, 0});
  shares.Take("ann", "", {1000, kGiB, 0}, {});
  Line ann = MakeLine(1, 1, 1, {1, 2, 3}), bob = MakeLine(1, 1, 1, {4, 5, 6});
  ann.key.account = "ann";
  bob.key.account = "bob";
  auto plan = Schedule(&fleet, {ann, bob}, &shares, {});
  ASSERT_EQ(plan.size(), 3u);
  EXPECT_EQ(plan[0].job, 4) << "bob has nothing yet";
  EXPECT_EQ(plan[1].job, 1) << "both have one core: the older";
  EXPECT_EQ(plan[2].job, 5);
}

TEST(Scheduler, AJobThatHasGainedByWaitingGoesBeforeAHigherClass) {
  Line low = MakeLine(0, 1, 1, {1}), high = MakeLine(2, 1, 1, {2});
  low.jobs[0].priority = 3;
  auto plan = Plan({MakeNode("a", 1, 8)}, {low, high});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].job, 1);
}

TEST(Shares, HoldThePastHalfAsMuchAfterEachHalfLife) {
  using std::chrono::hours;
  Shares shares(hours(24), {{"vip", 4.0}});
  shares.SetTotal({10'000, 100, 0});
  auto after = [](int h) { return MonotonicTime{} + hours(h); };
  shares.Take("ann", "", {5000, 20, 0}, after(0));
  EXPECT_DOUBLE_EQ(shares.Of("ann", "", after(0)).of_project, 0.5)
      << "the largest part of any resource";
  EXPECT_DOUBLE_EQ(shares.Of("ann", "", after(24)).of_project, 0.5 + 0.25)
      << "the average is half way there";
  shares.GiveBack("ann", "", {5000, 20, 0}, after(24));
  EXPECT_DOUBLE_EQ(shares.Of("ann", "", after(48)).of_project, 0.125);
  EXPECT_DOUBLE_EQ(shares.Of("nobody", "", after(48)).of_project, 0);
  shares.Take("vip", "", {5000, 20, 0}, after(48));
  EXPECT_DOUBLE_EQ(shares.Of("vip", "", after(48)).of_project, 0.125) << "a weight of four";
  // What is remembered at a start is what would have been there without one.
  Shares again(hours(24));
  again.SetTotal({10'000, 100, 0});
  again.Remember("ann", "", {5000, 20, 0}, hours(48), hours(24), after(0));
  EXPECT_DOUBLE_EQ(again.Of("ann", "", after(0)).of_project, 0.125);
}

TEST(Shares, OfProjectsCountFirstAndWithinOneThoseOfItsUsers) {
  Shares shares(std::chrono::hours(24), {{"project:big", 3.0}, {"bob", 2.0}});
  shares.SetTotal({12'000, 100, 0});
  shares.Take("ann", "big", {3000, 1, 0}, {});
  shares.Take("bob", "small", {1000, 1, 0}, {});
  shares.Take("eve", "", {600, 1, 0}, {});
  auto expect = [&](const char* user, const char* project, double of_project, double of_user) {
    const Share share = shares.Of(user, project, {});
    EXPECT_DOUBLE_EQ(share.of_project, of_project) << user << " of " << project;
    EXPECT_DOUBLE_EQ(share.of_user, of_user) << user << " of " << project;
  };
  expect("ann", "big", 0.25 / 3, 0.25);
  expect("bob", "big", 0.25 / 3, 0);
  expect("bob", "small", 1.0 / 12, 0.5 / 12);
  expect("ann", "small", 1.0 / 12, 0);
  expect("eve", "", 0.05, 0.05);
  expect("big", "", 0, 0);
  EXPECT_LT(shares.Of("bob", "big", {}), shares.Of("ann", "big", {}));
  EXPECT_LT(shares.Of("eve", "", {}), shares.Of("bob", "big", {})) << "the project's counts first";
  EXPECT_TRUE(shares.Of("ann", "big", {}).Exceeds(shares.Of("eve", "", {}), 1.5));
  EXPECT_FALSE(shares.Of("bob", "big", {}).Exceeds(shares.Of("ann", "big", {}), 1));
  EXPECT_TRUE(shares.Of("ann", "big", {}).Exceeds(shares.Of("bob", "big", {}), 2));
  shares.GiveBack("ann", "big", {3000, 1, 0}, {});
  expect("ann", "big", 0, 0);
}

TEST(Shares, AreThoseOfTheResourceOfWhichTheMostIsHeld) {
  Resources total{10'000, 100, 0}, amount{1000, 20, 0};
  total.SetNamed("licence", 4);
  amount.SetNamed("licence", 2);
  Shares shares;
  shares.SetTotal(total);
  shares.Take("ann", "", amount, {});
  EXPECT_DOUBLE_EQ(shares.Of("ann", "", {}).of_project, 0.5) << "two of four licences";
}

TEST(Shares, AreBoundedThoughNamesComeFromClients) {
  Shares shares;
  shares.SetTotal({1000, 1, 0});
  MonotonicTime now;
  shares.Take("ann", "first", {1000, 1, 0}, now);
  shares.GiveBack("ann", "first", {1000, 1, 0}, now + std::chrono::seconds(1));
  for (int i = 0; i < 30'000; ++i) {
    now = now + std::chrono::seconds(1);
    shares.Take("u" + std::to_string(i), "", {1000, 1, 0}, now);
    shares.GiveBack("u" + std::to_string(i), "", {1000, 1, 0}, now + std::chrono::seconds(1));
  }
  EXPECT_LE(shares.size(), 10'001u);
  EXPECT_EQ(shares.Of("ann", "first", now), Share()) << "a project goes with its last user";
}

// A fleet of one kind of resource, time in steps of one minute, and every job with a limit that it
// uses in full: the worst case.
class HoldTest : public testing::Test {
 protected:
  struct Job {
    Request request;
    MonotonicTime end;
    NodeId node;
  };
  MonotonicTime At(int minute) { return MonotonicTime{} + std::chrono::minutes(minute); }
  Request Ask(int64_t cores, int minutes) {
    return {{cores * 1000, kGiB, 0}, 0, {}, std::chrono::minutes(minutes)};
  }
  // Of one that starts now, at the latest.
  MonotonicTime EndOf(const Request& request) {
    return request.run_limit > Duration::zero() ? now_ + request.run_limit + kTimeToStop
                                                : MonotonicTime::Never();
  }
  std::vector<Occupant> Occupants(const NodeId& node) {
    std::vector<Occupant> there;
    for (const auto& [sequence, job] : running_) {
      if (job.node == node) there.push_back({sequence, job.request.resources, job.end, job.end});
    }
    return there;
  }
  void Start(Fleet* fleet, int64_t sequence, const Request& request, const NodeId& node) {
    fleet->Take(node, request.resources);
    running_[sequence] = {request, EndOf(request), node};
  }
  static LineKey LineOf(const Request& request) { return {1, request, "", ""}; }
  std::optional<Hold> PlanFor(const Fleet& fleet, const Request& request) {
    const LineKey line = LineOf(request);
    return PlanHold(fleet, line, fleet.HoldOf(line), now_,
                    [this](const NodeId& node) { return Occupants(node); });
  }

  MonotonicTime now_;
  std::map<int64_t, Job> running_;
};

TEST_F(HoldTest, TakesTheNodeWhereTheJobStartsFirst) {
  Fleet fleet({MakeNode("a", 4, 64), MakeNode("b", 4, 64), MakeNode("tiny", 1, 64)});
  Start(&fleet, 1, Ask(2, 30), {"a"});
  Start(&fleet, 2, Ask(2, 50), {"a"});
  Start(&fleet, 3, Ask(4, 40), {"b"});
  auto hold = PlanFor(fleet, Ask(4, 10));
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(hold->places[0].node.value, "b");
  EXPECT_EQ(hold->start, At(40) + kTimeToStop);
  hold = PlanFor(fleet, Ask(2, 10));
  EXPECT_EQ(hold->places[0].node.value, "a");
  EXPECT_EQ(hold->start, At(30) + kTimeToStop);
  EXPECT_FALSE(PlanFor(fleet, Ask(5, 10)).has_value()) << "too large for any";
}

TEST_F(HoldTest, LastsThoughItsNodeRegistersAgain) {
  Fleet fleet({MakeNode("a", 4, 64)});
  fleet.AddHold(*PlanFor(fleet, Ask(4, 10)));
  fleet.Put(MakeNode("a", 4, 64));
  EXPECT_TRUE(IsKeptFrom(fleet, *fleet.Find({"a"}), {1, Ask(1, 0), "", ""}, now_));
}

TEST_F(HoldTest, LetsInOnlyWhatCannotDelayIt) {
  Fleet fleet({MakeNode("a", 4, 64)});
  Start(&fleet, 1, Ask(2, 30), {"a"});
  fleet.AddHold(*PlanFor(fleet, Ask(3, 10)));
  const NodeState& held = *fleet.Find({"a"});
  EXPECT_EQ(fleet.holds()[0].places[0].spare.cpu_millis, 1000);
  EXPECT_TRUE(IsKeptFrom(fleet, held, {1, Ask(2, 31), "", ""}, now_)) << "would still be there";
  EXPECT_FALSE(IsKeptFrom(fleet, held, {1, Ask(2, 30), "", ""}, now_)) << "is gone by then";
  EXPECT_TRUE(IsKeptFrom(fleet, held, {1, Ask(2, 0), "", ""}, now_))
      << "may stay as long as it likes";
  EXPECT_FALSE(IsKeptFrom(fleet, held, {1, Ask(1, 0), "", ""}, now_)) << "fits beside it";
  EXPECT_FALSE(IsKeptFrom(fleet, held, {2, Ask(2, 0), "", ""}, now_)) << "goes before it";
  Shares shares;
  Line one{{1, Ask(1, 0), "", ""}, {{10, 1}, {11, 1}}, true};
  EXPECT_EQ(Schedule(&fleet, {one}, &shares, now_).size(), 1u)
      << "a second one does not fit beside";
}

TEST_F(HoldTest, WithoutLimitsAllThatRunsMayHaveToEndFirst) {
  Fleet fleet({MakeNode("a", 4, 64)});
  Start(&fleet, 1, Ask(3, 0), {"a"});
  auto hold = PlanFor(fleet, Ask(3, 10));
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(hold->start, MonotonicTime::Never());
  EXPECT_EQ(hold->places[0].spare.cpu_millis, 1000);
}

// Small jobs without end stream in; the job that waits starts no later than it was promised when
// the node was first kept for it.
TEST_F(HoldTest, NoPromiseIsBroken) {
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    auto draw = [&random](int from, int to) {
      return from + static_cast<int>(random() % static_cast<uint32_t>(to - from + 1));
    };
    running_.clear();
    now_ = {};
    std::vector<NodeState> nodes;
    for (int i = draw(1, 4); i > 0; --i)
      nodes.push_back(MakeNode("n" + std::to_string(i), draw(3, 8), 64));
    Fleet fleet(nodes);
    Shares shares;
    std::map<int64_t, Request> queue;
    const int64_t large = 1000;
    const Request large_request = Ask(draw(2, 3), 10);
    std::optional<MonotonicTime> promised, started;
    int64_t next = 2000;
    for (int minute = 0; minute < 400 && !started; ++minute) {
      now_ = At(minute);
      for (auto job = running_.begin(); job != running_.end();) {
        // At its limit, or any time before.
        bool over = job->second.end <= now_ + kTimeToStop || draw(0, 40) == 0;
        if (over) fleet.GiveBack(job->second.node, job->second.request.resources);
        job = over ? running_.erase(job) : std::next(job);
      }
      for (int i = draw(0, 4); i > 0; --i)
        queue[next++] = Ask(draw(1, 2), draw(0, 2) ? draw(5, 90) : 0);
      if (minute == 20) queue[large] = large_request;
      if (minute >= 30) {
        auto hold = PlanFor(fleet, large_request);
        ASSERT_TRUE(hold.has_value());
        if (!promised || hold->start < *promised) promised = hold->start;
        EXPECT_LE(hold->start, *promised) << "seed " << seed << ", minute " << minute;
        if (fleet.holds().empty()) {
          fleet.AddHold(std::move(*hold));
        } else {
          fleet.SetHold(0, std::move(*hold));
        }
      }
      std::vector<Line> lines;
      for (const auto& [sequence, request] : queue)
        lines.push_back({{1, request, "", ""}, {{sequence, 1}}, true});
      for (const Placement& one : Schedule(&fleet, lines, &shares, now_)) {
        const Request request = queue.at(one.job);
        running_[one.job] = {request, EndOf(request), one.node};
        queue.erase(one.job);
        if (one.job == large) started = now_;
      }
    }
    if (promised && *promised != MonotonicTime::Never()) {
      ASSERT_TRUE(started.has_value()) << "seed " << seed;
      EXPECT_LE(*started, *promised) << "seed " << seed;
    }
  }
}

TEST(Explain, TellsAllThatStandsInTheWayOnANode) {
  NodeState node = MakeNode("a", 2, 8);
  node.cordoned = node.held = true;
  node.free.cpu_millis = 500;
  const Request request{{2000, kGiB, 0}};
  std::vector<std::string> codes;
  auto is_kept = [](const NodeState&) { return true; };
  for (const Reason& reason : Explain(request, {node}, is_kept)) codes.push_back(reason.code);
  EXPECT_EQ(codes, (std::vector<std::string>{"NOT_ENOUGH_FREE", "NODES_KEPT", "NODES_HELD",
                                             "NODES_CORDONED"}));
  EXPECT_EQ(SmallestChange(request, {node}, is_kept),
            "uncordon node 'a', and node 'a' must have 1.5 cores more free, and wait a moment: "
            "node 'a' is tried again, and the job that node 'a' is kept for must start first");
  node.capacity.cpu_millis = 1000;  // the rest would not help
  codes.clear();
  for (const Reason& reason : Explain(request, {node}, is_kept)) codes.push_back(reason.code);
  EXPECT_EQ(codes, std::vector<std::string>{"TOO_LARGE"});
}

TEST(Explain, TheSmallestChangeIsOnTheNodeWithTheLeastInTheWay) {
  NodeState both = MakeNode("both", 2, 8), cordoned = MakeNode("cordoned", 2, 8);
  both.cordoned = cordoned.cordoned = true;
  both.free.cpu_millis = 0;
  EXPECT_EQ(SmallestChange({{1000, kGiB, 0}}, {both, cordoned}), "uncordon node 'cordoned'");
  EXPECT_EQ(SmallestChange({{1000, kGiB, 0}}, {both}),
            "uncordon node 'both', and node 'both' must have 1 core more free");
}

TEST(Explain, TellsOfAJobThatFitsNowhereAllThatIsMissing) {
  std::vector<std::string> codes;
  Request request{{8000, kGiB, 1000}, 2, {{"disk", "ssd"}}};
  for (const Reason& reason : Explain(request, {MakeNode("a", 2, 8)})) codes.push_back(reason.code);
  EXPECT_EQ(codes, (std::vector<std::string>{"NO_SUCH_DEVICE", "NO_SUCH_LABEL", "TOO_LARGE"}));
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
  EXPECT_TRUE(CouldEverRun({{1000000, kGiB, 0}}, {}).ok());
  const Status large = CouldEverRun({{64000, kGiB, 0}}, {MakeNode("a", 4, 8)});
  EXPECT_NE(large.message().find("64 cores"), std::string::npos) << large;
  EXPECT_NE(large.message().find("4 cores, 8.0 GiB"), std::string::npos) << large;
  EXPECT_NE(large.hint().find("ask for less"), std::string::npos) << large;
  const Status device = CouldEverRun({{1000, kGiB, 0}, 2}, {MakeNode("a", 4, 8)});
  EXPECT_NE(device.message().find("CUDA"), std::string::npos) << device;
  EXPECT_NE(device.hint().find("\"device\""), std::string::npos) << device;
}

NodeState GangNode(const std::string& id, int64_t cores) {
  NodeState node = MakeNode(id, cores, 64);
  node.gangs = true;
  return node;
}
Line GangLine(int32_t nodes, int64_t cores, std::vector<int64_t> sequences, int32_t priority = 1) {
  Line line = MakeLine(priority, cores, 1, std::move(sequences));
  line.key.request.nodes = nodes;
  return line;
}
std::set<std::string> NodesOf(const Placement& placement) {
  std::set<std::string> ids = {placement.node.value};
  for (const NodeId& node : placement.others) ids.insert(node.value);
  return ids;
}

TEST(Gangs, GetTheBestFittingNodesAllAtOnce) {
  std::vector<NodeState> nodes = {GangNode("big", 16), GangNode("a", 2), GangNode("b", 3),
                                  GangNode("tiny", 1)};
  auto plan = Plan(nodes, {GangLine(2, 2, {1})});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "a");
  EXPECT_EQ(NodesOf(plan[0]), (std::set<std::string>{"a", "b"}));
  EXPECT_TRUE(Plan(nodes, {GangLine(4, 2, {1})}).empty()) << "three could hold a rank";
  EXPECT_EQ(Plan(nodes, {GangLine(2, 2, {1, 2, 3})}).size(), 1u)
      << "'big' alone is no two nodes for another";
}

Line ElasticLine(int32_t least, int32_t most, std::vector<int64_t> sequences) {
  Line line = GangLine(most, 2, std::move(sequences));
  line.key.request.min_nodes = least;
  return line;
}

TEST(Gangs, AnElasticOneGetsWhatFitsBetweenItsLeastAndItsMost) {
  std::vector<NodeState> nodes = {GangNode("big", 16), GangNode("a", 2), GangNode("b", 3),
                                  GangNode("tiny", 1)};
  EXPECT_EQ(NodesOf(Plan(nodes, {ElasticLine(1, 2, {1})}).at(0)), (std::set<std::string>{"a", "b"}))
      << "the best of them";
  EXPECT_EQ(NodesOf(Plan(nodes, {ElasticLine(2, 4, {1})}).at(0)),
            (std::set<std::string>{"a", "b", "big"}));
  EXPECT_TRUE(Plan(nodes, {ElasticLine(4, 5, {1})}).empty()) << "three could hold a rank";
  auto two =
      Plan({GangNode("a", 2), GangNode("b", 2), GangNode("c", 2)}, {ElasticLine(1, 2, {1, 2})});
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(NodesOf(two[0]).size(), 2u);
  EXPECT_EQ(NodesOf(two[1]), std::set<std::string>{"c"}) << "what the first has left";
}

TEST(Gangs, AnElasticOneGoesBeyondNoQuotaThatItsLeastKeeps) {
  auto nodes_of = [](const Quota& quota) {
    Fleet fleet({GangNode("a", 2), GangNode("b", 2), GangNode("c", 2)});
    Shares shares;
    shares.SetTotal({6000, 0, 0});
    Quotas quotas({{"user:ann", quota}});
    Line line = ElasticLine(1, 3, {1});
    line.key.account = "ann";
    auto plan = Schedule(&fleet, {line}, &shares, {}, &quotas);
    if (plan.empty()) return size_t{0};
    const auto nodes = static_cast<double>(NodesOf(plan[0]).size());
    EXPECT_EQ(shares.Of("ann", "", {}).of_project, nodes / 3);
    return NodesOf(plan[0]).size();
  };
  EXPECT_EQ(nodes_of({.cpu_millis = 5000, .borrow = false}), 2u);
  EXPECT_EQ(nodes_of({.cpu_millis = 5000, .borrow = true}), 2u) << "it does not borrow to grow";
  EXPECT_EQ(nodes_of({.cpu_millis = 1000, .borrow = true}), 3u) << "it borrows anyhow";
  EXPECT_EQ(nodes_of({.cpu_millis = 1000, .borrow = false}), 0u);
}

TEST(Gangs, ProcessesOfOneNodeNeedOneThatTakesRanks) {
  Line line = MakeLine(1, 2, 1, {1});
  line.key.request.processes = 2;
  auto plan = Plan({MakeNode("a", 2, 64), GangNode("b", 4)}, {line});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "b");
  EXPECT_TRUE(plan[0].others.empty());
  EXPECT_EQ(CouldEverRun(line.key.request, {MakeNode("a", 2, 64)}).message(),
            "the job needs 2 processes, and no registered node takes ranks of gangs");
}

TEST(Gangs, OneThatDoesNotFitDoesNotHoldUpOthers) {
  auto plan = Plan({GangNode("a", 2), GangNode("b", 1)},
                   {GangLine(2, 2, {1}, 3), MakeLine(1, 1, 1, {2, 3})});
  EXPECT_EQ(plan.size(), 2u);
}

TEST(Gangs, ANodeThatHasChangedMayBeWhatWasMissing) {
  Fleet fleet({GangNode("a", 2), GangNode("b", 2)});
  Shares shares;
  fleet.Take({"b"}, {1000, 0, 0});
  Line line = GangLine(2, 2, {1});
  EXPECT_EQ(MostPlacements(line.key.request, fleet, false), 0);
  EXPECT_TRUE(Schedule(&fleet, {line}, &shares, {}).empty());
  line.fresh = false;
  EXPECT_EQ(MostPlacements(line.key.request, fleet, true), 0);
  fleet.GiveBack({"b"}, {1000, 0, 0});
  EXPECT_EQ(MostPlacements(line.key.request, fleet, true), 1);
  EXPECT_EQ(Schedule(&fleet, {line}, &shares, {}).size(), 1u);
}

TEST(Gangs, CountWholeInSharesAndQuotas) {
  Fleet fleet({GangNode("a", 2), GangNode("b", 2)});
  Shares shares;
  shares.SetTotal({4000, 0, 0});
  Quotas quotas({{"user:ann", {.cpu_millis = 4000, .borrow = false}}});
  Line line = GangLine(2, 2, {1});
  line.key.account = "ann";
  ASSERT_EQ(Schedule(&fleet, {line}, &shares, {}, &quotas).size(), 1u);
  EXPECT_EQ(shares.Of("ann", "", {}).of_project, 1.0);
  EXPECT_EQ(quotas.Of(MakeLine(1, 1, 1, {}).key), Standing::kBorrows);
  Line one = MakeLine(1, 1, 1, {2});
  one.key.account = "ann";
  EXPECT_EQ(quotas.Of(one.key), Standing::kBlocked);
}

TEST(Gangs, AreToldHowManyNodesAreReady) {
  NodeState alone = MakeNode("alone", 4, 64), busy = GangNode("busy", 4);
  busy.free.cpu_millis = 1000;
  const std::vector<NodeState> nodes = {GangNode("a", 4), busy, alone};
  const Request request = GangLine(3, 2, {}).key.request;
  std::vector<std::string> codes;
  for (const Reason& reason : Explain(request, nodes)) codes.push_back(reason.code);
  EXPECT_EQ(codes, (std::vector<std::string>{"TOO_FEW_NODES", "NOT_ENOUGH_FREE", "NO_GANGS"}));
  EXPECT_EQ(Explain(request, nodes)[0].nodes, std::vector<NodeId>{{"a"}});
  EXPECT_EQ(
      SmallestChange(request, nodes),
      "2 more nodes must be able to take a rank, first: node 'busy' must have 1 core more free");
  EXPECT_EQ(
      CouldEverRun(request, nodes).message(),
      "the job needs 3 nodes with 2 cores, 1.0 GiB each, and of 3 registered 2 can hold that");
  EXPECT_TRUE(CouldEverRun(GangLine(2, 2, {}).key.request, nodes).ok());
  EXPECT_TRUE(Explain(GangLine(2, 1, {}).key.request, nodes).empty());
  const Request elastic = ElasticLine(2, 5, {}).key.request;
  EXPECT_TRUE(CouldEverRun(elastic, nodes).ok());
  EXPECT_TRUE(Explain(elastic, nodes)[0].message.starts_with("needs 2 to 5 nodes at once"));
  EXPECT_EQ(SmallestChange(elastic, nodes), "node 'busy' must have 1 core more free");
  EXPECT_TRUE(Explain(ElasticLine(1, 5, {}).key.request, nodes).empty());
  EXPECT_EQ(
      CouldEverRun(ElasticLine(3, 5, {}).key.request, nodes).message(),
      "the job needs 3 to 5 nodes with 2 cores, 1.0 GiB each, and of 3 registered 2 can hold that");
}

TEST_F(HoldTest, EachHasNodesOfItsOwn) {
  Fleet fleet({MakeNode("a", 4, 64), MakeNode("b", 4, 64)});
  Start(&fleet, 1, Ask(4, 30), {"a"});
  Start(&fleet, 2, Ask(4, 50), {"b"});
  const Request three = Ask(3, 10), four = Ask(4, 10);
  fleet.AddHold(*PlanFor(fleet, three));
  fleet.AddHold(*PlanFor(fleet, four));
  EXPECT_EQ(fleet.HoldOf(LineOf(three))->places[0].node.value, "a");
  EXPECT_EQ(fleet.HoldOf(LineOf(four))->places[0].node.value, "b") << "the only other one";
  EXPECT_FALSE(PlanFor(fleet, Ask(2, 10)).has_value()) << "all are kept";
  now_ = At(30);
  fleet.GiveBack({"a"}, Ask(4, 0).resources);
  running_.erase(1);
  Shares shares;
  Line larger{LineOf(four), {{8, 1}}, true}, smaller{LineOf(three), {{9, 1}, {10, 1}}, true};
  std::vector<Placement> placed = Schedule(&fleet, {larger, smaller}, &shares, now_);
  ASSERT_EQ(placed.size(), 1u);
  EXPECT_EQ(placed[0].job, 9) << "the older one is kept from that node";
  EXPECT_EQ(fleet.HoldOf(LineOf(three)), nullptr) << "it has done its service";
  EXPECT_NE(fleet.HoldOf(LineOf(four)), nullptr);
}

// Attempts without limits, which are only expected to end.
class UnsureHoldTest : public testing::Test {
 protected:
  void Start(int64_t job, int64_t cores, const NodeId& node, Duration expected, bool owes = false) {
    fleet_.Take(node, {cores * 1000, 0, 0});
    there_[node].push_back(
        {job, {cores * 1000, 0, 0}, MonotonicTime::Never(), now_ + expected, owes});
  }
  std::string Plan() {
    const LineKey line{1, {{4000, 0, 0}}, "", ""};
    auto hold = PlanHold(fleet_, line, fleet_.HoldOf(line), now_,
                         [this](const NodeId& node) { return there_[node]; });
    if (!hold) return "";
    if (fleet_.holds().empty()) {
      fleet_.AddHold(*hold);
    } else {
      fleet_.SetHold(0, *hold);
    }
    fleet_.PassDone();
    return hold->places[0].node.value;
  }

  MonotonicTime now_;
  Fleet fleet_{{MakeNode("a", 4, 64), MakeNode("b", 4, 64)}};
  std::map<NodeId, std::vector<Occupant>> there_;
};

TEST_F(UnsureHoldTest, StaysUntilTheTimeHasPassedAtWhichTheJobWasThoughtToStart) {
  Start(1, 4, {"a"}, std::chrono::minutes(60));
  Start(2, 4, {"b"}, std::chrono::minutes(90));
  EXPECT_EQ(Plan(), "a");
  now_ = now_ + std::chrono::minutes(30);
  there_[{"b"}][0].expected = now_ + std::chrono::minutes(1);
  fleet_.Change({"b"}, [](NodeState&) {});
  EXPECT_EQ(Plan(), "a") << "a guess does not move it";
  now_ = now_ + std::chrono::minutes(31);
  there_[{"a"}][0].expected = now_ + std::chrono::minutes(60);
  there_[{"b"}][0].expected = now_ + std::chrono::minutes(1);
  fleet_.Change({"b"}, [](NodeState&) {});
  EXPECT_EQ(Plan(), "b") << "the first guess was wrong";
}

TEST_F(UnsureHoldTest, BeginsWhereOthersHaveHadMore) {
  Start(1, 4, {"a"}, std::chrono::minutes(10));
  Start(2, 2, {"b"}, std::chrono::minutes(60), true);
  Start(3, 2, {"b"}, std::chrono::minutes(90), true);
  EXPECT_EQ(Plan(), "b");
}

TEST_F(UnsureHoldTest, LetsNothingInWhereTheRoomIsWithThoseWhoHaveHadMore) {
  const LineKey waits{1, {{2000, 0, 0}}, "", ""}, small{1, {{1000, 0, 0}}, "", ""};
  auto lets_in = [&](bool owes) {
    Fleet fleet({MakeNode("a", 4, 64)});
    fleet.Take({"a"}, {3000, 0, 0});
    const Occupant one{1, {3000, 0, 0}, MonotonicTime::Never(), MonotonicTime::Never(), owes};
    auto hold = PlanHold(fleet, waits, nullptr, now_,
                         [&](const NodeId&) { return std::vector<Occupant>{one}; });
    fleet.AddHold(std::move(*hold));
    return !IsKeptFrom(fleet, *fleet.Find({"a"}), small, now_);
  };
  EXPECT_TRUE(lets_in(false)) << "two of them fit beside it, once all has ended";
  EXPECT_FALSE(lets_in(true)) << "it is gathered for the one that waits";
}

TEST_F(HoldTest, KeepsAsManyNodesAsAGangNeeds) {
  Fleet fleet({GangNode("a", 4), GangNode("b", 4), GangNode("c", 4)});
  Start(&fleet, 1, Ask(2, 30), {"a"});
  Start(&fleet, 2, Ask(2, 50), {"b"});
  Start(&fleet, 3, Ask(2, 40), {"c"});
  Request gang = Ask(4, 10);
  gang.nodes = 2;
  auto hold = PlanFor(fleet, gang);
  ASSERT_TRUE(hold.has_value());
  ASSERT_EQ(hold->places.size(), 2u);
  EXPECT_EQ(hold->places[0].node.value, "a");
  EXPECT_EQ(hold->places[1].node.value, "c");
  EXPECT_EQ(hold->start, At(40) + kTimeToStop) << "when the last of them is free";
  fleet.AddHold(std::move(*hold));
  Shares shares;
  Line small{{1, Ask(2, 0), "", ""}, {{10, 1}, {11, 1}}, true};
  auto plan = Schedule(&fleet, {small}, &shares, now_);
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].node.value, "b");
  Line brief{{1, Ask(2, 40), "", ""}, {{12, 1}, {13, 1}}, true};
  EXPECT_EQ(Schedule(&fleet, {brief}, &shares, now_).size(), 2u) << "gone before the gang starts";
  gang.nodes = 4;
  EXPECT_FALSE(PlanFor(Fleet({GangNode("a", 4)}), gang).has_value());
  gang.min_nodes = 1;
  EXPECT_TRUE(PlanFor(Fleet({GangNode("a", 4)}), gang).has_value()) << "for its least";
}

}  // namespace
}  // namespace cyxwiz::scheduler
