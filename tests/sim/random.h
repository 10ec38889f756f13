// The simulator's only source of chance. The same seed gives the same numbers with every compiler
// and library, which the distributions of <random> do not promise.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"

namespace cyxwiz::sim {

// SplitMix64's finalizer: spreads every bit of its argument over the result.
constexpr uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// FNV-1a.
constexpr uint64_t HashOf(std::string_view text, uint64_t hash = 0xcbf29ce484222325) {
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// xoshiro256**.
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) word = seed = Mix(seed);
  }
  // A stream of its own for one purpose, so that taking more numbers for one thing does not change
  // what happens to another.
  Random(uint64_t seed, std::string_view purpose) : Random(seed ^ HashOf(purpose)) {}

  uint64_t Next() {
    auto rotate = [](uint64_t x, int by) { return (x << by) | (x >> (64 - by)); };
    uint64_t result = rotate(state_[1] * 5, 7) * 9;
    uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }
  // 0 <= result < n; n > 0.
  int64_t Below(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }
  // Both ends are possible.
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }
  Duration Between(Duration low, Duration high) {
    return Duration(Between(low.count(), high.count()));
  }
  // [0, 1)
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  bool Chance(double probability) { return Unit() < probability; }

 private:
  uint64_t state_[4];
};

}  // namespace cyxwiz::sim
