#include "spec/dataset_manifest.h"

#include <gtest/gtest.h>

namespace cyxwiz::spec {
namespace {

const std::string kHash(64, 'a');

TEST(DatasetManifest, APathLeadsNowhereElse) {
  for (const char* path :
       {"a", "a/b.csv", "train/cats and dogs/1.png", "Größe/ü.txt", "a..b", "~", "a=b&c?d#e%20"})
    EXPECT_TRUE(IsDatasetPath(path)) << path;
  for (const char* path : {"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b",
                           ".git", "a/.hidden", "a\\b", "a\nb", "a\x7f", "\xff"})
    EXPECT_FALSE(IsDatasetPath(path)) << path;
  EXPECT_FALSE(IsDatasetPath(std::string("a\0b", 3)));
  EXPECT_TRUE(IsDatasetPath(std::string(255, 'a')));
  EXPECT_FALSE(IsDatasetPath(std::string(256, 'a')));
  std::string deep = "1";
  for (int i = 2; i <= 16; ++i) deep += "/" + std::to_string(i);
  EXPECT_TRUE(IsDatasetPath(deep));
  EXPECT_FALSE(IsDatasetPath(deep + "/17"));
}

TEST(DatasetManifest, EqualContentsHaveEqualManifests) {
  std::vector<DatasetFile> one = {{"b", kHash, 2}, {"a/c", kHash, 1}}, other = {one[1], one[0]};
  ASSERT_TRUE(CheckDatasetFiles(&one).ok());
  ASSERT_TRUE(CheckDatasetFiles(&other).ok());
  EXPECT_EQ(ManifestText(one), ManifestText(other));
  EXPECT_EQ(ManifestText(one), R"({"files":[{"path":"a/c","sha256":")" + kHash +
                                   R"(","size":1},{"path":"b","sha256":")" + kHash +
                                   R"(","size":2}],"format":"cyxwiz-dataset","version":1})");
  EXPECT_EQ(BytesOf(one), 3);
}

TEST(DatasetManifest, IsReadAsItWasWritten) {
  std::vector<DatasetFile> files = {{"a/c", kHash, 1}, {"b", kHash, 2}};
  auto read = ParseManifest(ManifestText(files));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, files);
}

TEST(DatasetManifest, WhatIsNoneIsDataLoss) {
  std::string wrong_path = ManifestText({{"../b", kHash, 2}});
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[1]"), wrong_path,
        std::string(R"({"format":"cyxwiz-dataset","version":2,"files":[]})"),
        std::string(R"({"format":"cyxwiz-dataset","version":1,"files":[{"path":1}]})"),
        std::string(R"({"format":"cyxwiz-dataset","version":1,"files":[]})")})
    EXPECT_EQ(ParseManifest(text).status().code(), Code::kDataLoss) << text;
}

TEST(DatasetManifest, SaysWhichFileIsWrong) {
  auto message = [](std::vector<DatasetFile> files) {
    Status status = CheckDatasetFiles(&files);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return status.message();
  };
  EXPECT_NE(message({}).find("no files"), std::string::npos);
  EXPECT_NE(message({{"a/../b", kHash, 1}}).find("found 'a/../b'"), std::string::npos);
  EXPECT_NE(message({{"a", "xyz", 1}}).find("SHA-256 of 'a'"), std::string::npos);
  EXPECT_NE(message({{"a", kHash, -1}}).find("size of 'a'"), std::string::npos);
  EXPECT_NE(message({{"a", kHash, 1}, {"a", kHash, 1}}).find("'a' twice"), std::string::npos);
  EXPECT_NE(message({{"a/b", kHash, 1}, {"a", kHash, 1}}).find("'a' as a file and as the folder"),
            std::string::npos);
  EXPECT_NE(message(std::vector<DatasetFile>(kMaxDatasetFiles + 1, {"a", kHash, 1}))
                .find("at most 100000, found 100001"),
            std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::spec
