// Small valid files, damaged at random thousands of times: reading them gives a data set or a
// Status, never a crash, and a data set that is given is consistent. Run it under the sanitizers
// for what it is worth most.
#include <random>

#include "data/picture_testing.h"
#include "data/testing.h"

namespace cyxwiz::data {
namespace {

constexpr int kRounds = 2000;

class MutationTest : public DataTest {
 protected:
  std::string Damage(std::string text) {
    int edits = static_cast<int>(random_() % 4) + 1;
    for (int i = 0; i < edits; ++i) {
      size_t at = text.empty() ? 0 : random_() % text.size();
      switch (random_() % 6) {
        case 0:
          if (!text.empty()) text[at] = static_cast<char>(text[at] ^ 1 << random_() % 8);
          break;
        case 1:
          if (!text.empty()) text[at] = static_cast<char>(random_() % 256);
          break;
        case 2:
          text.resize(at);
          break;
        case 3:
          text.insert(at, 1 + random_() % 8, ",\"\n\r0-e.\x1f\xff"[random_() % 10]);
          break;
        case 4:
          text.erase(at, 1 + random_() % 8);
          break;
        case 5:
          text += text.substr(at);
          break;
      }
    }
    return text;
  }

  void CheckSplit(const Split& split, const spec::DatasetInfo& info) {
    size_t width = 1;
    for (int64_t dim : info.sample_shape) width *= static_cast<size_t>(dim);
    size_t samples = static_cast<size_t>(split.samples);
    ASSERT_EQ(std::visit([](const auto& values) { return values.size(); }, split.features),
              samples * width);
    ASSERT_EQ(std::visit([](const auto& values) { return values.size(); }, split.labels), samples);
    if (const auto* classes = std::get_if<std::vector<int64_t>>(&split.labels)) {
      for (int64_t label : *classes) ASSERT_TRUE(label >= 0 && label < info.classes) << label;
    }
  }

  // Counts what came out, so that a mutation that never fails, or always, is noticed.
  void Read(const spec::DatasetUri& uri) {
    auto dataset = Load(uri, roots());
    spec::Problems problems;
    auto info = FileInspector(roots(), true).Inspect(uri, &problems);
    EXPECT_EQ(info.has_value(), problems.empty());
    if (!dataset.ok()) {
      ++refused_;
      EXPECT_FALSE(dataset.status().message().empty());
      EXPECT_NE(dataset.status().code(), Code::kInternal) << dataset.status();
      return;
    }
    ++accepted_;
    ASSERT_TRUE(info.has_value()) << problems.ToString();
    EXPECT_EQ(info->bytes_in_memory, dataset->info.bytes_in_memory);
    EXPECT_GE(dataset->train.samples, 1);
    CheckSplit(dataset->train, dataset->info);
    CheckSplit(dataset->test, dataset->info);
  }

  void ExpectBoth() const {
    EXPECT_GT(refused_, kRounds / 10);
    EXPECT_GT(accepted_, 0);
  }

  uint32_t seed_ = 20240607;
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  std::mt19937 random_{seed_};
  int accepted_ = 0, refused_ = 0;
};

TEST_F(MutationTest, Idx) {
  const std::string images = Idx({6, 2, 3}), labels = Idx({6});
  for (int i = 0; i < kRounds && !HasFailure(); ++i) {
    bool labels_too = i % 4 == 0;
    Read(Pair(Write("images", labels_too ? images : Damage(images)),
              Write("labels", labels_too ? Damage(labels) : labels)));
  }
  ExpectBoth();
}

TEST_F(MutationTest, IdxGzip) {
  const std::string images = Gzip(Idx({6, 2, 3}));
  Write("labels", Idx({6}));
  for (int i = 0; i < kRounds && !HasFailure(); ++i) {
    // Damage within the compressed stream, or within what is compressed.
    Read(Pair(Write("images", i % 2 == 0 ? Damage(images) : Gzip(Damage(Idx({6, 2, 3})))),
              folder_ + "/labels"));
  }
  ExpectBoth();
}

TEST_F(MutationTest, Csv) {
  const std::string table =
      "length,\"the \"\"width\"\"\",kind\r\n1,2.5,0\r\n\"-3\",4e-2,1\n\n5,6,2\n7.25,\"8\",1\n";
  for (int i = 0; i < kRounds && !HasFailure(); ++i) {
    static const char* const kParameters[] = {"",
                                              "label=kind",
                                              "header=true&missing=mean&normalize=true",
                                              "header=false&missing=skip",
                                              "categorical=length&encoding=index&missing=zero",
                                              "test_split=0.4&split=stratified"};
    Read(DataTest::Csv(Write("table.csv", Damage(table)), kParameters[i % 6]));
  }
  ExpectBoth();
}

TEST_F(MutationTest, CsvGzip) {
  const std::string table = "a,b,kind\n1,2.5,0\n-3,4e-2,1\n5,6,2\n";
  for (int i = 0; i < kRounds && !HasFailure(); ++i) {
    Read(DataTest::Csv(
        Write("table.csv.gz", i % 2 == 0 ? Damage(Gzip(table)) : Gzip(Damage(table)))));
  }
  ExpectBoth();
}

TEST_F(MutationTest, WebDataset) {
  const std::string tar = Tar({{"1.png", Png(Gradient(2, 3, 1))},
                               {"1.cls", "0"},
                               {"2.png", Png(Gradient(2, 3, 1, 9))},
                               {"2.json", R"({"label": 1})"},
                               {"2.cls", "1"}});
  for (int i = 0; i < kRounds && !HasFailure(); ++i) {
    Write("x.tar", Damage(tar));
    Read(Uri(i % 2 == 0 ? "file://{}/x.tar?size=2" : "file://{}/x.tar?size=2&label=label"));
  }
  EXPECT_GT(refused_, kRounds / 10);
}

}  // namespace
}  // namespace cyxwiz::data
