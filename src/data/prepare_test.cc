#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class PrepareTest : public DataTest {
 protected:
  // Column a counts up from 0; of every three samples one is of class 1.
  void SetUp() override {
    DataTest::SetUp();
    std::string text = "a,b,y\n";
    for (int i = 0; i < 30; ++i) {
      text += std::to_string(i) + "," + (i % 2 == 0 ? "x" : "y") + "," +
              std::to_string(i % 3 == 0) + "\n";
    }
    Write("table.csv", text);
  }
  Dataset LoadTable(const std::string& parameters) {
    return LoadOk(Uri("file://{}/table.csv?" + parameters));
  }
  // The numbers of the samples, from column a.
  static std::vector<int> Numbers(const Split& split) {
    std::vector<int> numbers;
    for (size_t i = 0; i < Floats(split).size(); i += 3) {
      numbers.push_back(static_cast<int>(Floats(split)[i]));
    }
    return numbers;
  }
};

TEST_F(PrepareTest, EverySampleIsInJustOnePart) {
  for (const char* mode : {"random", "end", "stratified"}) {
    Dataset dataset = LoadTable(std::string("test_split=0.2&split=") + mode);
    EXPECT_EQ(dataset.info.test_samples, 6) << mode;
    std::vector<int> train = Numbers(dataset.train), test = Numbers(dataset.test);
    EXPECT_TRUE(std::is_sorted(train.begin(), train.end()));
    EXPECT_TRUE(std::is_sorted(test.begin(), test.end()));
    std::set<int> all(train.begin(), train.end());
    all.insert(test.begin(), test.end());
    EXPECT_EQ(all.size(), 30u) << mode;
    // Labels have gone with their samples.
    for (size_t i = 0; i < test.size(); ++i) {
      EXPECT_EQ(Classes(dataset.test)[i], test[i] % 3 == 0);
    }
    for (size_t i = 0; i < train.size(); ++i) {
      EXPECT_EQ(Classes(dataset.train)[i], train[i] % 3 == 0);
    }
  }
}

TEST_F(PrepareTest, TheEndIsTheEnd) {
  EXPECT_EQ(Numbers(LoadTable("test_split=0.1&split=end").test), (std::vector<int>{27, 28, 29}));
}

TEST_F(PrepareTest, TheSeedChoosesTheSamples) {
  const std::vector<int> zero = Numbers(LoadTable("test_split=0.5").test);
  EXPECT_EQ(Numbers(LoadTable("test_split=0.5&split_seed=0").test), zero);
  EXPECT_NE(Numbers(LoadTable("test_split=0.5&split_seed=1").test), zero);
  EXPECT_NE(zero, Numbers(LoadTable("test_split=0.5&split=end").test));
}

TEST_F(PrepareTest, AStratifiedSplitHasOfEachClassItsPart) {
  for (const char* ratio : {"0.1", "0.2", "0.5", "0.9"}) {
    Dataset dataset = LoadTable(std::string("split=stratified&test_split=") + ratio);
    const auto& classes = Classes(dataset.test);
    const double ones = static_cast<double>(std::count(classes.begin(), classes.end(), 1));
    EXPECT_NEAR(ones, 10 * std::stod(ratio), 0.51) << ratio;
  }
}

TEST_F(PrepareTest, AtLeastOneSampleStaysInEachPart) {
  EXPECT_EQ(LoadTable("test_split=0.0001").test.samples, 1);
  EXPECT_EQ(LoadTable("test_split=0.9999").train.samples, 1);
  Write("one.csv", "1,0\n");
  ExpectWrong(Uri("file://{}/one.csv?test_split=0.5"), Code::kInvalidArgument,
              {"one sample cannot be split"});
}

