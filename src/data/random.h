// Random numbers that depend on nothing but what they are for: no order of use, no state to resume.
// Internal to src/data.
#pragma once

#include <cstdint>

namespace cyxwiz::data {

// 64 bits for `place` of the sequence `seed`. Source: Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014 (splitmix64).
inline uint64_t RandomAt(uint64_t seed, uint64_t place) {
  uint64_t z = seed + (place + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// The same as a number above 0 and below 1.
inline double UniformAt(uint64_t seed, uint64_t place) {
  return (static_cast<double>(RandomAt(seed, place) >> 11) + 0.5) * 0x1p-53;
}

}  // namespace cyxwiz::data
