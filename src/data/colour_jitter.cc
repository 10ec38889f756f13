#include "data/colour_jitter.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "data/random.h"

namespace cyxwiz::data {
namespace {

float Clamped(float value) { return std::clamp(value, 0.0f, 1.0f); }

float GrayOf(float red, float green, float blue) {
  return 0.2989f * red + 0.587f * green + 0.114f * blue;
}

// Of pixel i.
float GrayAt(const Planes& image, int64_t i) {
  if (image.channels == 1) return image.values[i];
  return GrayOf(image.values[i], image.values[image.size + i], image.values[2 * image.size + i]);
}

// Of one pixel, turned by `factor` of a circle: through HSV and back.
void TurnHue(float factor, float* red, float* green, float* blue) {
  const float r = *red, g = *green, b = *blue;
  const float greatest = std::max({r, g, b}), least = std::min({r, g, b});
  if (greatest == least) return;  // gray has no hue
  const float range = greatest - least, saturation = range / greatest;
  const float to_red = (greatest - r) / range, to_green = (greatest - g) / range,
              to_blue = (greatest - b) / range;
  const float sixths = greatest == r   ? to_blue - to_green
                       : greatest == g ? 2.0f + to_red - to_blue
                                       : 4.0f + to_green - to_red;
  float hue = std::fmod(sixths / 6.0f + 1.0f, 1.0f) + factor;
  hue -= std::floor(hue);
  const float sector = std::floor(hue * 6.0f), part = hue * 6.0f - sector;
  const float v = greatest;
  const float p = Clamped(v * (1.0f - saturation));
  const float q = Clamped(v * (1.0f - saturation * part));
  const float t = Clamped(v * (1.0f - saturation * (1.0f - part)));
  const std::array<std::array<float, 3>, 6> sectors{
      {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  const auto& colour = sectors[static_cast<size_t>(sector) % 6];
  *red = colour[0];
  *green = colour[1];
  *blue = colour[2];
}

}  // namespace

void AdjustBrightness(float factor, Planes image) {
  const int64_t count = image.channels * image.size;
  for (int64_t i = 0; i < count; ++i) image.values[i] = Clamped(factor * image.values[i]);
}

void AdjustContrast(float factor, Planes image) {
  double sum = 0;
  for (int64_t i = 0; i < image.size; ++i) sum += static_cast<double>(GrayAt(image, i));
  const float added = (1.0f - factor) * static_cast<float>(sum / static_cast<double>(image.size));
  const int64_t count = image.channels * image.size;
  for (int64_t i = 0; i < count; ++i) image.values[i] = Clamped(factor * image.values[i] + added);
}

void AdjustSaturation(float factor, Planes image) {
  if (image.channels == 1) return;
  for (int64_t i = 0; i < image.size; ++i) {
    const float added = (1.0f - factor) * GrayAt(image, i);
    for (int64_t c = 0; c < 3; ++c) {
      float& value = image.values[c * image.size + i];
      value = Clamped(factor * value + added);
    }
  }
}

void AdjustHue(float factor, Planes image) {
  if (image.channels == 1) return;
  for (int64_t i = 0; i < image.size; ++i) {
    TurnHue(factor, &image.values[i], &image.values[image.size + i],
            &image.values[2 * image.size + i]);
  }
}

void JitterColours(const spec::Augmentation& augmentation, uint64_t sequence, uint64_t place,
                   Planes image) {
  // Of the one that changes nothing.
  auto factor = [&](double amount, double middle, double least, uint64_t at) {
    const double low = std::max(least, middle - amount), high = middle + amount;
    return static_cast<float>(low + (high - low) * UniformAt(sequence, place + at));
  };
  std::array<int, 4> order{0, 1, 2, 3};
  uint64_t random = RandomAt(sequence, place + 4);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random % i]);
    random /= i;
  }
  for (int operation : order) {
    if (operation == 0 && augmentation.brightness > 0)
      AdjustBrightness(factor(augmentation.brightness, 1, 0, 0), image);
    if (operation == 1 && augmentation.contrast > 0)
      AdjustContrast(factor(augmentation.contrast, 1, 0, 1), image);
    if (operation == 2 && augmentation.saturation > 0)
      AdjustSaturation(factor(augmentation.saturation, 1, 0, 2), image);
    if (operation == 3 && augmentation.hue > 0)
      AdjustHue(factor(augmentation.hue, 0, -augmentation.hue, 3), image);
  }
}

}  // namespace cyxwiz::data
