// Rows of values that follow each other in one file, as they are. Internal to src/data.
#pragma once

#include <memory>
#include <string>

#include "data/fault.h"
#include "data/file_range.h"
#include "data/row_reader.h"

namespace cyxwiz::data {

class FixedRows : public RowReader {
 public:
  // offset: of row 0 in the file, in which all rows lie. floats: the values are floats of 32 bits,
  // which must be finite; else bytes.
  static Fault Open(const std::string& path, int64_t offset, int64_t row_bytes, bool floats,
                    std::shared_ptr<const RowReader>* rows);

  Status Read(int64_t row, uint8_t* out) const override;
  // A part of the file that is read within a moment.
  int64_t ShardOf(int64_t row) const override { return row / rows_of_shard_; }
  std::string State() const override;

 private:
  FixedRows() = default;

  std::string path_;
  FileRange file_;
  int64_t offset_ = 0, row_bytes_ = 1, rows_of_shard_ = 1;
  bool floats_ = false;
};

}  // namespace cyxwiz::data
