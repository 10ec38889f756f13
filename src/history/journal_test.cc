#include "history/journal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "history/past.h"
#include "history/testing.h"

namespace cyxwiz::history {
namespace {

using std::chrono::seconds;

class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    std::string name = testing::TempDir() + "/cyxwiz-history-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~JournalTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<FolderJournal> Open(int64_t max_bytes = int64_t{1} << 30) {
    auto journal = FolderJournal::Open({.folder = folder_, .max_bytes = max_bytes});
    EXPECT_TRUE(journal.ok()) << journal.status();
    return std::move(*journal);
  }
  // Two jobs on a node that holds one; the moments at which the second waits, and runs.
  void Live(RecordedCore* core, UnixTime* waits, UnixTime* runs) {
    core->Register("n", 2);
    core->Pass(seconds(2));
    core->Submit("a", 2);
    core->Start("a", "n");
    core->Pass(seconds(2));
    core->Submit("b", 2);
    core->Pass(seconds(2));
    *waits = core->now().unix;
    core->Pass(seconds(2));
    core->Complete("a", "n");
    core->Start("b", "n");
    core->Pass(seconds(2));
    *runs = core->now().unix;
    core->Pass(seconds(1));
  }

  std::string folder_;
};

TEST_F(JournalTest, AnswersForThePastAsItWasThen) {
  auto journal = Open();
  RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
  UnixTime waits, runs;
  Live(&core, &waits, &runs);
  journal->Flush();
  auto then = ExplainAt(folder_, {.job = {"b"}}, waits);
  ASSERT_TRUE(then.ok()) << then.status();
  EXPECT_EQ(then->view.job.state, control::JobState::kQueued);
  ASSERT_FALSE(then->reasons.empty());
  EXPECT_EQ(then->reasons[0].code, "NOT_ENOUGH_FREE");
  EXPECT_EQ(then->queue_position, 1);
  auto later = ExplainAt(folder_, {.job = {"b"}}, runs);
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_EQ(later->view.job.state, control::JobState::kRunning);
}

TEST_F(JournalTest, SaysWhatItCannotTell) {
  auto journal = Open();
  RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
  const UnixTime begin = core.now().unix;
  EXPECT_EQ(ExplainAt(folder_, {.job = {"b"}}, begin).status().code(), Code::kOutOfRange);
  UnixTime waits, runs;
  Live(&core, &waits, &runs);
  journal->Flush();
  Status before = ExplainAt(folder_, {.job = {"b"}}, {begin.ms - 1}).status();
  EXPECT_EQ(before.code(), Code::kOutOfRange);
  EXPECT_NE(before.message().find(FormatTime(begin)), std::string::npos) << before;
  EXPECT_EQ(ExplainAt(folder_, {.job = {"b"}}, {begin.ms + 1}).status().code(), Code::kNotFound);
  EXPECT_EQ(ExplainAt(folder_, {.job = {"none"}}, waits).status().code(), Code::kNotFound);
  EXPECT_EQ(ExplainAt(folder_, {.job = {"b"}}, waits, {.most_bytes = 10}).status().code(),
            Code::kResourceExhausted);
  EXPECT_EQ(ExplainAt(folder_, {.job = {"b"}}, waits, {.most_time = Duration(0)}).status().code(),
            Code::kResourceExhausted);
}

