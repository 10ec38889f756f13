#include "data/prepared.h"

#include "base/file.h"
#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class PreparedTest : public DataTest {
 protected:
  void Write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(folder_ + "/" + name).parent_path());
    std::ofstream(folder_ + "/" + name, std::ios::binary) << content;
  }
  Result<Dataset> LoadFrom(const std::string& rest) {
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri("file://" + folder_ + rest, &problems);
    if (!uri) return InvalidArgument(problems.ToString());
    return Load(*uri, Roots({folder_}));
  }
  // Prepares it into the folder "ready".
  std::vector<std::string> Prepare(const Dataset& dataset, const std::string& to = "ready") {
    std::filesystem::create_directories(folder_ + "/" + to);
    std::vector<std::string> files;
    Status written = WritePrepared(dataset, "file:///x", "ab", folder_ + "/" + to, &files);
    EXPECT_TRUE(written.ok()) << written;
    return files;
  }
  // Whether a training sees the same in what was prepared.
  void ExpectSame(const std::string& rest) {
    auto raw = LoadFrom(rest);
    ASSERT_TRUE(raw.ok()) << raw.status();
    Prepare(*raw);
    auto ready = LoadFrom("/ready/dataset.json");
    ASSERT_TRUE(ready.ok()) << ready.status();
    EXPECT_EQ(ready->info.sample_shape, raw->info.sample_shape);
    EXPECT_EQ(ready->info.label_shape, raw->info.label_shape);
    EXPECT_EQ(ready->info.classes, raw->info.classes);
    EXPECT_EQ(ready->info.bytes_in_memory, raw->info.bytes_in_memory);
    EXPECT_EQ(ready->details, raw->details);
    for (auto part : {&Dataset::train, &Dataset::test}) {
      const Split &a = (*raw).*part, &b = (*ready).*part;
      EXPECT_EQ(a.samples, b.samples);
      EXPECT_EQ(a.features, b.features);
      EXPECT_EQ(a.labels, b.labels);
      if (a.samples == 0) continue;
      EXPECT_EQ(a.scale.divisor, b.scale.divisor);
      EXPECT_EQ(a.scale.mean, b.scale.mean);
      EXPECT_EQ(a.scale.deviation, b.scale.deviation);
      EXPECT_EQ(a.scale.inner, b.scale.inner);
    }
    FileInspector inspector(Roots({folder_}), /*must_see=*/true);
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri("file://" + folder_ + "/ready/dataset.json", &problems);
    auto info = inspector.Inspect(*uri, &problems);
    ASSERT_TRUE(info) << problems.ToString();
    EXPECT_EQ(info->train_samples, raw->info.train_samples);
    EXPECT_EQ(info->description, ready->info.description);
    ExpectSameInFiles(*uri, *raw);
    std::filesystem::remove_all(folder_ + "/ready");
  }
};

constexpr char kTable[] = "a,b,c\n1,x,0.5\n2,y,1.5\n,x,2.5\n4,y,3.5\n5,x,4.25\n7,y,0.1\n";

TEST_F(PreparedTest, GivesTheSameSamples) {
  Write("t.csv", kTable);
  ExpectSame("/t.csv?missing=mean&normalize=true&test_split=0.34");  // a regression
  ExpectSame("/t.csv?label=b&missing=zero");
  Write("i/train-images-idx3-ubyte", Idx({8, 3, 3}));
  Write("i/train-labels-idx1-ubyte", Idx({8}, 0, 2));
  Write("i/t10k-images-idx3-ubyte", Idx({4, 3, 3}, 7));
  Write("i/t10k-labels-idx1-ubyte", Idx({4}, 1, 2));
  ExpectSame("/i?normalize=true");
  Write("x.txt", "the quick brown fox jumps over the lazy dog");
  ExpectSame("/x.txt?sequence_length=4&test_split=0.3");
}

TEST_F(PreparedTest, TheSameDataGivesTheSameBytes) {
  Write("t.csv", kTable);
  auto raw = LoadFrom("/t.csv?missing=mean&normalize=true&test_split=0.34");
  ASSERT_TRUE(raw.ok());
  for (const std::string& name : Prepare(*raw, "one")) {
    Prepare(*raw, "two");
    EXPECT_EQ(*ReadFile(folder_ + "/one/" + name), *ReadFile(folder_ + "/two/" + name)) << name;
  }
}

