// Changes of an image's colours: the operations and the distribution of torchvision's ColorJitter
// (torchvision/transforms/_functional_tensor.py: adjust_brightness, adjust_contrast,
// adjust_saturation, adjust_hue), on values from 0 to 1. Internal to src/data.
#pragma once

#include <cstdint>

#include "spec/dataset.h"

namespace cyxwiz::data {

// Planes of 1 (gray) or 3 (red, green, blue) channels, one after the other.
struct Planes {
  float* values = nullptr;
  int64_t channels = 1;
  int64_t size = 0;  // of one
};

// factor 1 changes nothing, 0 gives black.
void AdjustBrightness(float factor, Planes image);
// 0 gives the mean of its gray.
void AdjustContrast(float factor, Planes image);
// 0 gives its gray. A gray image stays as it is.
void AdjustSaturation(float factor, Planes image);
// 0 changes nothing, 0.5 and -0.5 give complementary colours. A gray image stays as it is.
void AdjustHue(float factor, Planes image);

// All four in a random order: brightness, contrast and saturation by factors from
// max(0, 1 - amount) to 1 + amount, the hue by one from -amount to amount. What is random is drawn
// from five places of the sequence, from `place` on.
void JitterColours(const spec::Augmentation& augmentation, uint64_t sequence, uint64_t place,
                   Planes image);

}  // namespace cyxwiz::data