TEST_F(PrepareTest, AColumnMayTellTheParts) {
  Write("parts.csv", "a,part,y\n1,train,0\n2,test,1\n3,train,2\n");
  Dataset dataset = LoadOk(Uri("file://{}/parts.csv?split_column=part"));
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{1, 3}));
  EXPECT_EQ(Floats(dataset.test), std::vector<float>{2});
  EXPECT_EQ(Classes(dataset.test), std::vector<int64_t>{1});
  Write("parts.csv", "a,part,y\n1,train,0\n2,valid,1\n");
  ExpectWrong(Uri("file://{}/parts.csv?split_column=part"), Code::kInvalidArgument,
              {"line 3, column 2 ('part')", "'train' or 'test'", "'valid'"});
  Write("parts.csv", "a,part,y\n1,test,0\n2,test,1\n");
  ExpectWrong(Uri("file://{}/parts.csv?split_column=part"), Code::kInvalidArgument,
              {"no sample to train on"});
}

TEST_F(PrepareTest, StratifiedNeedsClasses) {
  Write("prices.csv", "a,y\n1,0.5\n2,1.5\n");
  ExpectWrong(Uri("file://{}/prices.csv?test_split=0.5&split=stratified"), Code::kInvalidArgument,
              {"needs a class for each sample", "split=random"});
}

TEST_F(PrepareTest, NormalizingUsesTheTrainingPartAlone) {
  Dataset dataset = LoadTable("test_split=0.5&split=end&normalize=true");
  double sum = 0, squares = 0;
  for (size_t i = 0; i < 15; ++i) {
    const double value = static_cast<double>(Floats(dataset.train)[3 * i]);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum, 0, 1e-5);
  EXPECT_NEAR(squares / 15, 1, 1e-5);
  // 0 to 14: mean 7, deviation sqrt(56 / 3).
  EXPECT_NEAR(Floats(dataset.test)[0], (15 - 7) / std::sqrt(56 / 3.0), 1e-5);
  // Categories stay as they are.
  EXPECT_EQ(Floats(dataset.test)[1], 0.0f);
  EXPECT_EQ(Floats(dataset.test)[2], 1.0f);
  EXPECT_FLOAT_EQ(dataset.details["normalize"]["mean"][0].get<float>(), 7);
  EXPECT_EQ(dataset.details["normalize"]["deviation"][1], 1);
}

TEST_F(PrepareTest, ImagesAreNormalizedByChannelAsTheyAreFed) {
  Write("images", IdxHeader({2, 2, 1, 2}) + std::string("\x00\x33\xff\xff\x33\x66\xff\xff", 8));
  Write("labels", Idx({2}));
  Dataset dataset = LoadOk(Uri("file://{}/images?labels={}/labels&normalize=true"));
  EXPECT_EQ(Bytes(dataset.train)[1], 0x33) << "the bytes stay";
  const ByteScale& scale = dataset.train.scale;
  EXPECT_EQ(scale.inner, 2);
  ASSERT_EQ(scale.mean.size(), 2u);
  EXPECT_FLOAT_EQ(scale.mean[0], 0.2f);
  EXPECT_FLOAT_EQ(scale.deviation[0], std::sqrt(0.02f));
  EXPECT_FLOAT_EQ(scale.mean[1], 1);
  EXPECT_EQ(scale.deviation[1], 1) << "of what is always the same";
}

TEST_F(PrepareTest, VolumesAreNormalizedByChannel) {
  // Two samples of 2 channels, each 1 deep, 1 high and 2 wide.
  const std::string header =
      "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 1, 1, 2), }\n";
  Write("x.npy", std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' +
                     header + std::string("\x00\x33\xff\xff\x33\x66\xff\xff", 8));
  const std::string labels = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
  Write("y.npy", std::string("\x93NUMPY\1\0", 8) + static_cast<char>(labels.size()) + '\0' +
                     labels + std::string("\0\1", 2));
  Dataset dataset = LoadOk(Uri("file://{}/x.npy?labels={}/y.npy&normalize=true"));
  ASSERT_EQ(dataset.info.sample_shape, (std::vector<int64_t>{2, 1, 1, 2}));
  const ByteScale& scale = dataset.train.scale;
  EXPECT_EQ(scale.inner, 2);
  ASSERT_EQ(scale.mean.size(), 2u);
  EXPECT_FLOAT_EQ(scale.mean[0], 0.2f);
  EXPECT_FLOAT_EQ(scale.mean[1], 1);
}

