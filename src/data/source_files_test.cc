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

TEST_F(SourceFilesTest, ImagesOfAFolderAreFilesOfTheirOwn) {
  for (const char* name : {"set/train/a/1.png", "set/train/b/2.png", "set/test/a/1.png"})
    Write(name, name);
  Write("set/train/a/notes", "");
  const auto images = Find("/set?format=images");
  ASSERT_EQ(images.size(), 3u);
  EXPECT_EQ(images[0].name, "train/a/1.png");
  EXPECT_EQ(images[2].name, "test/a/1.png");
  EXPECT_EQ(images[2].size, 16);
  for (int i = 0; i < 997; ++i) Write("set/train/b/x" + std::to_string(i) + ".png", "");
  EXPECT_EQ(Find("/set?format=images").size(), 1000u);
  Write("set/train/a/one-more.png", "");
  EXPECT_TRUE(Find("/set?format=images").empty()) << "too many";
  std::filesystem::remove_all(folder_ + "/set/train/b");
  std::filesystem::create_symlink(folder_ + "/set/test", folder_ + "/set/train/c");
  Write("set/test/2.png", "");
  EXPECT_EQ(Find("/set?format=images").size(), 4u) << "within the folder";
  Write("elsewhere.png", "");
  std::filesystem::create_symlink(folder_ + "/elsewhere.png", folder_ + "/set/train/a/3.png");
  EXPECT_TRUE(Find("/set?format=images").empty()) << "a link leads elsewhere";
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
