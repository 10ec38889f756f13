// mock://random_data: synthetic classification that a model can learn. Internal to src/data.
//
// Class c has a centre whose coordinates are drawn from N(0, 1). Sample i of a part has label i mod
// classes and features centre[label] + noise * N(0, 1), computed in 64 bits and rounded to 32.
// Train and test have the same centres. At the defaults the classes are far apart (a centre's
// nearest neighbour is some 6 noise deviations away), so even a linear model gets nearly every
// sample right.
//
// Random numbers: xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number
// generators", 2018), its state filled by splitmix64 (Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014) from seed + stream * 0xD1B54A32D192ED03, stream being 0
// for the centres, 1 for train, 2 for test: so more samples never change the centres or the other
// part. Normal deviates: Box and Muller, both of a pair used, cosine first. All of this is ours
// because std::normal_distribution differs between standard libraries.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "data/dataset.h"
#include "data/fault.h"

namespace cyxwiz::data {

inline constexpr int64_t kMaxMockBytes = int64_t{4} << 30;  // features and labels of both parts

class NormalGenerator {
 public:
  NormalGenerator(uint64_t seed, uint64_t stream);

  // 64 uniform bits.
  uint64_t NextBits() {
    uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Two deviates of N(0, 1), a point of the plane.
  struct Pair {
    double radius, angle;  // angle in [0, 2 pi)
    double First() const;
    double Second() const;
  };
  Pair NextPair() {
    // Uniform in (0, 1] and [0, 1), with 53 bits.
    double u = static_cast<double>((NextBits() >> 11) + 1) * 0x1p-53;
    double v = static_cast<double>(NextBits() >> 11) * 0x1p-53;
    return {std::sqrt(-2 * std::log(u)), 2 * std::numbers::pi * v};
  }

  // One deviate: the first of a pair, then its second.
  double Next();

 private:
  uint64_t state_[4];
  double spare_ = 0;
  bool has_spare_ = false;
};

// Checks the numbers of a kMock URI and describes the data set.
Fault InspectMock(const spec::DatasetUri& uri, spec::DatasetInfo* info);
// The same, with the samples.
Fault LoadMock(const spec::DatasetUri& uri, Dataset* dataset);

}  // namespace cyxwiz::data
