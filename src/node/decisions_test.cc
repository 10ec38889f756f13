// The node's decisions in time, with time as an input.
#include <gtest/gtest.h>
#include <signal.h>

#include "node/attempt_end.h"
#include "node/backoff.h"
#include "node/capacity.h"
#include "node/disk_space.h"
#include "node/hardware.h"
#include "node/lease.h"
#include "node/stop_ladder.h"
#include "node/taken_attempts.h"
#include "node/usage.h"

namespace cyxwiz::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Step = StopLadder::Step;

constexpr MonotonicTime At(Duration d) { return {d.count()}; }

TEST(StopLadder, AsksThenTerminatesThenKillsWithinFiveSeconds) {
  StopLadder ladder;
  EXPECT_EQ(ladder.Due(At(seconds(9))), Step::kNone);
  ladder.Begin(At(seconds(10)));
  EXPECT_EQ(ladder.Due(At(seconds(10))), Step::kAsk);
  EXPECT_EQ(ladder.Due(At(seconds(10))), Step::kNone);
  EXPECT_EQ(ladder.next_due(), At(seconds(12)));
  EXPECT_EQ(ladder.Due(At(milliseconds(11999))), Step::kNone);
  EXPECT_EQ(ladder.Due(At(seconds(12))), Step::kTerminate);
  EXPECT_EQ(ladder.next_due(), At(seconds(13)));
  EXPECT_EQ(ladder.Due(At(seconds(13))), Step::kKill);
  EXPECT_EQ(ladder.Due(At(seconds(99))), Step::kNone);
  EXPECT_EQ(ladder.next_due(), MonotonicTime::Never());
}

TEST(StopLadder, BeginningAgainDoesNotStartOver) {
  StopLadder ladder;
  ladder.Begin(At(seconds(1)));
  EXPECT_EQ(ladder.Due(At(seconds(1))), Step::kAsk);
  ladder.Begin(At(seconds(2)));
  EXPECT_EQ(ladder.Due(At(seconds(2))), Step::kNone);
  EXPECT_EQ(ladder.next_due(), At(seconds(3)));
}

TEST(StopLadder, OneThatYieldsHasAMinuteBeforeItIsStopped) {
  StopLadder ladder;
  ladder.Yield(At(seconds(10)));
  EXPECT_EQ(ladder.Due(At(seconds(10))), Step::kYield);
  ladder.Yield(At(seconds(20)));
  EXPECT_EQ(ladder.Due(At(seconds(69))), Step::kNone);
  EXPECT_EQ(ladder.next_due(), At(seconds(70)));
  EXPECT_EQ(ladder.Due(At(seconds(70))), Step::kAsk);
  EXPECT_EQ(ladder.Due(At(seconds(72))), Step::kTerminate);
}

TEST(StopLadder, BeginEndsTheMinute) {
  StopLadder ladder;
  ladder.Yield(At(seconds(10)));
  EXPECT_EQ(ladder.Due(At(seconds(10))), Step::kYield);
  ladder.Begin(At(seconds(11)));
  EXPECT_EQ(ladder.Due(At(seconds(11))), Step::kAsk);
  ladder.Yield(At(seconds(12)));
  EXPECT_EQ(ladder.Due(At(seconds(12))), Step::kNone);
  EXPECT_EQ(ladder.next_due(), At(seconds(13)));
}

TEST(StopLadder, KillSkipsTheGentleSteps) {
  StopLadder ladder;
  ladder.Begin(At(seconds(1)));
  ladder.Kill(At(seconds(1)));
  EXPECT_EQ(ladder.Due(At(seconds(1))), Step::kKill);
  ladder.Kill(At(seconds(2)));
  EXPECT_EQ(ladder.Due(At(seconds(2))), Step::kNone);
}

TEST(Lease, EndsBeforeTheServersCountedFromTheSending) {
  Lease lease;
  EXPECT_FALSE(lease.Expired(At(seconds(1000))));
  lease.Renew(At(seconds(100)), seconds(10));
  EXPECT_EQ(lease.deadline(), At(seconds(108)));
  EXPECT_FALSE(lease.Expired(At(milliseconds(107999))));
  EXPECT_TRUE(lease.Expired(At(seconds(108))));
}

TEST(Lease, AnOlderAnswerDoesNotShortenIt) {
  Lease lease;
  lease.Renew(At(seconds(100)), seconds(10));
  lease.Renew(At(seconds(97)), seconds(10));
  EXPECT_EQ(lease.deadline(), At(seconds(108)));
}

