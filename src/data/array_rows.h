// The rows of an array that lies in a file as it is. Internal to src/data.
#pragma once

#include <memory>
#include <string>

#include "data/arrays.h"
#include "data/dataset.h"
#include "data/fault.h"
#include "data/file_range.h"
#include "data/row_reader.h"

namespace cyxwiz::data {

class ArrayRows : public RowReader {
 public:
  // array: one that lies in a file as it is; its first dimension counts the rows. Bytes stay bytes,
  // other elements become floats of 32 bits.
  static Fault Open(const ArraySource& array, std::shared_ptr<const RowReader>* rows);

  Status Read(int64_t row, uint8_t* out) const override { return ReadFrom(row, 1, out).ToStatus(); }
  Status ReadRun(int64_t first, int64_t count, int64_t, uint8_t* out) const override {
    return ReadFrom(first, count, out).ToStatus();
  }
  // A part of the file that is read within a moment.
  int64_t ShardOf(int64_t row) const override { return row / rows_of_shard_; }
  std::string State() const override;

 private:
  ArrayRows() = default;
  Fault ReadFrom(int64_t first, int64_t count, uint8_t* out) const;
  Fault ReadStored(int64_t first, int64_t count, char* stored) const;

  std::string place_;
  FileRange file_;
  ElementType type_ = ElementType::kUint8;
  int64_t offset_ = 0, width_ = 1, rows_of_shard_ = 1;
};

// The features stay in the file that the array lies in.
Fault LeaveInFile(const ArraySource& array, Split* split);

}  // namespace cyxwiz::data