TEST_F(PreparedTest, TellsClassesCountsAndStatistics) {
  Write("t.csv", "a,b\n1,x\n3,y\n5,x\n");
  auto raw = LoadFrom("/t.csv");
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ(Prepare(*raw), (std::vector<std::string>{"dataset.json", "train.safetensors"}));
  Json json = Json::parse(*ReadFile(folder_ + "/ready/dataset.json"));
  EXPECT_EQ(json["parts"]["train"]["class_counts"], (Json{2, 1}));
  EXPECT_EQ(json["statistics"]["mean"], (Json{3.0}));
  EXPECT_EQ(json["details"]["classes"], (Json{"x", "y"}));
  EXPECT_EQ(json["source_sha256"], "ab");
}

TEST_F(PreparedTest, WhatIsDamagedIsRefused) {
  Write("t.csv", "a,b\n1,x\n3,y\n5,x\n");
  auto raw = LoadFrom("/t.csv");
  ASSERT_TRUE(raw.ok());
  Prepare(*raw);
  const std::string good = *ReadFile(folder_ + "/ready/dataset.json");
  auto refused = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    Write("ready/dataset.json", text);
    Status status = LoadFrom("/ready/dataset.json").status();
    EXPECT_FALSE(status.ok()) << from << " -> " << to;
    return status.message();
  };
  EXPECT_NE(refused("\"version\": 1", "\"version\": 2").find("not what a preprocessing leaves"),
            std::string::npos);
  EXPECT_NE(refused("\"classes\": 2", "\"classes\": 1").find("a label that is none"),
            std::string::npos);
  EXPECT_NE(refused("\"classes\": 2", "\"classes\": 0").find("'labels' is wrong"),
            std::string::npos);
  EXPECT_NE(refused("\"samples\": 3", "\"samples\": 4").find("is not what dataset.json says"),
            std::string::npos);
  EXPECT_NE(refused("\"samples\": 3", "\"samples\": 0").find("'parts' is wrong"),
            std::string::npos);
  EXPECT_NE(refused("train.safetensors", "../train.safetensors").find("'parts' is wrong"),
            std::string::npos);
  EXPECT_NE(refused("\"type\": \"float32\"", "\"type\": \"float64\"").find("'features' is wrong"),
            std::string::npos);
  refused(good, "{");
  refused(good, "[]");
  Write("ready/dataset.json", good);
  EXPECT_TRUE(LoadFrom("/ready/dataset.json").ok());
  std::filesystem::resize_file(folder_ + "/ready/train.safetensors", 100);
  EXPECT_FALSE(LoadFrom("/ready/dataset.json").ok());
  std::filesystem::remove(folder_ + "/ready/train.safetensors");
  EXPECT_EQ(LoadFrom("/ready/dataset.json").status().code(), Code::kNotFound);
}

TEST_F(PreparedTest, WhatWasDecidedIsNotDecidedAgain) {
  for (const char* parameter : {"normalize=true", "test_split=0.2", "label=x", "labels=/y",
                                "size=3", "sequence_length=4", "split=end"}) {
    EXPECT_FALSE(LoadFrom(std::string("/ready/dataset.json?") + parameter).ok()) << parameter;
  }
}

TEST_F(PreparedTest, AModelTakesItsOwnScaleOrTheSame) {
  Write("t.csv", kTable);
  auto raw = LoadFrom("/t.csv?missing=mean&normalize=true");
  ASSERT_TRUE(raw.ok());
  Prepare(*raw);
  auto inspect = [&](const Json& normalize, Dataset* taken) {
    Json data{{"input", {{"type", "float32"}, {"divisor", 1}}}, {"data", Json::object()}};
    if (!normalize.is_null()) data["data"]["normalize"] = normalize;
    auto preparation = ReadPreparation(data.dump());
    EXPECT_TRUE(preparation.ok()) << preparation.status();
    Loader loader(Roots({folder_}), *preparation);
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri("file://" + folder_ + "/ready/dataset.json", &problems);
    if (!loader.Inspect(*uri, &problems)) return problems.ToString();
    *taken = *loader.Take(*uri);
    return std::string();
  };
  Dataset taken;
  EXPECT_EQ(inspect(raw->details["normalize"], &taken), "");
  EXPECT_EQ(taken.train.features, raw->train.features);
  Json other = raw->details["normalize"];
  other["mean"][0] = 100;
  EXPECT_NE(inspect(other, &taken).find("a mean and deviation of its own"), std::string::npos);
  EXPECT_NE(inspect(nullptr, &taken).find("data that was not scaled"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::data