TEST(Lease, TheNewestSendingCountsWhenTheServerShortensIt) {
  Lease lease;
  lease.Renew(At(seconds(100)), seconds(10));
  lease.Renew(At(seconds(101)), seconds(5));
  EXPECT_EQ(lease.deadline(), At(seconds(105)));
}

TEST(Lease, BeginsAnewAfterItWasLost) {
  Lease lease;
  lease.Renew(At(seconds(100)), seconds(10));
  lease.Lose();
  EXPECT_FALSE(lease.Expired(At(seconds(200))));
  lease.Renew(At(seconds(200)), seconds(10));
  EXPECT_EQ(lease.deadline(), At(seconds(208)));
}

TEST(Backoff, DoublesUpToTheMostWithJitter) {
  Backoff backoff(milliseconds(100), milliseconds(350));
  EXPECT_EQ(backoff.Next(0), milliseconds(50));
  EXPECT_EQ(backoff.Next(0.5), milliseconds(150));
  EXPECT_EQ(backoff.Next(0), milliseconds(175));
  EXPECT_EQ(backoff.Next(0), milliseconds(175));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(0), milliseconds(50));
}

TEST(Capacity, GivesWhatIsFreeAndTakesItBack) {
  Capacity capacity(Resources{4000, 1000}.WithGpus(2, 8));
  AttemptId a{{"a"}, 1}, b{{"b"}, 1};
  EXPECT_TRUE(capacity.Reserve(a, {3000, 400, 1000}).ok());
  EXPECT_EQ(ToString(capacity.available()), ToString(Resources{1000, 600, 1000}));
  EXPECT_EQ(capacity.Reserve(b, {2000, 100, 0}).code(), Code::kResourceExhausted);
  EXPECT_TRUE(capacity.Reserve(b, {1000, 600, 1000}).ok());
  EXPECT_EQ(capacity.GpusOf(a), (std::vector<GpuPart>{{0, 1000, 8}}));
  EXPECT_EQ(capacity.GpusOf(b), (std::vector<GpuPart>{{1, 1000, 8}}));
  capacity.Release(a);
  capacity.Release(a);
  EXPECT_EQ(ToString(capacity.available()), ToString(Resources{3000, 400, 1000}));
  EXPECT_EQ(*capacity.available().gpus, (std::vector<GpuPart>{{0, 1000, 8}}));
  capacity.Release(b);
  EXPECT_EQ(ToString(capacity.available()), ToString(capacity.total()));
}

Resources AskFor(int64_t gpu_millis, int64_t gpu_memory_bytes, std::vector<GpuPart> gpus = {}) {
  Resources wanted{1, 1, gpu_millis};
  wanted.gpu_memory_bytes = gpu_memory_bytes;
  wanted.gpus = std::move(gpus);
  return wanted;
}

TEST(Capacity, TakesTheGpusThatTheServerHasChosenUnlessTheyAreOversold) {
  Capacity capacity(Resources{9000, 1000}.WithGpus(2, 80));
  AttemptId a{{"a"}, 1}, b{{"b"}, 1}, c{{"c"}, 1};
  EXPECT_TRUE(capacity.Reserve(a, AskFor(500, 0, {{1, 500, 40}})).ok());
  EXPECT_EQ(capacity.GpusOf(a), (std::vector<GpuPart>{{1, 500, 40}}));
  // Elsewhere there is room, but not there.
  for (const GpuPart& part : {GpuPart{1, 501, 10}, GpuPart{1, 10, 41}}) {
    Status status = capacity.Reserve(b, AskFor(part.millis, part.memory_bytes, {part}));
    EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
    EXPECT_NE(status.message().find("GPU 1: 0.5 with 40 bytes"), std::string::npos) << status;
  }
  EXPECT_EQ(capacity.Reserve(b, AskFor(10, 1, {{2, 10, 1}})).code(), Code::kResourceExhausted)
      << "there is none";
  EXPECT_TRUE(capacity.Reserve(b, AskFor(0, 40, {{1, 0, 40}})).ok()) << "memory alone";
  EXPECT_TRUE(capacity.Reserve(c, AskFor(1000, 0, {{0, 1000, 80}})).ok());
  capacity.Release(a);
  capacity.Release(b);
  capacity.Release(c);
  EXPECT_EQ(*capacity.available().gpus, *capacity.total().gpus);
}

