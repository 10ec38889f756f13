#include "node/checkpoint_keeper.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "base/file.h"

namespace cyxwiz::node {
namespace {

namespace fs = std::filesystem;

class CheckpointKeeperTest : public testing::Test {
 protected:
  CheckpointKeeperTest() {
    std::string name = fs::temp_directory_path().string() + "/cyxwiz-keeper-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    Open(1000);
  }
  ~CheckpointKeeperTest() override { fs::remove_all(folder_); }

  void Open(int64_t max_bytes) {
    auto keeper = CheckpointKeeper::Open(folder_ + "/kept", max_bytes);
    ASSERT_TRUE(keeper.ok()) << keeper.status();
    keeper_ = std::move(*keeper);
  }
  // A folder of checkpoints as a runner leaves it, with one checkpoint of 100 bytes.
  std::string Write(const std::string& path, const std::string& step, bool complete = true) {
    std::string folder = folder_ + "/" + path;
    EXPECT_TRUE(MakeFolder(folder + "/" + step).ok());
    EXPECT_TRUE(WriteFileAtomically(folder + "/" + step + "/state", std::string(90, 's')).ok());
    if (complete) {
      EXPECT_TRUE(
          WriteFileAtomically(folder + "/" + step + "/manifest.json", std::string(10, 'm')).ok());
    }
    return folder;
  }
  std::optional<int64_t> GiveBack(const std::string& job) {
    std::string folder = folder_ + "/back-" + std::to_string(++backs_);
    keeper_->GiveBack({job}, folder);
    return NewestCheckpoint(folder);
  }

  std::string folder_;
  int backs_ = 0;
  std::unique_ptr<CheckpointKeeper> keeper_;
};

TEST_F(CheckpointKeeperTest, GivesBackWhatItWasGivenOnce) {
  std::string folder = Write("attempt", "000000000010");
  keeper_->Keep({"j"}, folder);
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_EQ(keeper_->jobs(), (std::vector<JobId>{{"j"}}));
  EXPECT_EQ(GiveBack("j"), 10);
  EXPECT_TRUE(keeper_->jobs().empty());
  EXPECT_EQ(GiveBack("j"), std::nullopt);
}

TEST_F(CheckpointKeeperTest, WhatIsNotCompleteIsNotKept) {
  keeper_->Keep({"j"}, Write("attempt", "000000000010", /*complete=*/false));
  keeper_->Keep({"k"}, folder_ + "/absent");
  EXPECT_TRUE(keeper_->jobs().empty());
}

TEST_F(CheckpointKeeperTest, AnOlderOneDoesNotReplaceANewerOne) {
  keeper_->Keep({"j"}, Write("a", "000000000020"));
  keeper_->Keep({"j"}, Write("b", "000000000010"));
  EXPECT_EQ(GiveBack("j"), 20);
  keeper_->Keep({"j"}, Write("c", "000000000010"));
  keeper_->Keep({"j"}, Write("d", "000000000020"));
  EXPECT_EQ(keeper_->jobs().size(), 1u);
  EXPECT_EQ(GiveBack("j"), 20);
}

TEST_F(CheckpointKeeperTest, TheOldestMakesRoom) {
  Open(250);
  for (const char* job : {"a", "b", "c"}) keeper_->Keep({job}, Write(job, "000000000001"));
  EXPECT_EQ(keeper_->jobs(), (std::vector<JobId>{{"b"}, {"c"}}));
  EXPECT_FALSE(fs::exists(folder_ + "/kept/a"));
}

TEST_F(CheckpointKeeperTest, IsReadFromDiskWithItsSizes) {
  keeper_->Keep({"a"}, Write("a", "000000000001"));
  fs::last_write_time(folder_ + "/kept/a",
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  keeper_->Keep({"b"}, Write("b", "000000000002"));
  Open(150);
  EXPECT_EQ(keeper_->jobs(), (std::vector<JobId>{{"b"}}));
  EXPECT_EQ(GiveBack("b"), 2);
}

TEST_F(CheckpointKeeperTest, AdoptsWhatAKilledNodeLeft) {
  Write("attempts/j/1/checkpoints", "000000000030");
  Write("attempts/j/2/checkpoints", "000000000010");
  Write("attempts/k/1/checkpoints", "000000000005", /*complete=*/false);
  keeper_->Adopt(folder_ + "/attempts");
  EXPECT_EQ(keeper_->jobs(), (std::vector<JobId>{{"j"}}));
  EXPECT_EQ(GiveBack("j"), 30);
}

TEST_F(CheckpointKeeperTest, DropForgetsAJob) {
  keeper_->Keep({"j"}, Write("a", "000000000001"));
  keeper_->Drop({"j"});
  EXPECT_TRUE(keeper_->jobs().empty());
  EXPECT_EQ(GiveBack("j"), std::nullopt);
}

}  // namespace
}  // namespace cyxwiz::node