TEST_F(PrepareTest, KnownStatisticsOfTheSameFilesAreNotMeasuredAgain) {
  Write("images", IdxHeader({2, 2, 1, 2}) + std::string("\x00\x33\xff\xff\x33\x66\xff\xff", 8));
  Write("labels", Idx({2}));
  const spec::DatasetUri uri = Uri("file://{}/images?labels={}/labels&normalize=true");
  auto load = [&](const spec::DatasetUri& of, std::optional<Statistics> known) {
    Result<Dataset> dataset = Loader(roots(), {}, "", std::move(known)).Take(of, /*streams=*/true);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset.ok() ? *std::move(dataset) : Dataset();
  };
  const Dataset first = load(uri, {});
  ASSERT_TRUE(first.statistics);
  EXPECT_EQ(first.statistics->mean, first.train.scale.mean);
  Statistics known = *first.statistics;
  known.mean = {7, 8};
  const Dataset again = load(uri, known);
  EXPECT_EQ(again.train.scale.mean, known.mean) << "not measured";
  EXPECT_EQ(again.details["normalize"]["mean"], Json({7, 8}));
  EXPECT_EQ(again.statistics->of, known.of);
  // Of other samples, or other content, they say nothing.
  EXPECT_NE(load(Uri("file://{}/images?labels={}/labels&normalize=true&test_split=0.5"), known)
                .train.scale.mean,
            known.mean);
  Write("images", IdxHeader({2, 2, 1, 2}) + std::string("\x01\x33\xff\xff\x33\x66\xff\xff", 8));
  EXPECT_NE(load(uri, known).train.scale.mean, known.mean);
  EXPECT_FALSE(load(Uri("file://{}/images?labels={}/labels"), known).statistics);
}

TEST_F(PrepareTest, MeansOfMissingValuesAreThoseOfTheTrainingPart) {
  Write("table.csv", "a,y\n1,0\n3,1\n,0\n100,1\n");
  Dataset dataset = LoadTable("missing=mean&test_split=0.5&split=end");
  EXPECT_EQ(Floats(dataset.test), (std::vector<float>{2, 100}));
  EXPECT_EQ(dataset.details["fill"], Json({2}));
  EXPECT_EQ(LoadTable("missing=zero").details["fill"], Json({0}));
}

TEST_F(PrepareTest, FlipAndCropAreForImages) {
  Write("images", Idx({2, 4, 6}));
  Write("labels", Idx({2}));
  Write("rows", Idx({2, 4}));
  EXPECT_EQ(LoadOk(Uri("file://{}/images?labels={}/labels&flip=true&crop=3")).train.samples, 2);
  ExpectWrong(Uri("file://{}/images?labels={}/labels&crop=4"), Code::kInvalidArgument,
              {"crop moves the images out of sight"});
  ExpectWrong(Uri("file://{}/rows?labels={}/labels&flip=true"), Code::kInvalidArgument,
              {"flip and crop are for images"});
  EXPECT_EQ(LoadOk(Uri("file://{}/images?labels={}/labels&hue=0.1&mixup=1")).train.samples, 2);
  EXPECT_EQ(LoadOk(Uri("file://{}/rows?labels={}/labels&mixup=1")).train.samples, 2);
  ExpectWrong(Uri("file://{}/rows?labels={}/labels&hue=0.1"), Code::kInvalidArgument,
              {"changes of colours are for images"});
}

}  // namespace
}  // namespace cyxwiz::data
