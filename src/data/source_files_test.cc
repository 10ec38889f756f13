#include "data/source_files.h"

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class SourceFilesTest : public DataTest {
 protected:
  void Write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(folder_ + "/" + name).parent_path());
    std::ofstream(folder_ + "/" + name) << content;
  }
  std::vector<SourceFile> Find(const std::string& rest) {
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri("file://" + folder_ + rest, &problems);
    EXPECT_TRUE(uri) << problems.ToString();
    auto files = FindSourceFiles(*uri, Roots({folder_}));
    EXPECT_TRUE(files.ok()) << files.status();
    return files.ok() ? *files : std::vector<SourceFile>();
  }
};

TEST_F(SourceFilesTest, AreThoseThatAreRead) {
  Write("t.csv", "a,b\n");
  Write("a/x.npy", "12");
  Write("b/x.npy", "345");
  auto table = Find("/t.csv");
  ASSERT_EQ(table.size(), 1u);
  EXPECT_EQ(table[0].name, "t.csv");
  EXPECT_EQ(table[0].size, 4);
  auto arrays = Find("/a/x.npy?labels=" + folder_ + "/b/x.npy");
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays[1].name, "labels/x.npy");
  EXPECT_EQ(BytesOf(arrays), 5);
  EXPECT_EQ(SizesOf(StateOf(arrays)), (std::vector<int64_t>{2, 3}));
}

TEST_F(SourceFilesTest, StateTellsThatAFileWasWrittenTo) {
  Write("t.csv", "a,b\n");
  const std::string before = StateOf(Find("/t.csv"));
  EXPECT_EQ(StateOf(Find("/t.csv")), before);
  std::filesystem::last_write_time(
      folder_ + "/t.csv", std::filesystem::file_time_type::clock::now() + std::chrono::seconds(5));
  EXPECT_NE(StateOf(Find("/t.csv")), before);
}

TEST_F(SourceFilesTest, TheManifestIsThatOfAStoredDataSet) {
  Write("t.csv", "a,b\n");
  auto manifest = ManifestOf(Find("/t.csv"), [](const std::string&) -> Result<std::string> {
    return std::string(64, 'a');
  });
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(*manifest, spec::ManifestText({{"t.csv", std::string(64, 'a'), 4}}));
}

}  // namespace
}  // namespace cyxwiz::data
