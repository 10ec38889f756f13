#include "history/replay.h"

#include <gtest/gtest.h>

#include <chrono>

#include "control/fields.h"
#include "history/testing.h"

namespace cyxwiz::history {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// Two jobs on a node that holds one: the second waits, then runs; one that has ended is asked for.
void Live(RecordedCore* core) {
  core->Register("n", 2);
  core->Submit("a", 2);
  core->Start("a", "n");
  core->Submit("b", 2);
  core->Pass(seconds(3));
  core->Complete("a", "n");
  core->Do(control::Heartbeat{.node = {"n"}, .session = "secret session of n"});
  core->Start("b", "n");
  core->Do(control::CancelJob{.job = {"b"}, .reason = "enough"});
  core->Pass(minutes(2));  // the node is silent: it is lost, and the ended jobs leave memory
  core->Do(control::GetJob{.job = {"a"}});
  core->Do(control::ListJobs{});
  core->Submit("a", 2);  // known from the archive
}

// Goes through it; the status of the first step that is not fine.
Status RunThrough(Replay* replay, control::Output* output = nullptr) {
  control::Output own;
  while (replay->next()) RETURN_IF_ERROR(replay->Step(output != nullptr ? output : &own));
  return OkStatus();
}

TEST(Replay, GivesTheSameDecisionsAndTheSameState) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  Live(&core);
  ASSERT_EQ(journal.segments.size(), 1u);
  auto replay = Replay::Open(journal.segments[0]);
  ASSERT_TRUE(replay.ok()) << replay.status();
  control::Output output;
  EXPECT_EQ(RunThrough(replay->get(), &output).ToString(), OkStatus().ToString());
  EXPECT_GT((*replay)->batch(), 10);
  EXPECT_FALSE(output.records.empty());
  std::string state;
  (*replay)->control().Save(&state);
  EXPECT_EQ(state, core.State());
}

TEST(Replay, GoesOnFromAStateInTheMiddle) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  core.Register("n", 2);
  core.Submit("a", 2);
  core.Submit("b", 1, 3);
  journal.wants_start = true;
  Live(&core);
  ASSERT_EQ(journal.segments.size(), 2u);
  auto first = Replay::Open(journal.segments[0]);
  ASSERT_TRUE(RunThrough(first->get()).ok());
  std::string state;
  (*first)->control().Save(&state);
  auto second = Replay::Open(journal.segments[1]);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE((*second)->start().continues);
  EXPECT_EQ((*second)->start().state, state) << "what the first leads to";
  EXPECT_EQ(RunThrough(second->get()).ToString(), OkStatus().ToString());
}

TEST(Replay, TellsWhenAnotherInputWouldDecideOtherwise) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  Live(&core);
  auto segment = SegmentReader::Open(journal.segments[0]);
  std::string changed(SegmentHead()), value;
  BinaryWriter(&value).Write(segment->start());
  AppendFrame(value, &changed);
  UnixTime at;
  while (auto batch = segment->Next()) {
    auto* submit =
        batch->commands.empty() ? nullptr : std::get_if<control::SubmitJob>(&batch->commands[0]);
    if (submit != nullptr && submit->job.id.value == "b" && at.ms == 0) {
      submit->job.priority = 2;
      at = batch->now.unix;
    }
    value.clear();
    BinaryWriter(&value).Write(*batch);
    AppendFrame(value, &changed);
  }
  auto replay = Replay::Open(changed);
  Status status = RunThrough(replay->get());
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find("at " + FormatTime(at)), std::string::npos) << status;
}

TEST(Replay, TellsWhenTheSchedulerDecidesOtherwise) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  Live(&core);
  // One with another lease.
  auto segment = SegmentReader::Open(journal.segments[0]);
  Start start = segment->start();
  BinaryReader reader(start.state);
  auto options = reader.Take<control::Options>();
  std::string before, after;
  BinaryWriter(&before).Write(options);
  options.lease = seconds(1);
  BinaryWriter(&after).Write(options);
  start.state.replace(0, before.size(), after);
  std::string changed(SegmentHead()), value, old_value;
  BinaryWriter(&old_value).Write(segment->start());
  BinaryWriter(&value).Write(start);
  AppendFrame(value, &changed);
  std::string old_start(SegmentHead());
  AppendFrame(old_value, &old_start);
  changed += journal.segments[0].substr(old_start.size());
  auto replay = Replay::Open(changed);
  ASSERT_TRUE(replay.ok()) << replay.status();
  EXPECT_EQ(RunThrough(replay->get()).code(), Code::kFailedPrecondition);
}

TEST(Segment, HoldsNoSpecificationAndNoSession) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  Live(&core);
  journal.wants_start = true;
  core.Register("n", 2);
  ASSERT_EQ(journal.segments.size(), 2u);
  for (const std::string& segment : journal.segments)
    EXPECT_EQ(segment.find("secret"), std::string::npos);
}

TEST(Segment, EndsWhereItIsTorn) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  Live(&core);
  const std::string& whole = journal.segments[0];
  int64_t most = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    auto replay = Replay::Open(std::string_view(whole).substr(0, size));
    if (!replay.ok()) {
      EXPECT_EQ(replay.status().code(), Code::kDataLoss);
      EXPECT_EQ(most, 0) << "once there is a start, it is there";
      continue;
    }
    EXPECT_TRUE(RunThrough(replay->get()).ok());
    EXPECT_GE((*replay)->batch(), most);
    most = (*replay)->batch();
  }
  EXPECT_GT(most, 5);
}

TEST(Segment, EndsBeforeADamagedByte) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  Live(&core);
  for (size_t at = 0; at < journal.segments[0].size(); ++at) {
    std::string damaged = journal.segments[0];
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    auto replay = Replay::Open(damaged);
    if (!replay.ok()) continue;
    EXPECT_TRUE(RunThrough(replay->get()).ok()) << at;
    EXPECT_GT((*replay)->left(), 0u) << at;
  }
}

TEST(Restore, TakesNoStateThatDoesNotFitTogether) {
  MemoryJournal journal;
  RecordedCore core(&journal);
  core.Register("n", 2);
  core.Submit("a", 2);
  core.Start("a", "n");
  core.Submit("b", 2);
  const std::string state = core.State();
  ASSERT_TRUE(control::Control::Restore(state, nullptr).ok());
  EXPECT_FALSE(control::Control::Restore("", nullptr).ok());
  EXPECT_FALSE(control::Control::Restore(state + "x", nullptr).ok());
  for (size_t size = 0; size < state.size(); ++size)
    EXPECT_FALSE(control::Control::Restore(state.substr(0, size), nullptr).ok()) << size;
  // Whatever it says: it is read within its bounds.
  for (size_t at = 0; at < state.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = state;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      (void)control::Control::Restore(damaged, nullptr);
    }
  }
}

}  // namespace
}  // namespace cyxwiz::history
