#include "data/augment.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

namespace cyxwiz::data {
namespace {

std::vector<float> Image() {
  std::vector<float> image(2 * 3 * 4);
  std::iota(image.begin(), image.end(), 1.0f);
  return image;
}

std::vector<float> Augmented(const spec::Augmentation& augmentation, uint64_t epoch,
                             uint64_t sample, const ByteScale& scale = {}) {
  std::vector<float> image = Image();
  Augment(augmentation, {2, 3, 4}, scale, {7, epoch, sample}, image.data());
  return image;
}

TEST(Augment, SameTurnSameImage) {
  const spec::Augmentation both{true, 2};
  bool differs_by_epoch = false, differs_by_sample = false;
  for (uint64_t i = 1; i < 20; ++i) {
    EXPECT_EQ(Augmented(both, i, 3), Augmented(both, i, 3));
    differs_by_epoch |= Augmented(both, i, 3) != Augmented(both, i + 1, 3);
    differs_by_sample |= Augmented(both, 1, i) != Augmented(both, 1, i + 1);
  }
  EXPECT_TRUE(differs_by_epoch);
  EXPECT_TRUE(differs_by_sample);
}

TEST(Augment, FlipsAboutEveryOtherImage) {
  const std::vector<float> image = Image();
  std::vector<float> flipped;
  for (size_t row = 0; row < 6; ++row) {
    for (size_t x = 4; x-- > 0;) flipped.push_back(image[row * 4 + x]);
  }
  int flips = 0;
  for (uint64_t sample = 0; sample < 1000; ++sample) {
    const auto result = Augmented({true, 0}, 1, sample);
    ASSERT_TRUE(result == image || result == flipped);
    flips += result == flipped;
  }
  EXPECT_NEAR(flips, 500, 60);
}

// Computed the plain way, for every offset that occurs.
TEST(Augment, MovesTheImageEachWayWithBlackComingIn) {
  ByteScale scale;
  scale.mean = {0.5f, 0.25f};
  scale.deviation = {0.5f, 0.125f};
  const std::vector<float> image = Image();
  std::map<std::pair<int, int>, int> seen;
  for (uint64_t sample = 0; sample < 2000; ++sample) {
    const auto result = Augmented({false, 2}, 1, sample, scale);
    bool found = false;
    for (int down = -2; down <= 2 && !found; ++down) {
      for (int right = -2; right <= 2 && !found; ++right) {
        std::vector<float> expected;
        for (int c = 0; c < 2; ++c) {
          for (int y = down; y < 3 + down; ++y) {
            for (int x = right; x < 4 + right; ++x) {
              const bool inside = y >= 0 && y < 3 && x >= 0 && x < 4;
              expected.push_back(inside ? image[static_cast<size_t>((c * 3 + y) * 4 + x)]
                                        : (c == 0 ? -1.0f : -2.0f));
            }
          }
        }
        if (expected != result) continue;
        found = true;
        ++seen[{down, right}];
      }
    }
    ASSERT_TRUE(found) << sample;
  }
  EXPECT_EQ(seen.size(), 25u);
}

}  // namespace
}  // namespace cyxwiz::data
