#include "data/colour_jitter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/json.h"
#include "base/testing.h"
#include "data/augment.h"
#include "data/random.h"

namespace cyxwiz::data {
namespace {

// What tests/golden/record_augment.py has recorded of torchvision.
const Json& Golden() {
  static const Json golden = ReadGolden(CYXWIZ_GOLDEN "/augment.json");
  return golden;
}

void ExpectNear(const std::vector<float>& values, const std::vector<float>& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 2e-6) << i;
}

TEST(ColourJitter, OperationsAreTorchvisions) {
  std::set<std::string> seen;
  for (const Json& golden : Golden()["colours"]) {
    const auto operation = golden["operation"].get<std::string>();
    const auto factor = golden["factor"].get<float>();
    const auto channels = golden["channels"].get<int64_t>();
    SCOPED_TRACE(operation + " " + std::to_string(factor) + " " + std::to_string(channels));
    auto image = golden["image"].get<std::vector<float>>();
    const Planes planes{image.data(), channels, static_cast<int64_t>(image.size()) / channels};
    if (operation == "brightness") AdjustBrightness(factor, planes);
    if (operation == "contrast") AdjustContrast(factor, planes);
    if (operation == "saturation") AdjustSaturation(factor, planes);
    if (operation == "hue") AdjustHue(factor, planes);
    ExpectNear(image, golden["changed"].get<std::vector<float>>());
    seen.insert(operation);
  }
  EXPECT_EQ(seen.size(), 4u);
}

std::vector<float> Image() {
  std::vector<float> image;
  for (uint64_t i = 0; i < 3 * 4 * 4; ++i)
    image.push_back(static_cast<float>(RandomAt(3, i) % 256) / 255);
  return image;
}

std::vector<float> Jittered(const spec::Augmentation& augmentation, uint64_t sample,
                            std::vector<float> image, const ByteScale& scale = {}) {
  Augment(augmentation, {3, 4, 4}, scale, {7, 1, sample}, image.data());
  return image;
}

// Of a gray image, where brightness alone shows its factor.
TEST(ColourJitter, FactorsAreDrawnFromTheWholeRange) {
  spec::Augmentation augmentation;
  augmentation.brightness = 0.4;
  float least = 9, greatest = 0, sum = 0;
  for (uint64_t sample = 0; sample < 1000; ++sample) {
    const float factor = Jittered(augmentation, sample, std::vector<float>(48, 0.5f))[0] / 0.5f;
    least = std::min(least, factor);
    greatest = std::max(greatest, factor);
    sum += factor;
  }
  EXPECT_GE(least, 0.6f);
  EXPECT_LT(least, 0.61f);
  EXPECT_LE(greatest, 1.4f);
  EXPECT_GT(greatest, 1.39f);
  EXPECT_NEAR(sum / 1000, 1, 0.02);
}

TEST(ColourJitter, SameTurnSameImage) {
  spec::Augmentation augmentation;
  augmentation.brightness = augmentation.contrast = augmentation.saturation = 0.9;
  augmentation.hue = 0.5;
  std::set<std::vector<float>> seen;
  for (uint64_t sample = 0; sample < 50; ++sample) {
    const std::vector<float> image = Jittered(augmentation, sample, Image());
    for (float value : image) ASSERT_TRUE(value >= 0 && value <= 1) << value;
    EXPECT_EQ(Jittered(augmentation, sample, Image()), image);
    seen.insert(image);
  }
  EXPECT_EQ(seen.size(), 50u);
}

// Brightness and contrast do not commute.
TEST(ColourJitter, OperationsComeInEachOrder) {
  spec::Augmentation two;
  two.brightness = two.contrast = 0.5;
  int brightness_first = 0, contrast_first = 0;
  for (uint64_t sample = 0; sample < 200; ++sample) {
    const std::vector<float> image = Jittered(two, sample, Image());
    const uint64_t sequence = RandomAt(RandomAt(7, 1), sample);
    const float brightness = static_cast<float>(0.5 + UniformAt(sequence, 3)),
                contrast = static_cast<float>(0.5 + UniformAt(sequence, 4));
    std::vector<float> a = Image(), b = Image();
    AdjustBrightness(brightness, {a.data(), 3, 16});
    AdjustContrast(contrast, {a.data(), 3, 16});
    AdjustContrast(contrast, {b.data(), 3, 16});
    AdjustBrightness(brightness, {b.data(), 3, 16});
    ASSERT_TRUE(image == a || image == b) << sample;
    brightness_first += image == a;
    contrast_first += image == b;
  }
  EXPECT_GT(brightness_first, 60);
  EXPECT_GT(contrast_first, 60);
}

TEST(ColourJitter, ImagesThatAreScaledChangeAlike) {
  spec::Augmentation augmentation;
  augmentation.brightness = augmentation.contrast = augmentation.saturation = 0.5;
  augmentation.hue = 0.1;
  ByteScale scale;
  scale.mean = {0.5f, 0.25f, 0.4f};
  scale.deviation = {0.5f, 0.125f, 2.0f};
  auto scaled = [&](std::vector<float> image) {
    for (size_t i = 0; i < image.size(); ++i)
      image[i] = (image[i] - scale.mean[i / 16]) / scale.deviation[i / 16];
    return image;
  };
  for (uint64_t sample = 0; sample < 20; ++sample) {
    const auto plain = scaled(Jittered(augmentation, sample, Image()));
    const auto other = Jittered(augmentation, sample, scaled(Image()), scale);
    for (size_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(plain[i], other[i], 3e-5);
  }
}

TEST(Mixup, SharesAreOfTheBetaDistribution) {
  for (double alpha : {0.01, 0.2, 1.0, 4.0}) {
    SCOPED_TRACE(alpha);
    constexpr int kDraws = 4000;
    double sum = 0, squares = 0;
    for (uint64_t sample = 0; sample < kDraws; ++sample) {
      const double share = MixupShare(alpha, {7, 1, sample});
      ASSERT_TRUE(share >= 0 && share <= 1) << share;
      EXPECT_EQ(share, MixupShare(alpha, {7, 1, sample}));
      sum += share;
      squares += (share - 0.5) * (share - 0.5);
    }
    EXPECT_NEAR(sum / kDraws, 0.5, 0.03);
    EXPECT_NEAR(squares / kDraws, 1 / (4 * (2 * alpha + 1)), 0.01);
  }
}

}  // namespace
}  // namespace cyxwiz::data
