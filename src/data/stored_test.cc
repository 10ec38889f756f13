#include "data/stored.h"

#include "data/picture_testing.h"
#include "data/testing.h"

namespace cyxwiz::data {
namespace {

spec::DatasetUri Parse(const std::string& text) {
  spec::Problems problems;
  auto uri = spec::ParseDatasetUri(text, &problems);
  EXPECT_TRUE(uri) << problems.ToString();
  return uri.value_or(spec::DatasetUri());
}

class StoredTest : public DataTest {
 protected:
  void Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ + "/" + name) << content;
  }
};

TEST_F(StoredTest, IsReadAsFilesAre) {
  Write("t.csv", "a,b\n1,2\n3,4\n");
  Loader loader(Roots({}), {}, folder_);
  spec::Problems problems;
  auto info = loader.Inspect(Parse("dataset://t@1/t.csv?label=b&label_type=numbers"), &problems);
  ASSERT_TRUE(info) << problems.ToString();
  auto stored = loader.Take(Parse("dataset://t@1/t.csv?label=b&label_type=numbers"));
  auto local =
      Load(Parse("file://" + folder_ + "/t.csv?label=b&label_type=numbers"), Roots({folder_}));
  ASSERT_TRUE(stored.ok() && local.ok());
  EXPECT_EQ(stored->train.features, local->train.features);
  EXPECT_EQ(stored->train.labels, local->train.labels);
}

TEST_F(StoredTest, WhatIsWrongIsToldWithoutTheFolder) {
  Write("t.csv", "a,b\n1,x\n3\n");
  Loader loader(Roots({}), {}, folder_);
  spec::Problems problems;
  EXPECT_FALSE(loader.Inspect(Parse("dataset://t@1/t.csv?label=b"), &problems));
  ASSERT_EQ(problems.count(), 1u);
  EXPECT_NE(problems.ToString().find("t.csv"), std::string::npos);
  EXPECT_EQ(problems.ToString().find(folder_), std::string::npos) << problems.ToString();
  EXPECT_EQ(loader.status().message().find(folder_), std::string::npos);
}

TEST_F(StoredTest, SamplesThatStayInFilesAreToldWithoutTheFolder) {
  for (const char* label : {"a", "b"}) {
    std::filesystem::create_directories(folder_ + "/set/" + label);
    Write(std::string("set/") + label + "/1.png", Png(Gradient(2, 2, 1)));
  }
  const auto uri = Parse("dataset://t@1/set?format=images");
  Loader streaming(Roots({}), {}, folder_), whole(Roots({}), {}, folder_);
  spec::Problems problems;
  ASSERT_TRUE(whole.Inspect(uri, &problems)) << problems.ToString();
  const auto streamed = streaming.Take(uri, /*streams=*/true);
  ASSERT_TRUE(streamed.ok()) << streamed.status();
  Write("set/b/1.png", "another");
  uint8_t row[4];
  ASSERT_TRUE(streamed->train.files->Read(0, row).ok());
  for (const Status& status :
       {streamed->train.files->Read(1, row), streamed->train.files->ReadRun(0, 2, 4, row),
        whole.Take(uri).status()}) {
    EXPECT_NE(status.message().find("'set/b/1.png' has changed"), std::string::npos) << status;
    EXPECT_EQ(status.message().find(folder_), std::string::npos) << status;
  }
}

TEST_F(StoredTest, ALinkOutOfTheFolderIsNotFollowed) {
  const std::string secret = folder_ + "-secret.csv";
  std::ofstream(secret) << "a,b\n1,2\n";
  std::filesystem::create_symlink(secret, folder_ + "/t.csv");
  Loader loader(Roots({"/"}), {}, folder_);
  spec::Problems problems;
  EXPECT_FALSE(loader.Inspect(Parse("dataset://t@1/t.csv?label=b"), &problems));
  EXPECT_EQ(loader.status().code(), Code::kPermissionDenied);
  std::filesystem::remove(secret);
}

TEST_F(StoredTest, WithoutItsFilesItIsRefused) {
  Loader loader(Roots({"/"}));
  spec::Problems problems;
  EXPECT_FALSE(loader.Inspect(Parse("dataset://t@1/t.csv"), &problems));
  EXPECT_NE(problems.ToString().find("'t@1' has not been fetched"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::data
