#include "cli/progress_view.h"

#include <gtest/gtest.h>

#include "cli/layout.h"

namespace cyxwiz::cli {
namespace {

using std::chrono::seconds;

MonotonicTime At(int second) { return MonotonicTime{} + seconds(second); }

protocol::JobStatus Running(double progress, int epoch, int epochs = 10) {
  protocol::JobStatus status;
  status.set_job_id("j");
  status.set_state(protocol::JOB_STATE_RUNNING);
  status.set_attempt(1);
  status.set_current_node_id("node-1");
  status.set_progress(progress);
  status.set_current_epoch(epoch);
  status.set_total_epochs(epochs);
  (*status.mutable_metrics())["samples_per_second"] = 48213;
  (*status.mutable_metrics())["train_loss"] = 0.3121;
  (*status.mutable_metrics())["train_accuracy"] = 0.887;
  return status;
}

protocol::JobStatus Queued(const std::string& message) {
  protocol::JobStatus status;
  status.set_state(protocol::JOB_STATE_QUEUED);
  status.set_message(message);
  return status;
}

TEST(ProgressView, LineShowsBarEpochRateTimeLeftAndMetrics) {
  ProgressView view(false, false);
  view.Update(Running(0.2, 3), At(0));
  view.Update(Running(0.4, 5), At(10));
  EXPECT_EQ(view.Line(110, At(10)),
            "Running " + Bar(0.4, 27, false) +
                "  40 %  epoch 5/10  48.2k samples/s  ETA 0:30  loss 0.3121  accuracy 0.8870");
}

TEST(ProgressView, LineNeverGetsWiderThanTheTerminal) {
  ProgressView view(true, true);
  view.Update(Running(0.2, 3), At(0));
  view.Update(Running(0.4, 5), At(10));
  for (int width = 40; width < 200; ++width) {
    EXPECT_LE(DisplayWidth(view.Line(width, At(10))), static_cast<size_t>(width))
        << view.Line(width, At(10));
  }
  EXPECT_NE(view.Line(60, At(10)).find("epoch 5/10"), std::string::npos);
}

TEST(ProgressView, TimeLeftCountsDownBetweenReports) {
  ProgressView view(false, false);
  view.Update(Running(0.25, 3), At(0));
  EXPECT_FALSE(view.TimeLeft(At(0)));
  view.Update(Running(0.5, 5), At(10));
  EXPECT_EQ(view.TimeLeft(At(10)), seconds(20));
  EXPECT_EQ(view.TimeLeft(At(15)), seconds(15));
  EXPECT_EQ(view.TimeLeft(At(60)), seconds(0));
}

TEST(ProgressView, ANewAttemptStartsTheEstimateAfresh) {
  ProgressView view(false, false);
  view.Update(Running(0.25, 3), At(0));
  view.Update(Running(0.5, 5), At(10));
  protocol::JobStatus second = Running(0.1, 1);
  second.set_attempt(2);
  view.Update(second, At(20));
  EXPECT_FALSE(view.TimeLeft(At(20)));
}

TEST(ProgressView, PlainLinesAreOneAStateAndOneAnEpoch) {
  ProgressView view(false, false);
  view.Update(Queued("waits for a node"), At(0));
  view.Update(Queued("waits for a node"), At(1));
  EXPECT_EQ(view.TakePlainLines(), std::vector<std::string>{"Queued: waits for a node"});
  view.Update(Running(0.05, 1), At(2));
  EXPECT_EQ(view.TakePlainLines(), std::vector<std::string>{"Running on node-1"});
  view.Update(Running(0.1, 1), At(3));
  view.Update(Running(0.15, 2), At(3));
  EXPECT_EQ(view.TakePlainLines(),
            std::vector<std::string>{"epoch 1/10  48.2k samples/s  loss 0.3121  accuracy 0.8870"});
  view.Update(Running(0.19, 2), At(3));
  EXPECT_TRUE(view.TakePlainLines().empty());
}

TEST(ProgressView, AJobThatIsTriedAgainSaysSo) {
  ProgressView view(false, false);
  view.Update(Running(0.5, 5), At(0));
  view.TakePlainLines();
  view.Update(Queued("node node-1 was lost; tried again in 1 s"), At(1));
  protocol::JobStatus second = Running(0.1, 1);
  second.set_attempt(2);
  view.Update(second, At(2));
  EXPECT_EQ(view.TakePlainLines(),
            (std::vector<std::string>{
                "Queued: node node-1 was lost; tried again in 1 s", "Running on node-1 (attempt 2)",
                "epoch 1/10  48.2k samples/s  loss 0.3121  accuracy 0.8870"}));
}

TEST(ProgressView, FinalLineTellsTheResultOrTheReason) {
  ProgressView view(false, false);
  protocol::JobStatus done = Running(1, 10);
  done.set_state(protocol::JOB_STATE_SUCCEEDED);
  done.set_start_time(1000);
  done.set_end_time(1012);
  (*done.mutable_metrics())["test_accuracy"] = 0.8801;
  view.Update(done, At(0));
  EXPECT_EQ(
      view.FinalLine(),
      "Succeeded after 12 s: test accuracy 0.8801, loss 0.3121, accuracy 0.8870, 48.2k samples/s");
  done.set_state(protocol::JOB_STATE_FAILED);
  done.mutable_error()->set_message("the loss became NaN");
  done.mutable_error()->set_details("step 12\nlr 100");
  view.Update(done, At(1));
  EXPECT_EQ(view.FinalLine(), "Failed after 12 s: the loss became NaN\n  step 12\n  lr 100");
}

TEST(ProgressView, ALostServerShowsUntilTheNextUpdate) {
  ProgressView view(false, false);
  view.Update(Running(0.5, 5), At(0));
  view.Lost(At(10));
  EXPECT_NE(view.Line(100, At(15)).find("no connection to the server for 0:05"), std::string::npos);
  view.Update(Running(0.6, 6), At(20));
  EXPECT_EQ(view.Line(100, At(20)).find("no connection"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::cli
