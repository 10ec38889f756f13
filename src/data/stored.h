// A data set that was stored or fetched, whose files lie in a folder of this machine.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "data/dataset.h"
#include "data/row_reader.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

class StoredFolder {
 public:
  explicit StoredFolder(const std::string& folder);

  // The URI of such a data set as one of files of this machine.
  spec::DatasetUri UriOf(const spec::DatasetUri& uri) const;
  // Allows the folder alone.
  const Roots& roots() const { return roots_; }
  // Without the folder before the files' names, which is nobody's business.
  std::string Shown(std::string text) const;

 private:
  const Roots roots_;
  const std::string folder_;  // resolved
};

// Rows of files in such a folder, whose errors do not name it.
class StoredRows : public RowReader {
 public:
  StoredRows(std::shared_ptr<const RowReader> rows, StoredFolder folder)
      : rows_(std::move(rows)), folder_(std::move(folder)) {}

  Status Read(int64_t row, uint8_t* out) const override { return Shown(rows_->Read(row, out)); }
  Status ReadRun(int64_t first, int64_t count, int64_t row_bytes, uint8_t* out) const override {
    return Shown(rows_->ReadRun(first, count, row_bytes, out));
  }
  int64_t ShardOf(int64_t row) const override { return rows_->ShardOf(row); }
  std::string State() const override { return rows_->State(); }

 private:
  Status Shown(const Status& status) const {
    if (status.ok()) return status;
    return Status(status.code(), folder_.Shown(status.message()), status.hint());
  }

  const std::shared_ptr<const RowReader> rows_;
  const StoredFolder folder_;
};

}  // namespace cyxwiz::data
