#include "data/dataset.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class FileInspectorTest : public DataTest {
 protected:
  // Makes the file look old enough for its content to be remembered.
  static void Age(const std::string& path) {
    timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  std::string WriteOld(const std::string& name, std::string_view content) {
    std::string path = Write(name, content);
    Age(path);
    return path;
  }
  static std::string InspectWrong(FileInspector* inspector, const spec::DatasetUri& uri) {
    spec::Problems problems;
    EXPECT_FALSE(inspector->Inspect(uri, &problems));
    return problems.ToString();
  }
  static std::optional<spec::DatasetInfo> InspectOk(FileInspector* inspector,
                                                    const spec::DatasetUri& uri) {
    spec::Problems problems;
    auto info = inspector->Inspect(uri, &problems);
    EXPECT_TRUE(info && problems.empty()) << problems.ToString();
    return info;
  }
};

TEST_F(FileInspectorTest, ReadsAFileOnceUntilItChanges) {
  FileInspector inspector(roots(), true);
  std::string path = WriteOld("table.csv", "a,b\n1,0\n2,1\n");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(InspectOk(&inspector, Csv(path))->train_samples, 2);
  EXPECT_EQ(inspector.reads(), 1);
  // Same length, and its old time put back: the inode's change time still tells.
  WriteOld("table.csv", "a,b\n1,0\n2,5\n");
  EXPECT_EQ(InspectOk(&inspector, Csv(path))->classes, 6);
  EXPECT_EQ(inspector.reads(), 2);
}

TEST_F(FileInspectorTest, OptionsAreToldApart) {
  FileInspector inspector(roots(), true);
  std::string path = WriteOld("table.csv", "a,b\n1,0\n7,2\n");
  EXPECT_EQ(InspectOk(&inspector, Csv(path))->classes, 3);
  EXPECT_EQ(InspectOk(&inspector, Csv(path, "label=a"))->classes, 8);
  EXPECT_EQ(InspectOk(&inspector, Csv(path))->classes, 3);
  EXPECT_EQ(inspector.reads(), 2);
  std::string numbers = WriteOld("numbers.csv", "3,4\n1,0\n7,2\n");
  EXPECT_EQ(InspectOk(&inspector, Csv(numbers))->train_samples, 3);
  EXPECT_EQ(InspectOk(&inspector, Csv(numbers, "header=true"))->train_samples, 2);
}

TEST_F(FileInspectorTest, WhatIsWrongIsRememberedToo) {
  FileInspector inspector(roots(), true);
  std::string path = WriteOld("table.csv", "a,b\n1,0\nx,0\n");
  std::string first = InspectWrong(&inspector, Csv(path));
  EXPECT_NE(first.find("line 3, column 1"), std::string::npos) << first;
  EXPECT_EQ(InspectWrong(&inspector, Csv(path)), first);
  EXPECT_EQ(inspector.reads(), 1);
  WriteOld("table.csv", "a,b\n1,0\n");
  EXPECT_TRUE(InspectOk(&inspector, Csv(path)));
}