TEST(Capacity, WhatIsGivenOfGpusIsWhatWasAskedFor) {
  Capacity capacity(Resources{9000, 1000}.WithGpus(2, 80));
  AttemptId a{{"a"}, 1}, b{{"b"}, 1};
  for (const Resources& wrong : {
           AskFor(500, 0, {{0, 400, 40}}),                   // less than it asked for
           AskFor(500, 0, {{0, 250, 20}, {1, 250, 20}}),     // a share of two
           AskFor(2000, 0, {{0, 1000, 80}, {0, 1000, 80}}),  // the same one twice
           AskFor(1000, 0, {{0, 500, 40}, {1, 500, 40}}),    // no whole one
           AskFor(500, 50, {{0, 500, 40}}),                  // less memory
       }) {
    Status status = capacity.Reserve(a, wrong);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << ToString(*wrong.gpus) << ": " << status;
  }
  EXPECT_TRUE(capacity.Reserve(b, AskFor(0, 10, {{0, 0, 10}})).ok());
  EXPECT_EQ(capacity.Reserve(a, AskFor(1000, 0, {{0, 1000, 70}})).code(), Code::kInvalidArgument)
      << "somebody has memory of it";
}

TEST(Hardware, ShowsTheGpusThatItsEnvironmentLeaves) {
  std::vector<Gpu> all(3);
  for (int i = 0; i < 3; ++i) {
    all[static_cast<size_t>(i)].index = i;
    all[static_cast<size_t>(i)].uuid = "GPU-" + std::string(1, static_cast<char>('a' + i)) + "1";
  }
  auto left = [&](std::string_view visible) {
    std::string text;
    for (const Gpu& gpu : VisibleGpus(all, visible)) text += std::to_string(gpu.index);
    return text;
  };
  EXPECT_EQ(left("0,1,2"), "012");
  EXPECT_EQ(left("2,0"), "20");
  EXPECT_EQ(left("GPU-b1,2"), "12");
  EXPECT_EQ(left(""), "");
  EXPECT_EQ(left("1,7,2"), "1") << "as CUDA, up to the first that is none";
  EXPECT_EQ(left("-1"), "");
  EXPECT_EQ(left("1,1"), "1");
  EXPECT_EQ(all[1].visible_name(), "GPU-b1");
  all[1].uuid.clear();
  EXPECT_EQ(all[1].visible_name(), "1");
}

TEST(Capacity, SaysWhenAnAttemptCanNeverFit) {
  Capacity capacity({1000, 1000, 0});
  Status status = capacity.Reserve({{"a"}, 1}, {2000, 10, 0});
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("in all"), std::string::npos) << status;
}

AttemptId Try(const std::string& job, AttemptNumber attempt) { return {{job}, attempt}; }

TEST(TakenAttempts, AnAttemptIsTakenOnceAndNoOlderOneAfterIt) {
  TakenAttempts taken;
  EXPECT_TRUE(taken.Check(Try("a", 2), 1000).ok());
  taken.Add(Try("a", 2), 1000, 0);
  EXPECT_EQ(taken.Check(Try("a", 2), 1000).code(), Code::kFailedPrecondition);
  EXPECT_EQ(taken.Check(Try("a", 1), 2000).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(taken.Check(Try("a", 3), 1000).ok());
  EXPECT_TRUE(taken.Check(Try("b", 1), 1000).ok());
}

TEST(TakenAttempts, WhatIsForgottenIsNotTakenAgain) {
  TakenAttempts taken(2);
  taken.Add(Try("a", 1), 1000, 0);
  taken.Add(Try("b", 1), 1001, 0);
  taken.Add(Try("c", 1), 1002, 0);
  EXPECT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken.Check(Try("a", 1), 1000).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(taken.Check(Try("d", 1), 1001).ok());
  // Expired ones go, and a calendar that is set back does not bring them back.
  taken.Add(Try("e", 1), 3000, 2000);
  EXPECT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken.Check(Try("c", 1), 1002).code(), Code::kFailedPrecondition);
}

TEST(TakenAttempts, ANewerAttemptTakesThePlaceOfTheOlder) {
  TakenAttempts taken(2);
  for (AttemptNumber i = 1; i <= 100; ++i) taken.Add(Try("a", i), 1000 + i, 0);
  EXPECT_EQ(taken.size(), 1u);
  taken.Add(Try("b", 1), 1000, 0);
  EXPECT_EQ(taken.size(), 2u);
  EXPECT_TRUE(taken.Check(Try("c", 1), 500).ok()) << "nothing was forgotten";
}

