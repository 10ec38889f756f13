// Data sets of two arrays, features and labels. Internal to src/data.
//
// Elements are unsigned bytes, 32- and 64-bit integers and floats, little endian, row-major. The
// first dimension counts the samples. Bytes are pixels, which the model sees as value / 255; other
// numbers are as they are, finite, and as floats of 32 bits: whole numbers beyond 2^24 are refused.
// Labels that are whole numbers from 0 to 65535 are classes: one a sample, or with two dimensions
// one for each position of a sequence. Any others are the numbers of a regression, one a sample.
//
// Features that lie in their file as they are, not compressed, can stay there and be read when they
// are wanted.
//
// Where a data set is only looked into, the first 64 MiB of its features are: numbers that are not
// taken are told then, others by who reads them.
//
// Limits: 4 GiB of features in memory, 2^50 values in files, 2^28 labels. Sizes are checked against
// the file before memory is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/byte_source.h"
#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

inline constexpr int64_t kMaxArrayBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxArrayValues = int64_t{1} << 50;
inline constexpr int64_t kMaxArrayLabels = int64_t{1} << 28;
inline constexpr int64_t kMaxArrayClasses = 65536;
inline constexpr size_t kMaxArrayRank = 8;
inline constexpr int64_t kCheckedArrayBytes = int64_t{64} << 20;

enum class ElementType { kUint8, kInt32, kInt64, kFloat32, kFloat64 };
int64_t SizeOf(ElementType type);

// One array, whose values `bytes` gives next.
struct ArraySource {
  std::string place;  // "NPY file '/data/x.npy'"
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape;
  std::unique_ptr<ByteReader> bytes;
  // The file in which the values lie as they are, from `offset` on; empty: in none.
  std::string file;
  int64_t offset = 0;
};

// *values: how many the shape has; a fault when one is 0, or their number beyond any limit.
Fault CountElements(const std::string& place, const std::vector<int64_t>& shape, int64_t* values);

// Converts `count` values as they are stored to floats; `out` may be where floats are stored.
// first: the place of the first of them in the array at `place`, which has `width` values a row,
// for the message when one does not fit.
Fault ToFloats(const std::string& place, ElementType type, const char* stored, int64_t count,
               int64_t first, int64_t width, float* out);

// Completes *raw but for the format. stream_bytes: of samples that are read ahead.
Fault ReadArrays(ArraySource features, ArraySource labels, int64_t stream_bytes, Raw* raw);

}  // namespace cyxwiz::data
