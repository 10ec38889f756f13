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
  // Reads the bytes of a row's values.
  virtual Status Read(int64_t row, uint8_t* out) const = 0;
  // Which file, or part of one, a row is in; rows of one follow each other.
  virtual int64_t ShardOf(int64_t row) const = 0;
  // What tells whether the files are still the same: their sizes and times.
  virtual std::string State() const = 0;
};

}  // namespace cyxwiz::data
