// Counts of values, bytes and operations that cannot overflow: a result too large for int64_t
// sticks at the largest. Operands are never negative.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace cyxwiz::spec {

inline constexpr int64_t kUncountable = std::numeric_limits<int64_t>::max();

inline int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kUncountable : sum;
}
template <typename... Rest>
int64_t Sum(int64_t a, int64_t b, Rest... rest) {
  return Sum(Sum(a, b), rest...);
}

inline int64_t Product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kUncountable : product;
}
template <typename... Rest>
int64_t Product(int64_t a, int64_t b, Rest... rest) {
  return Product(Product(a, b), rest...);
}

// Values in a tensor of that shape.
inline int64_t ElementCount(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t dimension : shape) count = Product(count, dimension);
  return count;
}

}  // namespace cyxwiz::spec
