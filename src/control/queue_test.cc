// Who goes first: fair share, ageing, and nodes that are kept for jobs which others pass by.
#include <gtest/gtest.h>

#include <random>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

Options LongLeases() {
  Options options;
  options.lease = options.assign_timeout = hours(1000);
  return options;
}

class Queue : public testing::Test {
 protected:
  void SubmitFor(const std::string& user, const std::string& id, int64_t cores = 1,
                 int32_t priority = 1, Duration run = {}) {
    SubmitWith(user, id, cores, priority, {.limits = {.run = run}});
  }
  void SubmitTo(const std::string& project, const std::string& user, const std::string& id) {
    SubmitWith(user, id, 1, 1, {.project = project});
  }
  void SubmitWith(const std::string& user, const std::string& id, int64_t cores, int32_t priority,
                  Terms terms) {
    SubmitJob command = Bench::SubmitCommand(id, cores, priority);
    command.job.user = user;
    command.job.resources.memory_bytes = 1;
    if (terms != Terms()) command.job.terms = std::make_shared<const Terms>(std::move(terms));
    bench_.Do(std::move(command));
  }
  // Ends what runs; returns what has started in its place.
  std::vector<std::string> End(const std::string& id) {
    Job job = bench_.Get(id);
    bench_.Complete(id, job.attempt, job.node.value);
    std::vector<std::string> started;
    for (const AssignEffect& effect : bench_.effects<AssignEffect>())
      started.push_back(effect.attempt.job.value);
    return started;
  }

  Bench bench_{LongLeases()};
};

TEST_F(Queue, UsersTakeTurnsWhoeverSubmitsMore) {
  bench_.Register("n", 1);
  SubmitFor("ann", "a0");
  for (int i = 1; i <= 4; ++i) SubmitFor("ann", "a" + std::to_string(i));
  for (int i = 1; i <= 2; ++i) SubmitFor("bob", "b" + std::to_string(i));
  bench_.Pass(minutes(10));
  EXPECT_EQ(End("a0"), std::vector<std::string>{"b1"}) << "ann has had ten minutes";
  bench_.Pass(minutes(20));
  EXPECT_EQ(End("b1"), std::vector<std::string>{"a1"}) << "bob has had twenty";
  bench_.Pass(minutes(5));
  EXPECT_EQ(End("a1"), std::vector<std::string>{"a2"}) << "ann fifteen in all";
}

TEST_F(Queue, WhatAUserHasHadIsNotForgottenOverARestart) {
  bench_.Register("n", 1);
  SubmitFor("ann", "a0");
  bench_.Progress("a0", 1, "n");
  bench_.Pass(hours(5));
  End("a0");
  bench_.Restart();
  SubmitFor("ann", "a1");
  SubmitFor("bob", "b1");
  bench_.Register("n", 1);
  EXPECT_EQ(bench_.StateOf("b1"), "Assigned");
  EXPECT_EQ(bench_.StateOf("a1"), "Queued");
}

