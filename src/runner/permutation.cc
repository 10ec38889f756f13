#include "runner/permutation.h"

#include <bit>
#include <cstddef>
#include <numeric>
#include <utility>

namespace cyxwiz::runner {
namespace {

__extension__ using Wide = unsigned __int128;

// Source: Sebastiano Vigna, splitmix64.c (public domain).
uint64_t SplitMix64(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Source: David Blackman and Sebastiano Vigna, xoshiro256starstar.c (public domain).
class Xoshiro256 {
 public:
  Xoshiro256(uint64_t seed, uint64_t stream) {
    uint64_t mixer = seed;
    mixer = SplitMix64(&mixer) ^ stream;
    for (uint64_t& word : state_) word = SplitMix64(&mixer);
  }

  uint64_t Next() {
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

  // Uniform in [0, bound). Source: Daniel Lemire, "Fast Random Integer Generation in an Interval",
  // 2019.
  uint64_t Below(uint64_t bound) {
    Wide product = static_cast<Wide>(Next()) * bound;
    if (static_cast<uint64_t>(product) < bound) {
      uint64_t threshold = (0 - bound) % bound;
      while (static_cast<uint64_t>(product) < threshold) {
        product = static_cast<Wide>(Next()) * bound;
      }
    }
    return static_cast<uint64_t>(product >> 64);
  }

 private:
  uint64_t state_[4];
};

}  // namespace

namespace {

void Shuffle(std::vector<int64_t>* numbers, Xoshiro256* random) {
  for (size_t i = numbers->size(); i > 1; --i)
    std::swap((*numbers)[i - 1], (*numbers)[random->Below(i)]);
}

std::vector<int64_t> Counting(size_t size) {
  std::vector<int64_t> numbers(size);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace

std::vector<int64_t> Permutation(int64_t size, uint64_t seed, uint64_t stream) {
  std::vector<int64_t> order = Counting(static_cast<size_t>(size));
  Xoshiro256 random(seed, stream);
  Shuffle(&order, &random);
  return order;
}

std::vector<int64_t> WindowPermutation(const std::vector<int64_t>& groups, int64_t size,
                                       int64_t window, uint64_t seed, uint64_t stream) {
  Xoshiro256 random(seed, stream);
  std::vector<int64_t> files = Counting(groups.size()), order, waiting;
  Shuffle(&files, &random);
  order.reserve(static_cast<size_t>(size));
  for (int64_t file : files) {
    const auto next = static_cast<size_t>(file) + 1;
    const int64_t end = next < groups.size() ? groups[next] : size;
    for (int64_t number = groups[next - 1]; number < end; ++number) {
      if (static_cast<int64_t>(waiting.size()) < window) {
        waiting.push_back(number);
        continue;
      }
      order.push_back(std::exchange(waiting[random.Below(waiting.size())], number));
    }
  }
  Shuffle(&waiting, &random);
  order.insert(order.end(), waiting.begin(), waiting.end());
  return order;
}

}  // namespace cyxwiz::runner
