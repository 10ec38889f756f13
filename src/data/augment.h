// Samples that differ from epoch to epoch.
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

// Changes one image of shape [channels, height, width] in place, as GatherFeatures gave it: first
// its colours, then its place. What comes in from beyond its edges is black: the byte 0 as `scale`
// has it, 0 in images of floats.
void Augment(const spec::Augmentation& augmentation, const std::vector<int64_t>& shape,
             const ByteScale& scale, const SampleTurn& turn, float* image);

// How much of each sample of a batch stays its own when it is mixed with the one before it in the
// batch, the first with the last: drawn from Beta(alpha, alpha), once a batch, as in torchvision's
// MixUp. first: the turn of the batch's first sample.
double MixupShare(double alpha, const SampleTurn& first);

}  // namespace cyxwiz::data
