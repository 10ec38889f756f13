#include "data/mock.h"

#include <cmath>
#include <limits>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class MockTest : public DataTest {
 protected:
  static Dataset LoadMockOk(const spec::DatasetUri& uri) {
    // Synthetic data needs no roots.
    auto dataset = Load(uri, Roots({}));
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return std::move(dataset).value();
  }
  // Share of test samples nearest to the mean of their own class's training samples: a linear
  // classifier.
  static double NearestMeanAccuracy(const Dataset& dataset) {
    size_t width = static_cast<size_t>(dataset.info.sample_shape[0]);
    size_t classes = static_cast<size_t>(dataset.info.classes);
    std::vector<double> means(classes * width), counts(classes);
    for (size_t i = 0; i < static_cast<size_t>(dataset.train.samples); ++i) {
      size_t label = static_cast<size_t>(Classes(dataset.train)[i]);
      counts[label] += 1;
      for (size_t f = 0; f < width; ++f)
        means[label * width + f] += Floats(dataset.train)[i * width + f];
    }
    for (size_t m = 0; m < means.size(); ++m) means[m] /= counts[m / width];
    double right = 0;
    for (size_t i = 0; i < static_cast<size_t>(dataset.test.samples); ++i) {
      size_t best = 0;
      double best_distance = std::numeric_limits<double>::infinity();
      for (size_t c = 0; c < classes; ++c) {
        double distance = 0;
        for (size_t f = 0; f < width; ++f) {
          double d = Floats(dataset.test)[i * width + f] - means[c * width + f];
          distance += d * d;
        }
        if (distance < best_distance) {
          best_distance = distance;
          best = c;
        }
      }
      right += static_cast<int64_t>(best) == Classes(dataset.test)[i];
    }
    return right / static_cast<double>(dataset.test.samples);
  }
};

TEST_F(MockTest, TheDefaultsAreThoseOfTheDocumentation) {
  spec::DatasetUri uri;
  Dataset dataset = LoadOk(uri);
  EXPECT_EQ(dataset.info.description,
            "synthetic, 10 features, 1000 train and 200 test samples, 10 classes");
  EXPECT_EQ(dataset.info.sample_shape, std::vector<int64_t>{10});
  EXPECT_EQ(dataset.info.classes, 10);
  EXPECT_EQ(dataset.info.bytes_in_memory, 1200 * 48);
  EXPECT_EQ(Floats(dataset.train).size(), 10000u);
  EXPECT_EQ(Floats(dataset.test).size(), 2000u);
  for (int64_t c = 0; c < 10; ++c) {
    EXPECT_EQ(std::count(Classes(dataset.train).begin(), Classes(dataset.train).end(), c), 100);
  }
}

TEST_F(MockTest, ALinearModelLearnsIt) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    spec::DatasetUri uri;
    uri.seed = seed;
    EXPECT_GE(NearestMeanAccuracy(LoadMockOk(uri)), 0.95) << "seed " << seed;
  }
}

TEST_F(MockTest, NoiseMakesItHard) {
  spec::DatasetUri uri;
  uri.noise = 3;
  EXPECT_LE(NearestMeanAccuracy(LoadMockOk(uri)), 0.6);
  uri.noise = 0;
  EXPECT_EQ(NearestMeanAccuracy(LoadMockOk(uri)), 1.0);
}

TEST_F(MockTest, TheSameSeedGivesTheSameDataAndMoreSamplesOnlyAppend) {
  spec::DatasetUri uri;
  uri.seed = 7;
  Dataset a = LoadMockOk(uri), b = LoadMockOk(uri);
  EXPECT_TRUE(a.train.features == b.train.features && a.test.features == b.test.features);
  uri.samples = 1500;
  Dataset longer = LoadMockOk(uri);
  EXPECT_TRUE(longer.test.features == a.test.features);
  EXPECT_TRUE(
      std::equal(Floats(a.train).begin(), Floats(a.train).end(), Floats(longer.train).begin()));
  uri.samples = 1000;
  uri.seed = 8;
  EXPECT_FALSE(LoadMockOk(uri).train.features == a.train.features);
}