TEST(Usage, IsTheShareBetweenTwoSamples) {
  UsageHistory history;
  history.Add({At(seconds(1)), {1000}}, {100, 1000, 0}, 0.5, 0);
  EXPECT_TRUE(history.Between(0, 0).empty());
  history.Add({At(seconds(3)), {3000}}, {150, 1200, 4000}, 0.5, 0);
  ASSERT_EQ(history.Between(0, 0).size(), 1u);
  EXPECT_DOUBLE_EQ(history.Between(0, 0)[0].cpu, 0.25);
  EXPECT_DOUBLE_EQ(history.Between(0, 0)[0].network_bytes_per_second, 2000);
  EXPECT_TRUE(history.Between(4, 0).empty());
}

EndFacts Exited(int code, int signal) {
  EndFacts facts;
  facts.exit = ProcessExit{code, signal, 5 << 20};
  return facts;
}

TEST(AttemptEnd, ARunnerThatExitsWithoutAResultHasCrashed) {
  AttemptEnd end = JudgeEnd(Exited(3, 0));
  EXPECT_EQ(end.outcome, AttemptEnd::Outcome::kFailed);
  EXPECT_EQ(end.cause, protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_EQ(end.exit_code, 3);
}

TEST(AttemptEnd, ASignalIsNamed) {
  AttemptEnd end = JudgeEnd(Exited(-1, SIGSEGV));
  EXPECT_EQ(end.cause, protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_EQ(end.exit_signal, SIGSEGV);
  EXPECT_NE(end.error.message().find("SIGSEGV"), std::string::npos) << end.error;
}

TEST(AttemptEnd, SigkillIsOutOfMemoryOnlyWhenTheKernelDidIt) {
  EndFacts facts = Exited(-1, SIGKILL);
  EXPECT_EQ(JudgeEnd(facts).cause, protocol::CAUSE_RUNNER_CRASHED);
  facts.oom_killed = true;
  EXPECT_EQ(JudgeEnd(facts).cause, protocol::CAUSE_OUT_OF_MEMORY);
  facts.killed_by_node = true;
  EXPECT_EQ(JudgeEnd(facts).cause, protocol::CAUSE_RUNNER_CRASHED);
}

TEST(AttemptEnd, WhoNamedNoMemoryIsToldThatItWasEstimated) {
  auto hint = [](EndFacts facts, bool estimated) {
    facts.memory_estimated = estimated;
    AttemptEnd end = JudgeEnd(facts);
    EXPECT_EQ(end.cause, protocol::CAUSE_OUT_OF_MEMORY);
    EXPECT_EQ(end.error.code(), estimated ? Code::kOutOfRange : Code::kResourceExhausted);
    return end.error.hint();
  };
  EndFacts killed = Exited(-1, SIGKILL);
  killed.oom_killed = true;
  EndFacts refused = Exited(0, 0);
  FinalMessage& said = refused.final_message.emplace();
  said.kind = FinalMessage::Kind::kFailed;
  said.cause = "out_of_memory";
  said.hint = "ask for more memory";
  for (const EndFacts& facts : {killed, refused})
    EXPECT_NE(hint(facts, true).find("the job names no memory"), std::string::npos);
  EXPECT_EQ(hint(killed, false), "give the job more in resources.memory, or a smaller batch_size");
  EXPECT_EQ(hint(refused, false), "ask for more memory");
}

TEST(AttemptEnd, TheRunnersOwnReasonIsKept) {
  EndFacts facts = Exited(0, 0);
  FinalMessage& said = facts.final_message.emplace();
  said.kind = FinalMessage::Kind::kFailed;
  said.cause = "diverged";
  said.message = "the loss became NaN";
  said.path = "$.hyperparameters.learning_rate";
  AttemptEnd end = JudgeEnd(facts);
  EXPECT_EQ(end.cause, protocol::CAUSE_DIVERGED);
  EXPECT_EQ(end.error.message(), "$.hyperparameters.learning_rate: the loss became NaN");
}

TEST(AttemptEnd, WhoWasStoppedIsCancelledWhateverItSaid) {
  EndFacts facts = Exited(-1, SIGKILL);
  facts.stop_reason = "the user does not want it any more";
  facts.final_message.emplace().kind = FinalMessage::Kind::kSucceeded;
  AttemptEnd end = JudgeEnd(facts);
  EXPECT_EQ(end.outcome, AttemptEnd::Outcome::kCancelled);
  EXPECT_EQ(end.error.message(), "the user does not want it any more");
}

TEST(AttemptEnd, ARankThatStopsUnaskedFollowsAnother) {
  EndFacts facts = Exited(0, 0);
  facts.final_message.emplace().kind = FinalMessage::Kind::kStopped;
  EXPECT_EQ(JudgeEnd(facts).cause, protocol::CAUSE_RUNNER_CRASHED);
  facts.rank = true;
  EXPECT_EQ(JudgeEnd(facts).cause, protocol::CAUSE_PEER_LOST);
}

TEST(AttemptEnd, WhoWasToYieldAndWasDoneInsteadHasSucceeded) {
  EndFacts facts = Exited(0, 0);
  facts.stop_reason = "paused";
  facts.yield = true;
  facts.final_message.emplace().kind = FinalMessage::Kind::kYielded;
  EXPECT_EQ(JudgeEnd(facts).outcome, AttemptEnd::Outcome::kCancelled);
  EXPECT_TRUE(JudgeEnd(facts).yielded);
  facts.final_message->kind = FinalMessage::Kind::kSucceeded;
  EXPECT_EQ(JudgeEnd(facts).outcome, AttemptEnd::Outcome::kSucceeded);
  EXPECT_FALSE(JudgeEnd(facts).yielded);
}

TEST(AttemptEnd, AResultStandsWhenTheProcessDiesAfterIt) {
  EndFacts facts = Exited(-1, SIGSEGV);
  FinalMessage& said = facts.final_message.emplace();
  said.kind = FinalMessage::Kind::kSucceeded;
  said.files = {"weights.safetensors"};
  EXPECT_EQ(JudgeEnd(facts).outcome, AttemptEnd::Outcome::kSucceeded);
}

TEST(AttemptEnd, TheNodesTroubleIsNotTheJobs) {
  EndFacts facts;
  facts.node_trouble = "the runner could not be started: No space left on device";
  AttemptEnd end = JudgeEnd(facts);
  EXPECT_EQ(end.outcome, AttemptEnd::Outcome::kFailed);
  EXPECT_EQ(end.cause, protocol::CAUSE_NODE_LOST);
  EXPECT_EQ(end.error.message(), facts.node_trouble);
  facts.stop_reason = "cancelled";
  EXPECT_EQ(JudgeEnd(facts).outcome, AttemptEnd::Outcome::kCancelled);
  facts.stop_reason.reset();
  facts.final_message.emplace().kind = FinalMessage::Kind::kSucceeded;
  EXPECT_EQ(JudgeEnd(facts).outcome, AttemptEnd::Outcome::kSucceeded) << "the result is there";
}

TEST(AttemptEnd, ARunnersFullDiskIsTheNodesTrouble) {
  EndFacts facts = Exited(0, 0);
  FinalMessage& said = facts.final_message.emplace();
  said.kind = FinalMessage::Kind::kFailed;
  said.cause = "disk_full";
  said.message = "cannot keep the result: No space left on device";
  EXPECT_EQ(JudgeEnd(facts).cause, protocol::CAUSE_NODE_LOST);
}

TEST(DiskSpace, HoldsTheMinimumAndAllResults) {
  constexpr int64_t kMiB = 1 << 20;
  EXPECT_TRUE(CheckDiskSpace("/d", 300 * kMiB, 256 * kMiB, 20 * kMiB, 24 * kMiB).ok());
  EXPECT_TRUE(CheckDiskSpace("/d", 0, 0, 0, 0).ok());
  Status status = CheckDiskSpace("/d", 300 * kMiB, 256 * kMiB, 20 * kMiB, 25 * kMiB);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  for (const char* part : {"'/d'", "300 MiB", "256 MiB", "20.0 MiB", "25.0 MiB"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << part << " in " << status;
  }
  EXPECT_FALSE(CheckDiskSpace("/d", 255 * kMiB, 256 * kMiB, 0, 0).ok());
  EXPECT_FALSE(CheckDiskSpace("/d", 10, 0, 20, 0).ok());
}

TEST(DiskSpace, OfAFolderThatIsGoneIsNotKnown) {
  EXPECT_FALSE(FreeDiskBytes("/no/such/folder").ok());
  Result<int64_t> free = FreeDiskBytes("/");
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_GT(*free, 0);
}

TEST(AttemptEnd, TheParentsDeathIsNotTheRunnersFault) {
  EndFacts facts;
  facts.parent_end = "it was ended by signal 9";
  facts.killed_by_node = true;
  AttemptEnd end = JudgeEnd(facts);
  EXPECT_EQ(end.cause, protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_NE(end.error.message().find("parent died"), std::string::npos) << end.error;
  EXPECT_NE(end.error.message().find("by signal 9"), std::string::npos) << end.error;
}

}  // namespace
}  // namespace cyxwiz::node
