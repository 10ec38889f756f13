#include "data/augment.h"

#include <algorithm>
#include <cstddef>

#include "data/random.h"

namespace cyxwiz::data {
namespace {

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
  const uint64_t sequence = RandomAt(RandomAt(turn.seed, turn.epoch), turn.sample);
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

}  // namespace cyxwiz::data
