// Pictures in files as samples of one shape. Internal to src/data.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/row_reader.h"
#include "data/sample_files.h"

namespace cyxwiz::data {

class PictureRows : public RowReader {
 public:
  // shape: what pictures become: [channels, height, width]. resizes: whether they may be of another
  // size.
  PictureRows(std::shared_ptr<const SampleFiles> files, const std::vector<int64_t>& shape,
              bool resizes)
      : files_(std::move(files)),
        channels_(shape[0]),
        height_(shape[1]),
        width_(shape[2]),
        resizes_(resizes) {}

  Status Read(int64_t row, uint8_t* out) const override { return Decode(row, out).ToStatus(); }
  int64_t ShardOf(int64_t row) const override { return files_->ShardOf(row); }
  std::string State() const override { return files_->State(); }

 private:
  Fault Decode(int64_t row, uint8_t* out) const;

  const std::shared_ptr<const SampleFiles> files_;
  const int64_t channels_, height_, width_;
  const bool resizes_;
};

}  // namespace cyxwiz::data