TEST_F(FileInspectorTest, AFileJustWrittenIsNotRemembered) {
  FileInspector inspector(roots(), true);
  std::string path = Write("table.csv", "a,b\n1,0\n");
  timespec future[2] = {{4'000'000'000, 0}, {4'000'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), future, 0), 0);
  for (int i = 0; i < 2; ++i) InspectOk(&inspector, Csv(path));
  EXPECT_EQ(inspector.reads(), 2);
}

TEST_F(FileInspectorTest, AChangeOfAnyFileOfAFolderIsNoticed) {
  FileInspector inspector(roots(), true);
  WriteOld("train-images-idx3-ubyte", Idx({6, 2, 3}));
  WriteOld("train-labels-idx1-ubyte", Idx({6}));
  EXPECT_EQ(InspectOk(&inspector, Folder(folder_))->classes, 6);
  InspectOk(&inspector, Folder(folder_));
  EXPECT_EQ(inspector.reads(), 1);
  WriteOld("train-labels-idx1-ubyte", Idx({6}, 1));
  EXPECT_EQ(InspectOk(&inspector, Folder(folder_))->classes, 7);
  WriteOld("t10k-images-idx3-ubyte", Idx({6, 2, 3}));
  WriteOld("t10k-labels-idx1-ubyte", Idx({6}));
  EXPECT_EQ(InspectOk(&inspector, Folder(folder_))->test_samples, 6);
  EXPECT_EQ(inspector.reads(), 3);
}

TEST_F(FileInspectorTest, RemembersTheLatestAndForgetsTheRest) {
  FileInspector inspector(roots(), true);
  std::vector<std::string> paths;
  for (int i = 0; i < 300; ++i) {
    paths.push_back(WriteOld("table" + std::to_string(i) + ".csv", "1,0\n"));
    InspectOk(&inspector, Csv(paths[static_cast<size_t>(i)]));
    InspectOk(&inspector, Csv(paths[0]));
  }
  EXPECT_EQ(inspector.reads(), 300) << "the first is used all the time and stays";
  InspectOk(&inspector, Csv(paths[299]));
  EXPECT_EQ(inspector.reads(), 300);
  InspectOk(&inspector, Csv(paths[1]));
  EXPECT_EQ(inspector.reads(), 301) << "the least recently used is gone";
}

TEST_F(FileInspectorTest, ManyThreadsInspectAtOnce) {
  FileInspector inspector(roots(), true);
  std::vector<std::string> paths;
  for (int i = 0; i < 5; ++i)
    paths.push_back(WriteOld(std::to_string(i) + ".csv", "a,b\n1," + std::to_string(i) + "\n"));
  std::string bad = WriteOld("bad.csv", "a,b\n1,0\nx,0\n");
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        spec::Problems problems;
        size_t which = static_cast<size_t>(i + t) % 5;
        auto info = inspector.Inspect(Csv(paths[which]), &problems);
        right += info && info->classes == static_cast<int64_t>(which) + 1;
        right += !inspector.Inspect(Csv(bad), &problems) && problems.count() == 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 4 * 200 * 2);
}

TEST_F(FileInspectorTest, DataThatIsNotVisibleIsAProblemOnlyWhereItMustBeSeen) {
  std::string path = Write("below/table.csv", "a,b\n1,0\n");
  for (const spec::DatasetUri& uri : {Csv(path), Csv("/absent/table.csv"),
                                      DataTest::Folder("/absent"), Pair("/absent", "/absent2")}) {
    for (const Roots& roots : {Roots({}), Roots({folder_ + "/other"})}) {
      spec::Problems problems;
      EXPECT_FALSE(FileInspector(roots, false).Inspect(uri, &problems));
      EXPECT_TRUE(problems.empty()) << problems.ToString();
      EXPECT_FALSE(FileInspector(roots, true).Inspect(uri, &problems));
      ASSERT_EQ(problems.count(), 1u);
      EXPECT_NE(problems.ToString().find("data_roots"), std::string::npos) << problems.ToString();
    }
  }
  spec::Problems problems;
  EXPECT_FALSE(FileInspector(roots(), false).Inspect(Csv(folder_ + "/absent.csv"), &problems));
  EXPECT_TRUE(problems.empty());
  EXPECT_FALSE(FileInspector(roots(), true).Inspect(Csv(folder_ + "/absent.csv"), &problems));
  EXPECT_EQ(problems.count(), 1u);
}

TEST_F(FileInspectorTest, DataThatIsVisibleAndWrongIsAProblemEverywhere) {
  spec::Problems problems;
  FileInspector inspector(roots(), false);
  EXPECT_FALSE(inspector.Inspect(Csv(Write("table.csv", "a,b\n1,0\nx,0\n")), &problems));
  EXPECT_EQ(problems.count(), 1u);
  EXPECT_FALSE(inspector.Inspect(Folder(folder_), &problems));
  EXPECT_EQ(problems.count(), 2u) << "a visible folder without IDX files";
}

TEST_F(FileInspectorTest, SyntheticDataIsSeenWithoutRoots) {
  FileInspector inspector(Roots({}), false);
  spec::DatasetUri uri;
  EXPECT_EQ(InspectOk(&inspector, uri)->train_samples, 1000);
}

TEST_F(FileInspectorTest, EveryKindOfUriLeadsToItsData) {
  Write("set/train-images-idx3-ubyte", Idx({6, 2, 3}));
  Write("set/train-labels-idx1-ubyte.gz", Gzip(Idx({6})));
  Write("table of all.csv", "kind,a\n2,7\n");
  const std::string url = "file://" + folder_;
  for (const auto& [text, classes] : std::vector<std::pair<std::string, int64_t>>{
           {url + "/set", 6},
           {url + "/set/train-images-idx3-ubyte?labels=" + folder_ +
                "/set/train-labels-idx1-ubyte.gz",
            6},
           {url + "/table%20of%20all.csv?label=kind&header=true", 3},
           {"mock://random_data?classes=4", 4}}) {
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri(text, &problems);
    ASSERT_TRUE(uri) << problems.ToString();
    EXPECT_EQ(LoadOk(*uri).info.classes, classes) << text;
  }
}

TEST_F(FileInspectorTest, SaysWhatIsKnownOfValuesAndLabels) {
  using Values = spec::DatasetInfo::Values;
  FileInspector inspector(roots(), true);
  auto inspect = [&](const std::string& path, const std::string& parameters) {
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri("file://" + path + "?" + parameters, &problems);
    EXPECT_TRUE(uri) << problems.ToString();
    return *InspectOk(&inspector, *uri);
  };
  const std::string images = Write("images", Idx({4, 2, 2})), labels = Write("labels", Idx({4})),
                    text = Write("corpus.txt", std::string(400, 'x')),
                    table = Write("table.csv", "a,b,y\n1,2,-0.5\n3,4,7.25\n5,6,0\n");
  EXPECT_EQ(inspect(images, "labels=" + labels).values, Values::kParts);
  EXPECT_EQ(inspect(images, "labels=" + labels + "&normalize=true").values, Values::kAround);
  EXPECT_EQ(inspect(text, "sequence_length=8").values, Values::kBytes);
  EXPECT_EQ(inspect(table, "label=y").values, Values::kAny);
  EXPECT_EQ(inspect(table, "normalize=true").values, Values::kAny) << "a table may hold categories";

  EXPECT_EQ(inspect(table, "label=y").label_range, std::pair(-0.5, 7.25));
  EXPECT_FALSE(inspect(table, "label=a").label_range) << "classes";
}

TEST_F(FileInspectorTest, FashionMnistIsInspectedWithoutUnpackingItsImages) {
  const std::string path = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no package dataset-fashion-mnist";
  FileInspector inspector(Roots({path}), true);
  auto info = InspectOk(&inspector, Folder(path));
  EXPECT_EQ(info->description, "IDX images 28x28, 60000 train and 10000 test samples, 10 classes");
  InspectOk(&inspector, Folder(path));
  EXPECT_EQ(inspector.reads(), 1);
}

TEST_F(FileInspectorTest, ALoaderGivesWhatItInspected) {
  const std::string path = Write("table.csv", "a,b\n1,0\n2,1\n");
  Loader loader(roots());
  spec::Problems problems;
  auto info = loader.Inspect(Csv(path), &problems);
  ASSERT_TRUE(info) << problems.ToString();
  EXPECT_EQ(info->train_samples, 2);
  // It is read no second time.
  std::filesystem::remove(path);
  auto dataset = loader.Take(Csv(path));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->train.samples, 2);
  EXPECT_EQ(dataset->info.description, info->description);
  EXPECT_EQ(loader.Take(Csv(path)).status().code(), Code::kNotFound);
  // What is not inspected, since nothing has to be seen for it, is loaded.
  EXPECT_EQ(loader.Take(spec::DatasetUri())->train.samples, 1000);
}

TEST_F(FileInspectorTest, ALoaderSaysWhyItFoundNothing) {
  Loader loader(roots());
  EXPECT_TRUE(loader.status().ok());
  spec::Problems problems;
  EXPECT_FALSE(loader.Inspect(Csv(folder_ + "/absent.csv"), &problems));
  EXPECT_EQ(problems.count(), 1u);
  EXPECT_EQ(loader.status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace cyxwiz::data
