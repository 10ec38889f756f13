#include "data/fixed_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace cyxwiz::data {
namespace {

constexpr int64_t kShardBytes = int64_t{16} << 20;

}  // namespace

Fault FixedRows::Open(const std::string& path, int64_t offset, int64_t row_bytes, bool floats,
                      std::shared_ptr<const RowReader>* rows) {
  std::shared_ptr<FixedRows> opened(new FixedRows());
  RETURN_IF_FAULT(opened->file_.Open(path));
  opened->path_ = path;
  opened->offset_ = offset;
  opened->row_bytes_ = row_bytes;
  opened->rows_of_shard_ = std::max<int64_t>(kShardBytes / row_bytes, 1);
  opened->floats_ = floats;
  *rows = std::move(opened);
  return {};
}

std::string FixedRows::State() const {
  return std::to_string(file_.size()) + "@" + std::to_string(file_.modified_ns());
}

Status FixedRows::Read(int64_t row, uint8_t* out) const {
  const auto bytes = static_cast<size_t>(row_bytes_);
  size_t got = 0;
  Fault fault = file_.ReadAt(offset_ + row * row_bytes_, out, bytes, &got);
  if (fault.ok() && got < bytes) {
    fault = Wrong("'" + path_ + "' is cut off in row " + std::to_string(row),
                  Count(row_bytes_, "byte"), std::to_string(got));
  }
  for (size_t at = 0; fault.ok() && floats_ && at < bytes; at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, out + at, sizeof value);
    if (!std::isfinite(value)) {
      fault = Wrong("'" + path_ + "' has features that are not finite", "finite numbers",
                    "NaN or infinity in row " + std::to_string(row),
                    "make the data set again with 'cyxwiz preprocess'");
    }
  }
  return fault.ToStatus();
}

}  // namespace cyxwiz::data
