#include "node/dataset_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/file.h"
#include "base/testing.h"
#include "security/job_token.h"

namespace cyxwiz::node {
namespace {

namespace fs = std::filesystem;

std::string HashOf(const std::string& text) { return security::HexEncode(security::Sha256(text)); }

class DatasetFilesTest : public testing::Test {
 protected:
  DatasetFilesTest() { Open(1000); }

  void Open(int64_t max_bytes, int64_t min_free_disk_bytes = 0) {
    files_.reset();
    auto cache = FileCache::Open(folder_ / "cache", "files", max_bytes);
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = std::move(*cache);
    files_ = std::make_unique<DatasetFiles>(
        io_, cache_.get(), /*remote=*/nullptr, min_free_disk_bytes,
        [this](const AttemptId&, const std::vector<StoredFile>& files,
               std::function<void(Status)> done) {
          if (hold_fetches_) return held_.push_back([=, this] { Fetch(files, done); });
          Fetch(files, done);
        });
  }
  // The server: what it has under that hash.
  std::string Store(const std::string& content) {
    server_[HashOf(content)] = content;
    return HashOf(content);
  }
  void Fetch(const std::vector<StoredFile>& files, const std::function<void(Status)>& done) {
    for (const StoredFile& file : files) {
      EXPECT_EQ(file.store, StoredFile::Store::kDatasets);
      fetched_ += server_[file.sha256].substr(0, 1);
      if (!fetch_error_.ok()) return boost::asio::post(io_, [=, this] { done(fetch_error_); });
      std::ofstream(file.path) << server_[file.sha256];
    }
    boost::asio::post(io_, [done] { done(OkStatus()); });
  }
  spec::DatasetFrom Dataset(std::vector<std::pair<std::string, std::string>> contents) {
    std::vector<spec::DatasetFile> list;
    for (const auto& [path, content] : contents)
      list.push_back({path, Store(content), static_cast<int64_t>(content.size())});
    EXPECT_TRUE(spec::CheckDatasetFiles(&list).ok());
    const std::string manifest = spec::ManifestText(list);
    return {.name = "x",
            .version = "1",
            .manifest_sha256 = Store(manifest),
            .manifest_bytes = static_cast<int64_t>(manifest.size())};
  }
  struct Outcome {
    std::optional<Status> status;
    std::vector<FileCache::Hold> holds;
    std::string notes;
  };
  std::shared_ptr<Outcome> Give(int attempt, const spec::DatasetFrom& from) {
    auto outcome = std::make_shared<Outcome>();
    files_->Give(
        {{"job"}, attempt}, from, FolderOf(attempt),
        [outcome](const std::string& note) { outcome->notes += note + "\n"; },
        [outcome](const Status& status, DatasetFiles::Given given) {
          outcome->status = status;
          outcome->holds = std::move(given.holds);
        });
    return outcome;
  }
  // Until so many have been answered; the worker posts what it has done.
  void RunUntil(const std::vector<std::shared_ptr<Outcome>>& outcomes) {
    io_.restart();
    auto work = boost::asio::make_work_guard(io_);
    auto open = [&] {
      return std::any_of(outcomes.begin(), outcomes.end(),
                         [](const auto& one) { return !one->status; });
    };
    while (open()) io_.run_one();
  }
  void RunUntilFetching() {
    io_.restart();
    auto work = boost::asio::make_work_guard(io_);
    while (held_.empty()) io_.run_one();
  }
  std::string FolderOf(int attempt) { return folder_ / ("attempt" + std::to_string(attempt)); }
  std::string Read(int attempt, const std::string& path) {
    auto content = ReadFile(FolderOf(attempt) + "/" + path);
    return content.ok() ? *content : content.status().message();
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  std::map<std::string, std::string> server_;
  std::string fetched_;  // the first character of each
  Status fetch_error_;
  bool hold_fetches_ = false;
  std::vector<std::function<void()>> held_;
  std::unique_ptr<FileCache> cache_;
  std::unique_ptr<DatasetFiles> files_;
};

TEST_F(DatasetFilesTest, FetchesOnceAndMakesAFolder) {
  auto from = Dataset({{"a", "one"}, {"sub/b", "two"}, {"sub/c", "one"}});
  auto first = Give(1, from);
  RunUntil({first});
  ASSERT_TRUE(first->status->ok()) << *first->status;
  EXPECT_EQ(fetched_, "{ot");
  EXPECT_EQ(first->notes, "getting the data set x@1 from the server: 2 of 2 files, 6 bytes\n");
  EXPECT_EQ(Read(1, "a") + Read(1, "sub/b") + Read(1, "sub/c"), "onetwoone");
  EXPECT_FALSE(fs::exists(FolderOf(1) + ".incoming"));
  auto second = Give(2, from);
  RunUntil({second});
  EXPECT_EQ(fetched_, "{ot");
  EXPECT_EQ(cache_->counts().misses, 3);
  EXPECT_EQ(cache_->counts().hits, 3);
  EXPECT_EQ(second->notes, "the data set x@1 is here already\n");
  EXPECT_EQ(Read(2, "sub/b"), "two");
  // Another data set with a file that is here.
  auto third = Give(3, Dataset({{"a", "one"}, {"b", "new"}}));
  RunUntil({third});
  EXPECT_EQ(fetched_, "{ot{n");
}

TEST_F(DatasetFilesTest, AttemptsThatStartTogetherFetchOnce) {
  auto from = Dataset({{"a", "one"}});
  std::vector<std::shared_ptr<Outcome>> all = {Give(1, from), Give(2, from), Give(3, from)};
  RunUntil(all);
  EXPECT_EQ(fetched_, "{o");
  for (int attempt : {1, 2, 3}) EXPECT_EQ(Read(attempt, "a"), "one");
}

TEST_F(DatasetFilesTest, AnAttemptThatEndsLetsTheNextGoOn) {
  auto from = Dataset({{"a", "one"}});
  hold_fetches_ = true;
  auto first = Give(1, from), second = Give(2, from), third = Give(3, from);
  RunUntilFetching();
  files_->Cancel({{"job"}, 2});
  hold_fetches_ = false;
  files_->Cancel({{"job"}, 1});
  held_.clear();  // as the client of the server forgets what an attempt that has ended wanted
  RunUntil({third});
  EXPECT_TRUE(third->status->ok());
  EXPECT_EQ(Read(3, "a"), "one");
  EXPECT_FALSE(first->status || second->status);
}

TEST_F(DatasetFilesTest, WhatIsInUseStaysAndWhatDoesNotFitIsForTheAttemptAlone) {
  auto from = Dataset({{"a", std::string(600, 'a')}});
  auto first = Give(1, from);
  RunUntil({first});
  EXPECT_GT(cache_->bytes(), 600);
  auto large = Dataset({{"b", std::string(700, 'b')}});
  auto second = Give(2, large);
  RunUntil({second});
  ASSERT_TRUE(second->status->ok());
  EXPECT_EQ(Read(2, "b").size(), 700u);
  EXPECT_LE(cache_->bytes(), 1000);
  EXPECT_NE(cache_->Find(HashOf(std::string(600, 'a'))), nullptr);
  first->holds.clear();
  auto third = Give(3, large);
  RunUntil({third});
  EXPECT_NE(cache_->Find(HashOf(std::string(700, 'b'))), nullptr);
  EXPECT_EQ(cache_->Find(HashOf(std::string(600, 'a'))), nullptr);
}

TEST_F(DatasetFilesTest, DamageIsFoundByTheFirstWhoUsesItAfterAStart) {
  auto from = Dataset({{"a", "one"}, {"b", "two"}});
  auto first = Give(1, from);
  RunUntil({first});
  first->holds.clear();
  const std::string path = cache_->PathOf(HashOf("one"));
  Open(1000);
  std::ofstream(path) << "0ne";
  fetched_.clear();
  auto second = Give(2, from);
  RunUntil({second});
  ASSERT_TRUE(second->status->ok()) << *second->status;
  EXPECT_EQ(fetched_, "o");
  EXPECT_EQ(Read(2, "a") + Read(2, "b"), "onetwo");
}

TEST_F(DatasetFilesTest, WhatCannotBeHadIsTold) {
  fetch_error_ = NotFound("no artifact");
  auto from = Dataset({{"a", "one"}});
  auto lost = Give(1, from);
  RunUntil({lost});
  EXPECT_EQ(lost->status->code(), Code::kNotFound);
  fetch_error_ = OkStatus();
  from.manifest_sha256 = Store("no manifest");
  auto wrong = Give(2, from);
  RunUntil({wrong});
  EXPECT_EQ(wrong->status->code(), Code::kDataLoss);
  from.manifest_sha256 = "../../etc/passwd";
  auto odd = Give(3, from);
  RunUntil({odd});
  EXPECT_EQ(odd->status->code(), Code::kInvalidArgument);
}

TEST_F(DatasetFilesTest, TellsWhichAreHereTheLastOneFirst) {
  auto key = [](const spec::DatasetFrom& from) { return ContentKeyOf(from.manifest_sha256); };
  const auto one = Dataset({{"a", "one"}}), two = Dataset({{"a", "two"}});
  EXPECT_TRUE(files_->Keys().empty());
  int attempt = 0;
  for (const auto& from : {one, two, one}) {
    auto given = Give(++attempt, from);
    RunUntil({given});
  }
  EXPECT_EQ(files_->Keys(), (std::vector<ContentKey>{key(one), key(two)}));
  cache_->Drop(one.manifest_sha256);
  EXPECT_EQ(files_->Keys(), std::vector<ContentKey>{key(two)});
}

TEST_F(DatasetFilesTest, TellsOfTheLastOnesAlone) {
  Open(1 << 20);
  spec::DatasetFrom from;
  for (int i = 0; i <= static_cast<int>(DatasetFiles::kMostTold); ++i) {
    from = Dataset({{"a", std::to_string(i)}});
    auto given = Give(i, from);
    RunUntil({given});
  }
  const auto keys = files_->Keys();
  ASSERT_EQ(keys.size(), DatasetFiles::kMostTold);
  EXPECT_EQ(keys.front(), ContentKeyOf(from.manifest_sha256));
}

TEST_F(DatasetFilesTest, AFullDiskIsTheNodesTrouble) {
  Open(1000, /*min_free_disk_bytes=*/int64_t{1} << 60);
  auto full = Give(1, Dataset({{"a", "one"}}));
  RunUntil({full});
  EXPECT_EQ(full->status->code(), Code::kResourceExhausted);
  EXPECT_EQ(fetched_, "");
}

}  // namespace
}  // namespace cyxwiz::node
