#include "data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "data/colour_jitter.h"
#include "data/random.h"

namespace cyxwiz::data {
namespace {

// What is drawn for a sample, by the place of its sequence: 0 to 2 flip and crop, from 3 on the
// colours, from 16 on what the batch that it begins is mixed by.
constexpr uint64_t kColourPlaces = 3, kMixupPlaces = 16;

uint64_t SequenceOf(const SampleTurn& turn) {
  return RandomAt(RandomAt(turn.seed, turn.epoch), turn.sample);
}

// The model sees an image's colours scaled; they are changed as they are.
void JitterScaled(const spec::Augmentation& augmentation, const std::vector<int64_t>& shape,
                  const ByteScale& scale, uint64_t sequence, float* image) {
  const int64_t plane = shape[1] * shape[2];
  auto for_groups = [&](auto change) {
    for (size_t c = 0; c < scale.mean.size(); ++c) {
      float* values = image + static_cast<int64_t>(c) * plane;
      for (int64_t i = 0; i < plane; ++i)
        values[i] = change(values[i], scale.mean[c], scale.deviation[c]);
    }
  };
  for_groups([](float value, float mean, float deviation) { return value * deviation + mean; });
  JitterColours(augmentation, sequence, kColourPlaces, {image, shape[0], plane});
  for_groups([](float value, float mean, float deviation) { return (value - mean) / deviation; });
}

// Moves the plane's rows and columns so that (y, x) gets what was at (y + down, x + right).
void Shift(int64_t height, int64_t width, int64_t down, int64_t right, float fill, float* plane) {
  // From the side that the values come from not, so that none is overwritten before it is moved.
  for (int64_t i = 0; i < height; ++i) {
    const int64_t y = down >= 0 ? i : height - 1 - i, from = y + down;
    float* row = plane + y * width;
    if (from < 0 || from >= height) {
      std::fill_n(row, width, fill);
      continue;
    }
    const float* source = plane + from * width;
    const int64_t kept = width - std::abs(right);
    if (right >= 0) {
      std::copy(source + right, source + width, row);
      std::fill(row + kept, row + width, fill);
    } else {
      std::copy_backward(source, source + kept, row + width);
      std::fill(row, row - right, fill);
    }
  }
}

}  // namespace

void Augment(const spec::Augmentation& augmentation, const std::vector<int64_t>& shape,
             const ByteScale& scale, const SampleTurn& turn, float* image) {
  const uint64_t sequence = SequenceOf(turn);
  if (augmentation.jitters()) JitterScaled(augmentation, shape, scale, sequence, image);
  if (!augmentation.moves()) return;
  const int64_t channels = shape[0], height = shape[1], width = shape[2];
  const bool flips = augmentation.flip && RandomAt(sequence, 0) >> 63 == 1;
  // From -crop to crop; the remainder favours no offset that anyone could tell.
  const uint64_t offsets = 2 * static_cast<uint64_t>(augmentation.crop) + 1;
  const int64_t down = static_cast<int64_t>(RandomAt(sequence, 1) % offsets) - augmentation.crop;
  const int64_t right = static_cast<int64_t>(RandomAt(sequence, 2) % offsets) - augmentation.crop;
  for (int64_t c = 0; c < channels; ++c, image += height * width) {
    if (flips) {
      for (int64_t y = 0; y < height; ++y) {
        std::reverse(image + y * width, image + (y + 1) * width);
      }
    }
    if (down == 0 && right == 0) continue;
    const size_t group = static_cast<size_t>(c);
    const float black =
        group < scale.mean.size() ? -scale.mean[group] / scale.deviation[group] : 0.0f;
    Shift(height, width, down, right, black, image);
  }
}

// Source: M. D. Jöhnk, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen", 1964; in
// logarithms, since powers of a small alpha's inverse are none that a double holds.
double MixupShare(double alpha, const SampleTurn& first) {
  const uint64_t sequence = SequenceOf(first);
  for (uint64_t place = kMixupPlaces;; place += 2) {
    const double x = std::log(UniformAt(sequence, place)) / alpha;
    const double y = std::log(UniformAt(sequence, place + 1)) / alpha;
    const double greater = std::max(x, y), lesser = std::min(x, y);
    if (greater + std::log1p(std::exp(lesser - greater)) > 0) continue;
    return 1 / (1 + std::exp(y - x));
  }
}

}  // namespace cyxwiz::data
