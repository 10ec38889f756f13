// What the core remembers of checkpoints: which one a job goes on from, and when its files may go.
#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::seconds;
using Outcome = ReportCompletion::Outcome;

Checkpoint At(int64_t step, int32_t epoch = 2) {
  std::string name = "step-" + std::to_string(step);
  return {
      name,
      epoch,
      step,
      {{"state.safetensors", "state-" + name, 1000}, {"manifest.json", "manifest-" + name, 10}}};
}

void Report(Bench& b, const std::string& job, int attempt, const Checkpoint& checkpoint,
            const std::string& node = "n") {
  b.Do(ReportProgress{.node = NodeId{node},
                      .attempt = {JobId{job}, attempt},
                      .progress = 0.5,
                      .epoch = 2,
                      .checkpoint = checkpoint});
}

std::vector<std::string> Released(const Bench& b) {
  std::vector<std::string> files;
  for (const ReleaseEffect& effect : b.effects<ReleaseEffect>()) {
    files.insert(files.end(), effect.sha256.begin(), effect.sha256.end());
  }
  return files;
}
using Files = std::vector<std::string>;

void Start(Bench& b, const std::string& job, int attempt = 1) {
  b.Accepted(job, attempt, "n");
  b.Progress(job, attempt, "n");
}

TEST(Checkpoints, OneThatIsLargerThanTheJobsLimitIsNotKept) {
  Bench b;
  b.Register("n");
  b.SubmitWith("small", {.limits = {.checkpoint_bytes = 1010}});
  b.SubmitWith("large", {.limits = {.checkpoint_bytes = 1009}});
  Start(b, "small");
  Report(b, "small", 1, At(10));
  EXPECT_EQ(b.Get("small").checkpoint->step, 10);
  Start(b, "large");
  Report(b, "large", 1, At(20));
  EXPECT_EQ(Released(b), (Files{"state-step-20", "manifest-step-20"}));
  EXPECT_FALSE(b.Get("large").checkpoint->exists());
}

TEST(Checkpoints, TheNewestReplacesTheOneBeforeWhoseFilesGo) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  Report(b, "j", 1, At(10));
  EXPECT_EQ(Released(b), Files());
  EXPECT_EQ(b.jobs["j"].checkpoint->step, 10) << "it is durable";
  Report(b, "j", 1, At(20));
  EXPECT_EQ(Released(b), (Files{"state-step-10", "manifest-step-10"}));
  EXPECT_EQ(b.jobs["j"].checkpoint->step, 20);
  Report(b, "j", 1, At(15));
  EXPECT_EQ(Released(b), (Files{"state-step-15", "manifest-step-15"})) << "an older one is no use";
  EXPECT_EQ(b.Get("j").checkpoint->step, 20);
  Report(b, "j", 1, At(20));
  EXPECT_EQ(Released(b), Files()) << "told twice";
  EXPECT_EQ(b.control().checkpoint_files(), (Files{"manifest-step-20", "state-step-20"}));
}

TEST(Checkpoints, ALostAttemptGoesOnFromTheNewest) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  Report(b, "j", 1, At(10, 3));
  b.Pass(seconds(11));  // the node is lost
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kQueued);
  EXPECT_EQ(job.current_epoch, 3);
  EXPECT_EQ(job.progress, 2.0 / 5);
  b.Restart();
  b.Register("n");
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].job.checkpoint->name, "step-10");
  b.Do(ReportProgress{
      .node = NodeId{"n"}, .attempt = {JobId{"j"}, 2}, .resumed = Checkpoint{"", 3, 10, {}}});
  EXPECT_EQ(b.Get("j").message, "resumed from epoch 3, step 10");
}

TEST(Checkpoints, AFailedAttemptIsRetriedFromTheNewest) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  Report(b, "j", 1, At(10));
  b.Complete("j", 1, "n", Outcome::kFailed, Cause::kRunnerCrashed, "SIGSEGV");
  EXPECT_EQ(Released(b), Files());
  b.Pass(seconds(2));  // the first backoff, with its jitter
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].job.checkpoint->step, 10);
}

TEST(Checkpoints, APausingAttemptIsAskedToYieldACancelledOneToStop) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  b.Do(PauseJob{.job = JobId{"j"}});
  ASSERT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_TRUE(b.effects<StopEffect>()[0].yield);
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().yield.size(), 1u);
  EXPECT_TRUE(b.reply<HeartbeatReply>().stop.empty());
  b.Progress("j", 1, "n");
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_TRUE(b.reply<ReportReply>().yield);
  b.Do(CancelJob{.job = JobId{"j"}});
  ASSERT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_FALSE(b.effects<StopEffect>()[0].yield);
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u);
  EXPECT_TRUE(b.reply<HeartbeatReply>().yield.empty());
  b.Progress("j", 1, "n");
  EXPECT_FALSE(b.reply<ReportReply>().yield);
}

