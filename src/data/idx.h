// IDX, the format of MNIST and its kin. Internal to src/data.
//
//   file  = 0x00 0x00 type rank  dim[0] .. dim[rank-1]  values
//   type  = 0x08: unsigned bytes, the only one read here
//   dim   = 32 bits, big endian; values are row-major
//
// Images have rank 2 (samples of one row each), 3 (gray, height x width) or 4 (channels x height x
// width); labels have rank 1. A file may be gzip.
//
// Images that are not compressed can stay in their file and be read when they are wanted.
//
// Limits: 4 GiB of values a file that is compressed, or of labels; 2^50 values. Sizes are checked
// against the file before memory is taken, and nothing is unpacked beyond what the header declares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/byte_source.h"
#include "data/dataset.h"

namespace cyxwiz::data {

inline constexpr int64_t kMaxIdxBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxIdxValues = int64_t{1} << 50;

// One image file with its label file; paths resolved.
struct IdxFiles {
  std::string images;
  std::string labels;
};

// What the headers, the sizes and the labels say. The values of an image file are unpacked only
// when its gzip trailer does not fit the header, to say exactly what is wrong.
struct IdxPart {
  std::vector<int64_t> sample_shape;
  int64_t samples = 0;
  int64_t classes = 0;  // largest label + 1
  bool stays = false;   // the images are not compressed, and stay in their file
};
Fault InspectIdx(const IdxFiles& files, IdxPart* part);

// The same, with the samples, or where they are.
Fault LoadIdx(const IdxFiles& files, IdxPart* part, Split* split);

}  // namespace cyxwiz::data
