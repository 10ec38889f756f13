#include "node/attempt_log.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/testing.h"
#include "node/log_book.h"

namespace cyxwiz::node {
namespace {

std::unique_ptr<AttemptLog> Open(const std::string& folder, int64_t max_bytes) {
  auto log = AttemptLog::Open(folder, max_bytes);
  EXPECT_TRUE(log.ok()) << log.status();
  return std::move(*log);
}

// All that can be read from `offset` on.
std::string ReadAll(const AttemptLog& log, int64_t offset, int64_t* dropped) {
  std::string text;
  *dropped = 0;
  for (;;) {
    Result<LogPiece> piece = log.Read(offset, 1000);
    if (!piece.ok() || piece->data.empty()) return text;
    *dropped += piece->dropped;
    text += piece->data;
    offset = piece->offset + static_cast<int64_t>(piece->data.size());
  }
}

TEST(AttemptLog, KeepsEverythingWhileThereIsRoom) {
  TemporaryFolder folder;
  auto log = Open(folder.path(), 4096);
  ASSERT_TRUE(log->Append("one\n").ok());
  ASSERT_TRUE(log->Append("two\n").ok());
  int64_t dropped = 0;
  EXPECT_EQ(ReadAll(*log, 0, &dropped), "one\ntwo\n");
  EXPECT_EQ(ReadAll(*log, 4, &dropped), "two\n");
  EXPECT_EQ(dropped, 0);
  EXPECT_EQ(log->Tail(100).data, "one\ntwo\n");
  EXPECT_EQ(log->Tail(100).offset, 0);
  EXPECT_EQ(log->Tail(6).offset, 4);
}

TEST(AttemptLog, KeepsHeadAndTailAndCountsWhatIsDropped) {
  TemporaryFolder folder;
  auto log = Open(folder.path(), 4096);
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    std::string line = "line " + std::to_string(i) + "\n";
    all += line;
    ASSERT_TRUE(log->Append(line).ok());
  }
  EXPECT_EQ(log->size(), static_cast<int64_t>(all.size()));
  int64_t dropped = 0;
  std::string kept = ReadAll(*log, 0, &dropped);
  EXPECT_EQ(static_cast<int64_t>(kept.size()) + dropped, log->size());
  EXPECT_EQ(dropped, log->dropped());
  EXPECT_GT(dropped, 0);
  EXPECT_LE(kept.size(), 4096u);
  EXPECT_GE(kept.size(), 3000u);
  EXPECT_TRUE(kept.starts_with("line 0\nline 1\n"));
  EXPECT_TRUE(kept.ends_with("line 999\n"));
  EXPECT_EQ(log->Tail(20).data, "line 998\nline 999\n");
  // Where the beginning was dropped meanwhile, what is left of it is not glued to the end.
  const LogPiece most = log->Tail(8800);
  EXPECT_EQ(most.offset + static_cast<int64_t>(most.data.size()), log->size());
  EXPECT_EQ(most.data.find("line 20\n"), std::string::npos);
}

TEST(AttemptLog, IsReadFromDiskAsItWasWritten) {
  TemporaryFolder folder;
  std::string before;
  int64_t dropped = 0;
  {
    auto log = Open(folder.path(), 4096);
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(log->Append(std::to_string(i) + " ").ok());
    before = ReadAll(*log, 0, &dropped);
  }
  auto log = Open(folder.path(), 4096);
  int64_t dropped_again = 0;
  EXPECT_EQ(ReadAll(*log, 0, &dropped_again), before);
  EXPECT_EQ(dropped_again, dropped);
}

TEST(AttemptLog, WakesWhoWaitsOnceAtEachWriteAndAtTheEnd) {
  TemporaryFolder folder;
  auto log = Open(folder.path(), 4096);
  int woken = 0;
  log->Wait([&] { ++woken; });
  EXPECT_EQ(woken, 0);
  ASSERT_TRUE(log->Append("x").ok());
  ASSERT_TRUE(log->Append("y").ok());
  EXPECT_EQ(woken, 1);
  log->Wait([&] { ++woken; });
  log->Close();
  EXPECT_EQ(woken, 2);
  log->Wait([&] { ++woken; });
  EXPECT_EQ(woken, 3);
}

TEST(AttemptLog, TextForTheWireIsUtf8) {
  EXPECT_EQ(ToUtf8("plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80"),
            "plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(ToUtf8("\xFF\xC3"), "??");
  EXPECT_EQ(ToUtf8("\xC0\x80"), "??");
  EXPECT_EQ(ToUtf8("\xED\xA0\x80"), "???");
}

TEST(LogBook, AnEarlierRunsFilesGoAndItsLogsStay) {
  TemporaryFolder folder;
  AttemptId id{{"job-1"}, 2};
  {
    auto book = LogBook::Open(folder.path(), 4096, 10);
    ASSERT_TRUE(book.ok()) << book.status();
    auto log = (*book)->Begin(id);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Append("hello").ok());
    ASSERT_TRUE(WriteFileAtomically((*book)->FolderOf(id) + "/weights.safetensors", "w").ok());
  }
  auto book = LogBook::Open(folder.path(), 4096, 10);
  ASSERT_TRUE(book.ok()) << book.status();
  EXPECT_FALSE(std::filesystem::exists((*book)->FolderOf(id) + "/weights.safetensors"));
  auto found = (*book)->Find({"job-1"}, 0);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, id);
  auto log = (*book)->LogOf(id);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ((*log)->Read(0, 100)->data, "hello");
  EXPECT_TRUE((*log)->closed());
}

TEST(LogBook, AnAttemptMayKeepLessThanOthersButNotMore) {
  TemporaryFolder folder;
  auto book = LogBook::Open(folder.path(), 16 << 10, 10);
  ASSERT_TRUE(book.ok()) << book.status();
  for (auto [asked, kept] : {std::pair<int64_t, int64_t>{4096, 4096}, {1 << 20, 16 << 10}}) {
    AttemptId id{{"job-" + std::to_string(asked)}, 1};
    auto log = (*book)->Begin(id, asked);
    ASSERT_TRUE(log.ok()) << log.status();
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE((*log)->Append(std::string(100, 'x')).ok());
    int64_t bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator((*book)->FolderOf(id)))
      bytes += static_cast<int64_t>(file.file_size());
    EXPECT_LE(bytes, kept);
    EXPECT_GT(bytes, kept / 2);
  }
}

TEST(LogBook, TheOldestLogsMakeRoom) {
  TemporaryFolder folder;
  auto book = LogBook::Open(folder.path(), 4096, 2);
  ASSERT_TRUE(book.ok()) << book.status();
  for (int i = 1; i <= 3; ++i) {
    AttemptId id{{"job-" + std::to_string(i)}, 1};
    ASSERT_TRUE((*book)->Begin(id).ok());
    (*book)->CloseLog(id);
    (*book)->RemoveFiles(id);
  }
  EXPECT_EQ((*book)->Find({"job-1"}, 1).status().code(), Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/job-1"));
  EXPECT_TRUE((*book)->Find({"job-3"}, 1).ok());
}

TEST(LogBook, AnIdThatIsAPathIsRefused) {
  TemporaryFolder folder;
  auto book = LogBook::Open(folder.path(), 4096, 2);
  ASSERT_TRUE(book.ok()) << book.status();
  EXPECT_EQ((*book)->Find({"../../etc"}, 1).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace cyxwiz::node
