// The file format of weights: https://github.com/huggingface/safetensors. A safetensors file cannot
// run code.
//
//   file     := size header data
//   size     := 8 bytes, little-endian: length of header in bytes
//   header   := JSON object, begins with '{', may end in spaces:
//                 {"__metadata__": {"key": "text", ...},
//                  "<name>": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
//   data     := the tensors' values, row-major, little-endian; offsets count from the first byte of
//   data; the tensors
//               fill data without a gap and without an overlap
//
// We write tensors in the order given, the header padded so that data begins at a multiple of 64
// bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace cyxwiz {

enum class DataType { kFloat32, kInt64, kUint8 };

// A named array that someone else owns.
struct TensorView {
  std::string name;
  DataType type = DataType::kFloat32;
  std::vector<int64_t> shape;  // empty: a single value
  const void* data = nullptr;  // row-major, contiguous

  int64_t bytes() const;
};

// Writes `path`, complete or not at all: beside it first, fsynced, renamed, the folder fsynced.
// Streams the tensors, so no second copy of them is made. INVALID_ARGUMENT for a name that is
// empty, used twice or "__metadata__".
Status WriteSafetensors(const std::string& path, const std::vector<TensorView>& tensors,
                        const std::map<std::string, std::string>& metadata);

// A file in memory.
struct SafetensorsFile {
  struct Entry {
    DataType type = DataType::kFloat32;
    std::vector<int64_t> shape;
    size_t begin = 0, end = 0;  // into data
  };
  std::map<std::string, std::string> metadata;
  std::map<std::string, Entry> entries;
  std::string data;

  const void* values(const Entry& entry) const { return data.data() + entry.begin; }
};

inline constexpr size_t kMaxSafetensorsHeaderBytes =
    100u << 20;  // the limit of the reference implementation
inline constexpr size_t kMaxSafetensorsBytes = size_t{8} << 30;  // of a file that is read whole

// Reads and checks a whole file of at most max_bytes. DATA_LOSS, saying what is wrong, for a file
// that breaks the format; UNIMPLEMENTED for a data type other than F32, I64
// and U8.
Result<SafetensorsFile> ReadSafetensors(const std::string& path,
                                        size_t max_bytes = kMaxSafetensorsBytes);

}  // namespace cyxwiz
