// Samples whose features stay in files.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace cyxwiz::data {

// Rows of bytes or floats, all of one length, in files (shards) that do not change. Any number of
// threads.
class RowReader {
 public:
  virtual ~RowReader() = default;
  // Reads the bytes of a row's values, which `out` is aligned for.
  virtual Status Read(int64_t row, uint8_t* out) const = 0;
  // Reads `count` rows that follow each other, of row_bytes each; an error is that of the first
  // that cannot be read, or another's.
  virtual Status ReadRun(int64_t first, int64_t count, int64_t row_bytes, uint8_t* out) const {
    for (int64_t i = 0; i < count; ++i) RETURN_IF_ERROR(Read(first + i, out + i * row_bytes));
    return OkStatus();
  }
  // Which file, or part of one, a row is in; rows of one follow each other.
  virtual int64_t ShardOf(int64_t row) const = 0;
  // What tells whether the files are still the same: their sizes and times.
  virtual std::string State() const = 0;
};

}  // namespace cyxwiz::data