TEST_F(Queue, ProjectsTakeTurnsHoweverManyUsersTheyHave) {
  bench_.Register("n", 1);
  SubmitTo("small", "zoe", "z0");
  for (const char* user : {"ann", "bob"}) {
    for (int i = 1; i <= 3; ++i) SubmitTo("big", user, user + std::to_string(i));
  }
  for (int i = 1; i <= 3; ++i) SubmitTo("small", "zoe", "z" + std::to_string(i));
  SubmitFor("eve", "e1");  // stands beside the projects
  auto run = [this](const std::string& id, Duration time) {
    bench_.Progress(id, 1, "n");
    bench_.Pass(time);
    return End(id);
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(run("z0", minutes(10)), List{"ann1"}) << "big and eve have had nothing";
  EXPECT_EQ(run("ann1", minutes(10)), List{"e1"});
  EXPECT_EQ(run("e1", minutes(10)), List{"z1"}) << "that of small is longest ago";
  EXPECT_EQ(run("z1", minutes(10)), List{"bob1"}) << "small has had twenty minutes, big ten";
  EXPECT_EQ(run("bob1", minutes(5)), List{"bob2"}) << "of big bob has had less than ann";
  EXPECT_EQ(run("bob2", minutes(10)), List{"z2"}) << "though ann and bob have waited longer";
}

TEST_F(Queue, WhatAProjectHasHadIsNotForgottenOverARestart) {
  bench_.Register("n", 1);
  SubmitTo("old", "ann", "a0");
  bench_.Progress("a0", 1, "n");
  bench_.Pass(hours(5));
  End("a0");
  bench_.Restart();
  SubmitTo("old", "bob", "b1");
  SubmitTo("new", "ann", "a1");
  bench_.Register("n", 1);
  EXPECT_EQ(bench_.StateOf("a1"), "Assigned") << "ann had it for another project";
  EXPECT_EQ(bench_.StateOf("b1"), "Queued");
}

TEST_F(Queue, AJobThatWaitsGainsPriority) {
  bench_.Register("n", 1);
  SubmitFor("ann", "running");
  SubmitFor("ann", "low", 1, 0);
  bench_.Pass(hours(1) + minutes(59));
  SubmitFor("ann", "high", 1, 2);
  EXPECT_EQ(End("running"), std::vector<std::string>{"high"});
  bench_.Pass(minutes(2));
  SubmitFor("ann", "high2", 1, 2);
  EXPECT_EQ(End("high"), std::vector<std::string>{"low"}) << "high by now, and older";
}

TEST_F(Queue, ANodeIsKeptForTheJobThatOthersPassBy) {
  bench_.Register("n", 4);
  SubmitFor("ann", "s0", 2, 1, minutes(30));
  bench_.Progress("s0", 1, "n");
  SubmitFor("ann", "s1", 2, 1, minutes(50));
  bench_.Progress("s1", 1, "n");
  SubmitFor("ann", "large", 4);
  SubmitFor("ann", "s2", 2, 1, minutes(50));
  bench_.Pass(seconds(1));
  EXPECT_EQ(End("s0"), std::vector<std::string>{"s2"}) << "the fleet is kept busy";
  bench_.Progress("s2", 1, "n");
  bench_.Pass(minutes(2));
  SubmitFor("ann", "s3", 2);
  SubmitFor("ann", "short", 2, 1, minutes(10));
  EXPECT_EQ(End("s1"), std::vector<std::string>{"short"}) << "gone before large can start";
  bench_.Do(ExplainJob{.job = JobId{"large"}});
  const PlanReply& plan = bench_.reply<PlanReply>();
  ASSERT_TRUE(plan.estimated_start.has_value());
  bench_.Do(ExplainJob{.job = JobId{"s3"}});
  EXPECT_NE(bench_.reply<PlanReply>().view.job.message.find("busy"), std::string::npos);
  EXPECT_EQ(End("short"), std::vector<std::string>{});
  bench_.Do(ExplainJob{.job = JobId{"s3"}});
  EXPECT_EQ(bench_.reply<PlanReply>().reasons[0].code, "NODES_KEPT");
  SubmitFor("ann", "urgent", 2, 3);
  EXPECT_EQ(bench_.StateOf("urgent"), "Assigned") << "a higher priority goes before it";
  EXPECT_EQ(End("urgent"), std::vector<std::string>{});
  EXPECT_EQ(End("s2"), std::vector<std::string>{"large"});
  EXPECT_EQ(End("large"), std::vector<std::string>{"s3"});
}

TEST_F(Queue, ALargeJobIsNotPassedByForEverByItsOwnUsersSmallJobsThoughOthersGoFirstNowAndThen) {
  bench_.Register("n", 2);
  std::vector<std::string> running;
  auto small = [&](int i) {
    for (const char* user : {"ann", "bob"}) SubmitFor(user, user + std::to_string(i));
  };
  small(0);
  running = {"ann0", "bob0"};
  SubmitFor("ann", "large", 2);
  for (int i = 1; i <= 30; ++i) small(i);
  int ended = 0;
  while (bench_.StateOf("large") == "Queued" && ++ended < 40) {
    bench_.Pass(seconds(10));
    const std::string oldest = running.front();
    running.erase(running.begin());
    for (const std::string& id : End(oldest)) running.push_back(id);
    ASSERT_FALSE(running.empty());
  }
  EXPECT_LE(ended, 12)
      << "a minute until a node is kept for it, and then until both places are free";
}

TEST_F(Queue, AJobThatCanStartNowhereDoesNotKeepOthersFromBeingKeptANodeFor) {
  bench_.Register("n", 2);
  bench_.Register("gone", 8);
  bench_.Do(CordonNode{.node = {"gone"}, .cordoned = true});
  SubmitFor("ann", "s0");
  SubmitFor("ann", "s1");
  SubmitFor("bob", "never", 8);
  SubmitFor("bob", "large", 2);
  for (int i = 2; i < 8; ++i) SubmitFor("ann", "s" + std::to_string(i));
  EXPECT_EQ(End("s0"), std::vector<std::string>{"s2"});
  bench_.Pass(minutes(2));
  EXPECT_EQ(End("s1"), std::vector<std::string>{}) << "the node is kept for 'large'";
  EXPECT_EQ(End("s2"), std::vector<std::string>{"large"});
}

// Attempts prepare for as long as they like, end at any time, and when they have reached their
// limit as late as they may. What a large job was told once, it is told ever after, or something
// earlier, and so it comes.
TEST(Promises, AreKept) {
  int told = 0;
  for (uint32_t seed = 1; seed <= 100 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    auto draw = [&random](int from, int to) {
      return from + static_cast<int>(random() % static_cast<uint32_t>(to - from + 1));
    };
    Options options = LongLeases();
    options.hold_after = seconds(5);
    Bench bench(options);
    const int nodes = draw(1, 4);
    for (int i = 0; i < nodes; ++i) bench.Register("n" + std::to_string(i), draw(3, 6));
    const int ranks = draw(0, 2) == 0 ? draw(1, nodes) : 1;
    struct Attempt {
      std::string node;
      int stop_in = -1;  // steps; -1: it was not told to
      bool started = false;
    };
    std::map<std::string, Attempt> attempts;
    std::optional<UnixTime> promised;
    bool started = false;
    auto look = [&] {
      for (const AssignEffect& one : bench.effects<AssignEffect>()) {
        started |= one.attempt.job.value == "large";
        attempts[one.attempt.job.value] = {one.node.value};
      }
      for (const StopEffect& one : bench.effects<StopEffect>()) {
        const auto told = attempts.find(one.attempt.job.value);
        if (told != attempts.end() && told->second.stop_in < 0) told->second.stop_in = draw(0, 2);
      }
    };
    for (int step = 0; step < 200 && !started; ++step) {
      bench.Pass(seconds(5));
      look();
      const std::map<std::string, Attempt> now = attempts;
      for (const auto& [id, attempt] : now) {
        if (attempt.stop_in == 0 || draw(0, 40) == 0) {
          const bool stopped = attempt.stop_in >= 0;
          bench.Complete(
              id, 1, attempt.node,
              stopped ? ReportCompletion::Outcome::kCancelled : ReportCompletion::Outcome::kFailed,
              stopped ? Cause::kNone : Cause::kUserError);
          attempts.erase(id);
        } else if (attempt.stop_in > 0) {
          attempts[id].stop_in--;
        } else if (!attempt.started && draw(0, 10) == 0) {
          bench.Progress(id, 1, attempt.node, 0);  // nothing is forecast from it
          attempts[id].started = true;
        }
        look();
      }
      for (int i = draw(0, 3); i > 0; --i) {
        SubmitJob small =
            Bench::SubmitCommand("s" + std::to_string(step) + "." + std::to_string(i), draw(1, 2));
        small.job.resources.memory_bytes = 1;
        if (draw(0, 4) > 0) {
          small.job.terms =
              std::make_shared<const Terms>(Terms{.limits = {.run = seconds(5 * draw(1, 24))}});
        }
        bench.Do(std::move(small));
        look();
      }
      if (step == 5) {
        SubmitJob large = Bench::GangCommand("large", ranks, 3);
        large.job.resources.memory_bytes = 1;
        bench.Do(std::move(large));
        look();
      }
      if (step < 5 || started) continue;
      if (promised) {
        EXPECT_GE(promised->ms, bench.now().unix.ms) << "it still waits";
      }
      bench.Do(ExplainJob{.job = JobId{"large"}});
      const PlanReply& plan = bench.reply<PlanReply>();
      const bool sure = plan.estimate_basis.find("at the latest then") != std::string::npos;
      if (promised) {
        ASSERT_TRUE(plan.estimated_start);
        EXPECT_LE(plan.estimated_start->ms, promised->ms) << "step " << step;
      }
      if (sure) promised = plan.estimated_start;
    }
    if (promised) ++told;
  }
  EXPECT_GT(told, 20) << "such promises are made";
}

TEST_F(Queue, WhoHasHadHardlyMoreGoesOnBesideTheJobThatWaits) {
  bench_.Register("n", 4);
  SubmitFor("bob", "b0", 2);
  bench_.Pass(minutes(1));
  SubmitFor("ann", "a0", 2);
  SubmitFor("ann", "large", 3);
  SubmitFor("bob", "b1", 2);
  EXPECT_EQ(End("b0"), std::vector<std::string>{"b1"});
  bench_.Pass(minutes(2));
  SubmitFor("bob", "b2", 1);
  EXPECT_EQ(End("b1"), std::vector<std::string>{"b2"}) << "'large' waits for a0 anyhow";
  EXPECT_EQ(End("a0"), std::vector<std::string>{"large"});
}

TEST_F(Queue, NodesAreKeptForSeveralJobsUpToAQuarterOfTheFleet) {
  for (int i = 0; i < 8; ++i) bench_.Register("n" + std::to_string(i), 2);
  for (int i = 0; i < 16; ++i) SubmitFor("ann", "s" + std::to_string(i));
  for (const char* id : {"l0", "l1", "l2"}) SubmitFor("bob", id, 2);
  for (int i = 16; i < 40; ++i) SubmitFor("ann", "s" + std::to_string(i));
  for (int i = 0; i < 7; ++i) {
    End("s" + std::to_string(i));
    bench_.Pass(minutes(2));
  }
  auto is_kept = [this](const char* id) {
    bench_.Do(ExplainJob{.job = JobId{id}});
    return bench_.reply<PlanReply>().estimate_basis.find("is kept for it") != std::string::npos;
  };
  EXPECT_TRUE(is_kept("l0"));
  EXPECT_TRUE(is_kept("l1"));
  EXPECT_FALSE(is_kept("l2")) << "eight nodes, of which two are kept";
}

TEST_F(Queue, ANodeIsKeptForTheFirstOfItsLineThoughThatOneHasComeBackSince) {
  bench_.Register("n", 2);
  SubmitFor("ann", "x0");
  SubmitFor("ann", "x1");
  SubmitFor("ann", "older", 2);
  bench_.Do(PauseJob{.job = JobId{"older"}});
  SubmitFor("ann", "younger", 2);
  SubmitFor("ann", "y");
  EXPECT_EQ(End("x0"), std::vector<std::string>{"y"}) << "'younger' is passed by";
  bench_.Do(ResumeJob{.job = JobId{"older"}});
  bench_.Pass(minutes(2));
  std::vector<Command> both;
  for (const char* id : {"x1", "y"})
    both.push_back(ReportCompletion{.node = NodeId{"n"}, .attempt = {JobId{id}, 1}});
  bench_.DoBatch(std::move(both));
  EXPECT_EQ(bench_.StateOf("older"), "Assigned");
}

TEST_F(Queue, WhenTheJobGoesTheNodeIsFreeAgain) {
  bench_.Register("n", 4);
  SubmitFor("ann", "s0", 2);
  SubmitFor("ann", "s1", 2);
  SubmitFor("ann", "large", 4);
  SubmitFor("ann", "s2", 2);
  End("s0");
  bench_.Pass(minutes(2));
  SubmitFor("ann", "s3", 2);
  EXPECT_EQ(End("s1"), std::vector<std::string>{});
  bench_.Do(CancelJob{.job = JobId{"large"}});
  EXPECT_EQ(bench_.StateOf("s3"), "Assigned");
}

TEST_F(Queue, WaitingJobsAreCountedByEachOfTheirReasons) {
  auto waiting = [this] {
    bench_.Do(CountWaiting{});
    return std::get<WaitingReply>(bench_.reply().content).jobs;
  };
  using Counts = std::map<std::string, int64_t>;
  EXPECT_EQ(waiting(), Counts());
  bench_.Register("n", 1);
  SubmitFor("ann", "runs");
  EXPECT_EQ(waiting(), Counts()) << "what is placed does not wait";
  SubmitFor("ann", "a1");
  SubmitFor("ann", "a2");
  SubmitFor("bob", "b");
  SubmitJob after = Bench::SubmitCommand("later", 1, 1);
  after.job.terms = std::make_shared<const Terms>(Terms{.after = {{JobId{"runs"}}}});
  bench_.Do(std::move(after));
  EXPECT_EQ(waiting(), (Counts{{"NOT_ENOUGH_FREE", 3}, {"DEPENDENCY", 1}}));
  bench_.Do(CordonNode{.node = {"n"}, .cordoned = true});
  EXPECT_EQ(waiting(), (Counts{{"NODES_CORDONED", 3}, {"NOT_ENOUGH_FREE", 3}, {"DEPENDENCY", 1}}));
}

TEST_F(Queue, ThoseThatAreNotDueAreCountedByWhatTheyWaitFor) {
  bench_.Register("n", 2);
  SubmitFor("ann", "runs");
  // It waits for two jobs, and counts once.
  SubmitFor("ann", "crashes");
  SubmitWith("ann", "later", 1, 1, {.after = {{JobId{"runs"}}, {JobId{"crashes"}}}});
  const Job crashes = bench_.Get("crashes");
  bench_.Complete("crashes", 1, crashes.node.value, ReportCompletion::Outcome::kFailed,
                  Cause::kRunnerCrashed, "signal 11");
  SubmitJob array = Bench::SubmitCommand("array");
  array.job.array = std::make_shared<const Array>(Array{.size = 5, .max_parallel = 1});
  bench_.Do(std::move(array));
  bench_.Do(CountWaiting{});
  EXPECT_EQ(
      std::get<WaitingReply>(bench_.reply().content).jobs,
      (std::map<std::string, int64_t>{{"ARRAY_PARALLEL", 1}, {"BACKOFF", 1}, {"DEPENDENCY", 1}}));
}

TEST_F(Queue, CountingThoseThatWaitLooksAtALimitedNumberOfNodes) {
  for (int i = 0; i < 999; ++i) {
    bench_.Register("n" + std::to_string(i), 1);
    SubmitFor("ann", "a" + std::to_string(i));
  }
  // A line each, and a thousand looks.
  for (int i = 0; i < 150; ++i) SubmitFor("u" + std::to_string(i), "j" + std::to_string(i));
  bench_.Do(CountWaiting{});
  EXPECT_EQ(std::get<WaitingReply>(bench_.reply().content).jobs,
            (std::map<std::string, int64_t>{{"NOT_ENOUGH_FREE", 100}, {"NOT_EXAMINED", 50}}));
}

}  // namespace
}  // namespace cyxwiz::control
