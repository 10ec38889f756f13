#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace cyxwiz::data {
namespace {

// The pixels that one pixel of the result is made of, and how much each counts.
struct Taps {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<Taps> TapsOf(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double reach = std::max(scale, 1.0);
  std::vector<Taps> all(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first =
        std::max<int64_t>(0, static_cast<int64_t>(std::floor(centre - reach + 0.5)));
    const int64_t end =
        std::min<int64_t>(from, static_cast<int64_t>(std::floor(centre + reach + 0.5)));
    Taps& taps = all[static_cast<size_t>(i)];
    taps.first = first;
    double sum = 0;
    for (int64_t k = first; k < end; ++k) {
      const double distance = std::abs((static_cast<double>(k) + 0.5 - centre) / reach);
      const double weight = std::max(0.0, 1 - distance);
      taps.weights.push_back(static_cast<float>(weight));
      sum += weight;
    }
    for (float& weight : taps.weights) weight = static_cast<float>(weight / sum);
  }
  return all;
}

}  // namespace

void Resize(const Picture& picture, int64_t height, int64_t width, uint8_t* out) {
  const int64_t channels = picture.channels;
  const std::vector<Taps> rows = TapsOf(picture.height, height),
                          columns = TapsOf(picture.width, width);
  // Along the rows first, each row of the picture as it comes.
  std::vector<float> narrow(static_cast<size_t>(picture.height * width * channels));
  float* to = narrow.data();
  for (int64_t y = 0; y < picture.height; ++y) {
    const uint8_t* row = picture.pixels.data() + y * picture.width * channels;
    for (const Taps& taps : columns) {
      for (int64_t c = 0; c < channels; ++c) {
        const uint8_t* from = row + taps.first * channels + c;
        float sum = 0;
        for (float weight : taps.weights) {
          sum += weight * static_cast<float>(*from);
          from += channels;
        }
        *to++ = sum;
      }
    }
  }
  const int64_t row_values = width * channels;
  for (int64_t y = 0; y < height; ++y) {
    const Taps& taps = rows[static_cast<size_t>(y)];
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        const float* from = narrow.data() + taps.first * row_values + x * channels + c;
        float sum = 0;
        for (float weight : taps.weights) {
          sum += weight * *from;
          from += row_values;
        }
        out[(c * height + y) * width + x] =
            static_cast<uint8_t>(std::lround(std::clamp(sum, 0.0f, 255.0f)));
      }
    }
  }
}

}  // namespace cyxwiz::data
