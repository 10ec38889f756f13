// Images that differ from epoch to epoch.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

// Which sample of which epoch of which training: what becomes of it follows from nothing else, so
// that a training that is resumed sees what it would have seen.
struct SampleTurn {
  uint64_t seed = 0, epoch = 0, sample = 0;
};

// Changes one image of shape [channels, height, width] in place, as GatherFeatures gave it. What
// comes in from beyond its edges is black: the byte 0 as `scale` has it, 0 in images of floats.
void Augment(const spec::Augmentation& augmentation, const std::vector<int64_t>& shape,
             const ByteScale& scale, const SampleTurn& turn, float* image);

}  // namespace cyxwiz::data