TEST(Checkpoints, APausedJobKeepsTheOneThatItsEndBrought) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  Report(b, "j", 1, At(10));
  b.Do(PauseJob{.job = JobId{"j"}});
  b.Do(ReportCompletion{.node = NodeId{"n"},
                        .attempt = {JobId{"j"}, 1},
                        .outcome = Outcome::kCancelled,
                        .checkpoint = At(12, 3)});
  EXPECT_EQ(Released(b), (Files{"state-step-10", "manifest-step-10"}));
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kPaused);
  EXPECT_EQ(job.message, "paused at epoch 3, step 12; it goes on there when resumed");
  b.Restart();
  b.Register("n");
  b.Do(ResumeJob{.job = JobId{"j"}});
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].job.checkpoint->step, 12);
}

TEST(Checkpoints, ADrainedNodesAttemptsYield) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  b.Do(CordonNode{.node = NodeId{"n"}, .drain = true});
  ASSERT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_TRUE(b.effects<StopEffect>()[0].yield);
}

TEST(Checkpoints, GoWithTheEndOfTheirJob) {
  Bench b;
  b.Register("n", 4);
  for (const char* id : {"done", "failed", "cancelled"}) {
    b.Submit(id);
    Start(b, id);
    Report(b, id, 1, At(id[0]));
  }
  b.Complete("done", 1, "n");
  EXPECT_EQ(Released(b).size(), 2u);
  b.Complete("failed", 1, "n", Outcome::kFailed, Cause::kUserError, "bad");
  EXPECT_EQ(Released(b).size(), 2u);
  b.Do(CancelJob{.job = JobId{"cancelled"}});
  EXPECT_EQ(Released(b).size(), 0u) << "its processes have not ended";
  b.Complete("cancelled", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(Released(b).size(), 2u);
  EXPECT_TRUE(b.control().checkpoint_files().empty());
  for (const char* id : {"done", "failed", "cancelled"}) {
    EXPECT_FALSE(b.jobs[id].checkpoint->exists()) << id;
  }
}

TEST(Checkpoints, AFileThatTwoJobsNeedStaysUntilBothAreDone) {
  Bench b;
  b.Register("n", 4);
  for (const char* id : {"a", "b"}) {
    b.Submit(id);
    Start(b, id);
    Report(b, id, 1, At(10));
  }
  b.Complete("a", 1, "n");
  EXPECT_EQ(Released(b), Files());
  b.Restart();
  b.Register("n", 4, {{JobId{"b"}, 1}});
  b.Complete("b", 1, "n");
  EXPECT_EQ(Released(b), (Files{"state-step-10", "manifest-step-10"}));
}

TEST(Checkpoints, OfAnAttemptThatIsNotCurrentGoAtOnce) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  Start(b, "j");
  b.Pass(seconds(11));
  b.Register("n");
  Start(b, "j", 2);
  Report(b, "j", 2, At(5));
  Report(b, "j", 1, At(10));
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_EQ(Released(b), (Files{"state-step-10", "manifest-step-10"}));
  EXPECT_EQ(b.Get("j").checkpoint->step, 5);
  Report(b, "unknown", 1, At(10));
  EXPECT_EQ(Released(b), (Files{"state-step-10", "manifest-step-10"}));
  Report(b, "j", 1, At(5));
  EXPECT_EQ(Released(b), Files()) << "the current attempt needs it";
}

TEST(Checkpoints, ANodeDropsThoseOfJobsThatHaveEnded) {
  Bench b;
  b.Register("n", 4);
  b.Submit("paused");
  b.Submit("done");
  Start(b, "paused");
  Start(b, "done");
  b.Do(PauseJob{.job = JobId{"paused"}});
  b.Complete("paused", 1, "n", Outcome::kCancelled);
  b.Complete("done", 1, "n");
  b.Do(Heartbeat{.node = NodeId{"n"},
                 .session = "session-n",
                 .kept = {JobId{"paused"}, JobId{"done"}, JobId{"unknown"}}});
  EXPECT_EQ(b.reply<HeartbeatReply>().drop, (std::vector<JobId>{JobId{"done"}, JobId{"unknown"}}));
}

}  // namespace
}  // namespace cyxwiz::control