TEST_F(JournalTest, BeginsASegmentWithEachRunAndTellsOfTheGap) {
  UnixTime waits, runs;
  {
    auto journal = Open();
    RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
    Live(&core, &waits, &runs);
  }
  auto journal = Open();
  {
    RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
    core.Pass(seconds(3600));
    core.Submit("c", 1);
    journal->Flush();
    auto segments = ListSegments(folder_);
    ASSERT_EQ(segments->size(), 2u);
    auto gap = ExplainAt(folder_, {.job = {"b"}}, {runs.ms + 60'000});
    EXPECT_EQ(gap.status().code(), Code::kOutOfRange);
    EXPECT_NE(gap.status().message().find("gap"), std::string::npos) << gap.status();
    int64_t events = 0;
    auto done = ReplayAll(*segments, [&](const control::Output& output, Now) {
      for (const control::Effect& effect : output.effects)
        events += std::holds_alternative<control::EventEffect>(effect);
      return OkStatus();
    });
    EXPECT_TRUE(done.status.ok()) << done.status;
    EXPECT_EQ(done.segments, 2);
    EXPECT_GT(events, 5);
  }
}

TEST_F(JournalTest, KeepsNoMoreThanItMay) {
  constexpr int64_t kMost = 40 << 20;
  auto journal = Open(kMost);
  RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
  core.Register("n", 2);
  for (int i = 0; i < 400; ++i) {
    control::Heartbeat heartbeat{.node = {"n"}, .session = "secret session of n"};
    heartbeat.info = std::string(200 << 10, static_cast<char>('a' + i % 26));
    core.Do(std::move(heartbeat));
    if (i % 10 == 0) journal->Flush();
  }
  journal->Flush();
  auto segments = ListSegments(folder_);
  ASSERT_TRUE(segments.ok());
  int64_t bytes = 0;
  for (const SegmentFile& segment : *segments) bytes += segment.bytes;
  EXPECT_LE(bytes, kMost);
  EXPECT_GT(segments->front().number, 1) << "the oldest went first";
  EXPECT_GT(segments->size(), 2u);
  auto done = ReplayAll(*segments, [](const control::Output&, Now) { return OkStatus(); });
  EXPECT_TRUE(done.status.ok()) << done.status;
}

TEST_F(JournalTest, EndsASegmentSoEarlyThatTheOneBeforeCanStay) {
  constexpr int64_t kMost = 4 << 20;
  auto journal = Open(kMost);
  RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
  core.Register("n", 2);
  for (int i = 0; i < 40; ++i) {
    control::Heartbeat heartbeat{.node = {"n"}, .session = "secret session of n"};
    heartbeat.info = std::string(200 << 10, static_cast<char>('a' + i % 26));
    core.Do(std::move(heartbeat));
    journal->Flush();
    auto segments = ListSegments(folder_);
    ASSERT_TRUE(segments.ok());
    int64_t bytes = 0;
    for (const SegmentFile& segment : *segments) bytes += segment.bytes;
    ASSERT_LE(bytes, kMost) << "after " << i + 1;
    ASSERT_TRUE(segments->size() > 1 || segments->back().number == 1) << "after " << i + 1;
  }
}

TEST_F(JournalTest, KeepsNothingLongerThanItMay) {
  const auto run = [this] {
    auto journal = Open();
    RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
    core.Register("n", 2);
  };
  const auto first_after = [&](std::chrono::hours age) {
    std::filesystem::last_write_time(ListSegments(folder_)->front().path,
                                     std::filesystem::file_time_type::clock::now() - age);
    run();
    return ListSegments(folder_)->front().number;
  };
  run();
  EXPECT_EQ(first_after(std::chrono::hours(24 * 6)), 1);
  EXPECT_EQ(first_after(std::chrono::hours(24 * 8)), 2) << "a week is over";
}

TEST_F(JournalTest, GoesOnWithoutAFolder) {
  auto journal = Open();
  RecordedCore core(journal.get(), {.lease = std::chrono::hours(2)});
  std::filesystem::remove_all(folder_);
  core.Register("n", 2);
  journal->Flush();
  core.Submit("a", 2);
  core.Start("a", "n");
  EXPECT_EQ(ExplainAt(folder_, {.job = {"a"}}, core.now().unix).status().code(), Code::kOutOfRange);
}

TEST_F(JournalTest, TakesNoOtherFileForASegment) {
  std::ofstream(folder_ + "/00000001.history") << "something else";
  std::ofstream(folder_ + "/notes.txt") << "nothing";
  auto segments = ListSegments(folder_);
  ASSERT_EQ(segments->size(), 1u);
  EXPECT_EQ(StartOf(segments->front()).status().code(), Code::kDataLoss);
  auto done = ReplayAll(*segments, [](const control::Output&, Now) { return OkStatus(); });
  EXPECT_EQ(done.status.code(), Code::kDataLoss);
  EXPECT_EQ(ExplainAt(folder_, {.job = {"a"}}, {1}).status().code(), Code::kOutOfRange);
}

}  // namespace
}  // namespace cyxwiz::history
