// Rows of floats that are scaled as they are read. Internal to src/data.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/row_reader.h"

namespace cyxwiz::data {

class ScaledRows : public RowReader {
 public:
  // Each value becomes (value - mean[g]) / deviation[g], g being its group: value i of the `width`
  // of a row belongs to group i / inner modulo their number.
  ScaledRows(std::shared_ptr<const RowReader> rows, int64_t width, int64_t inner,
             std::vector<float> mean, std::vector<float> deviation)
      : rows_(std::move(rows)),
        width_(width),
        inner_(inner),
        mean_(std::move(mean)),
        deviation_(std::move(deviation)) {}

  Status Read(int64_t row, uint8_t* out) const override {
    RETURN_IF_ERROR(rows_->Read(row, out));
    Scale(1, reinterpret_cast<float*>(out));
    return OkStatus();
  }
  Status ReadRun(int64_t first, int64_t count, int64_t row_bytes, uint8_t* out) const override {
    RETURN_IF_ERROR(rows_->ReadRun(first, count, row_bytes, out));
    Scale(count, reinterpret_cast<float*>(out));
    return OkStatus();
  }
  int64_t ShardOf(int64_t row) const override { return rows_->ShardOf(row); }
  std::string State() const override { return rows_->State() + " scaled"; }

 private:
  void Scale(int64_t rows, float* values) const {
    float* const end = values + rows * width_;
    while (values != end) {
      for (size_t g = 0; g < mean_.size(); ++g) {
        for (int64_t i = 0; i < inner_; ++i, ++values)
          *values = (*values - mean_[g]) / deviation_[g];
      }
    }
  }

  const std::shared_ptr<const RowReader> rows_;
  const int64_t width_, inner_;
  const std::vector<float> mean_, deviation_;
};

}  // namespace cyxwiz::data