TEST_F(MockTest, TheGeneratorIsTheOneDocumentedAndStaysSo) {
  // xoshiro256** from a state filled by splitmix64 of 0, computed by an independent program.
  NormalGenerator random(0, 0);
  EXPECT_EQ(random.NextBits(), 0x99EC5F36CB75F2B4u);
  EXPECT_EQ(random.NextBits(), 0xBF6E1F784956452Au);
  EXPECT_EQ(random.NextBits(), 0x1A5F849D4933E6E0u);
  // What users' runs depend on, computed by the same program.
  spec::DatasetUri uri;
  Dataset dataset = LoadMockOk(uri);
  EXPECT_FLOAT_EQ(Floats(dataset.train)[0], -0.74290073f);
  EXPECT_FLOAT_EQ(Floats(dataset.test)[1999], 0.2711359f);
}

TEST_F(MockTest, EveryValueIsTheOneOfTheFormula) {
  for (double noise : {1.0, 0.01, 1e30}) {
    spec::DatasetUri uri;
    uri.samples = 3000;
    uri.features = 77;  // pairs and blocks end within samples
    uri.noise = noise;
    Dataset dataset = LoadMockOk(uri);
    NormalGenerator of_centres(uri.seed, 0), random(uri.seed, 1);
    std::vector<double> centres(770);
    for (double& coordinate : centres) coordinate = of_centres.Next();
    for (size_t i = 0; i < 3000; ++i) {
      for (size_t f = 0; f < 77; ++f) {
        ASSERT_EQ(Floats(dataset.train)[i * 77 + f],
                  static_cast<float>(centres[i % 10 * 77 + f] + noise * random.Next()))
            << "sample " << i << ", feature " << f << ", noise " << noise;
      }
    }
  }
}

TEST_F(MockTest, DeviatesAreNormal) {
  NormalGenerator random(1, 1);
  const int n = 200'000;
  double sum = 0, squares = 0, cubes = 0, fourths = 0, lag = 0, last = 0;
  int beyond_two = 0;
  for (int i = 0; i < n; ++i) {
    double x = random.Next();
    sum += x;
    squares += x * x;
    cubes += x * x * x;
    fourths += x * x * x * x;
    lag += x * last;
    beyond_two += std::abs(x) > 2;
    last = x;
  }
  // Within five standard errors of each.
  double root = std::sqrt(n);
  EXPECT_NEAR(sum / n, 0, 5 / root);
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2) / root);
  EXPECT_NEAR(cubes / n, 0, 5 * std::sqrt(15) / root);
  EXPECT_NEAR(fourths / n, 3, 5 * std::sqrt(96) / root);
  EXPECT_NEAR(lag / n, 0, 5 / root);
  EXPECT_NEAR(beyond_two / static_cast<double>(n), 0.0455, 5 * 0.21 / root);
}

TEST_F(MockTest, ImpossibleNumbersAreRefused) {
  auto with = [](auto change) {
    spec::DatasetUri uri;
    uri.text = "mock://random_data";
    change(&uri);
    return uri;
  };
  using Uri = spec::DatasetUri;
  ExpectWrong(with([](Uri* u) { u->samples = 0; }), Code::kInvalidArgument,
              {"samples", "at least 1", "found 0"});
  ExpectWrong(with([](Uri* u) { u->test_samples = -1; }), Code::kInvalidArgument, {"test_samples"});
  ExpectWrong(with([](Uri* u) { u->features = 0; }), Code::kInvalidArgument, {"features"});
  ExpectWrong(with([](Uri* u) { u->classes = 1; }), Code::kInvalidArgument,
              {"classes", "at least 2"});
  ExpectWrong(with([](Uri* u) { u->noise = -1; }), Code::kInvalidArgument, {"noise"});
  ExpectWrong(with([](Uri* u) { u->noise = NAN; }), Code::kInvalidArgument, {"noise"});
  ExpectWrong(with([](Uri* u) {
                u->samples = INT64_MAX;
                u->features = INT64_MAX;
              }),
              Code::kResourceExhausted, {"too large", "4.0 GiB"});
  ExpectWrong(with([](Uri* u) { u->test_samples = INT64_MAX; }), Code::kResourceExhausted,
              {"too large"});
  ExpectWrong(with([](Uri* u) { u->classes = INT64_MAX; }), Code::kResourceExhausted,
              {"too large"});
}

}  // namespace
}  // namespace cyxwiz::data
