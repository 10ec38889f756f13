#include "node/fetch_records.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/testing.h"

namespace cyxwiz::node {
namespace {

const std::string kKey(64, 'a'), kHash(64, 'b');

FetchRecords OpenIn(const TemporaryFolder& folder) {
  auto records = FetchRecords::Open(folder / "fetched");
  EXPECT_TRUE(records.ok()) << records.status();
  return *records;
}

TEST(FetchRecords, AreThereAfterAStart) {
  TemporaryFolder folder;
  EXPECT_TRUE(OpenIn(folder).Find(kKey).empty());
  OpenIn(folder).Put(kKey, {{"t.csv", {"\"e\"", kHash, 12}}, {"y", {"", kHash, 0}}});
  const auto found = OpenIn(folder).Find(kKey);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found.at("t.csv").etag, "\"e\"");
  EXPECT_EQ(found.at("t.csv").sha256, kHash);
  EXPECT_EQ(found.at("t.csv").size, 12);
}

TEST(FetchRecords, WhatIsDamagedIsNotKnown) {
  TemporaryFolder folder;
  OpenIn(folder);
  for (const char* text :
       {"", "{", "[]", R"({"files": 3})",
        R"({"files": {"a": {"etag": 1, "sha256": "x", "size": 1}}})",
        R"({"files": {"a": {"etag": "e", "sha256": "../../etc/passwd", "size": 1}}})"}) {
    std::ofstream(folder / ("fetched/" + kKey)) << text;
    EXPECT_TRUE(OpenIn(folder).Find(kKey).empty()) << text;
  }
}

TEST(FetchRecords, OnlyTheNewestAreKept) {
  TemporaryFolder folder;
  namespace fs = std::filesystem;
  OpenIn(folder);
  const auto begin = fs::file_time_type::clock::now();
  for (size_t i = 0; i < FetchRecords::kMost + 2; ++i) {
    const std::string path = folder / ("fetched/" + std::to_string(i));
    std::ofstream(path) << "{}";
    fs::last_write_time(path, begin + std::chrono::seconds(i));
  }
  FetchRecords records = OpenIn(folder);
  auto has = [&](size_t i) { return fs::exists(folder / ("fetched/" + std::to_string(i))); };
  EXPECT_FALSE(has(0) || has(1));
  EXPECT_TRUE(has(2) && has(FetchRecords::kMost + 1));
  // And as many again while the node runs.
  for (size_t i = 0; i < FetchRecords::kMost + 1; ++i) records.Put("later" + std::to_string(i), {});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "fetched"), fs::directory_iterator()),
            static_cast<std::ptrdiff_t>(FetchRecords::kMost));
}

}  // namespace
}  // namespace cyxwiz::node
