// Internal to src/data.
#pragma once

#include <cstdint>

#include "data/picture.h"

namespace cyxwiz::data {

// Writes the picture at another size, channels first, to out[channels * height * width]. Bilinear:
// a triangle as wide as a pixel of the larger of the two sizes, so that each pixel of a larger
// picture counts (what Pillow and torchvision's antialias do).
void Resize(const Picture& picture, int64_t height, int64_t width, uint8_t* out);

}  // namespace cyxwiz::data
