#include "data/array_rows.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "data/file_rows.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kShardBytes = int64_t{16} << 20;

}  // namespace

Fault ArrayRows::Open(const ArraySource& array, std::shared_ptr<const RowReader>* rows) {
  std::shared_ptr<ArrayRows> opened(new ArrayRows());
  RETURN_IF_FAULT(opened->file_.Open(array.file));
  int64_t values = 0;
  RETURN_IF_FAULT(CountElements(array.place, array.shape, &values));
  opened->place_ = array.place;
  opened->type_ = array.type;
  opened->offset_ = array.offset;
  opened->width_ = values / array.shape[0];
  opened->rows_of_shard_ = std::max<int64_t>(kShardBytes / SizeOf(array.type) / opened->width_, 1);
  *rows = std::move(opened);
  return {};
}

std::string ArrayRows::State() const {
  return std::to_string(file_.size()) + "@" + std::to_string(file_.modified_ns());
}

Fault ArrayRows::ReadStored(int64_t first, int64_t count, char* stored) const {
  const int64_t row_bytes = width_ * SizeOf(type_);
  const auto bytes = static_cast<size_t>(count * row_bytes);
  size_t got = 0;
  RETURN_IF_FAULT(file_.ReadAt(offset_ + first * row_bytes, stored, bytes, &got));
  if (got == bytes) return {};
  return Wrong(place_ + " is cut off in row " +
                   std::to_string(first + static_cast<int64_t>(got) / row_bytes + 1),
               Count(row_bytes, "byte"), std::to_string(static_cast<int64_t>(got) % row_bytes),
               "has the file changed since the job began to read it?");
}

Fault ArrayRows::ReadFrom(int64_t first, int64_t count, uint8_t* out) const {
  if (type_ == ElementType::kUint8) return ReadStored(first, count, reinterpret_cast<char*>(out));
  auto* floats = reinterpret_cast<float*>(out);
  if (type_ == ElementType::kFloat32) {
    RETURN_IF_FAULT(ReadStored(first, count, reinterpret_cast<char*>(out)));
    return ToFloats(place_, type_, reinterpret_cast<char*>(out), count * width_, first * width_,
                    width_, floats);
  }
  std::vector<char> stored(static_cast<size_t>(count * width_ * SizeOf(type_)));
  RETURN_IF_FAULT(ReadStored(first, count, stored.data()));
  return ToFloats(place_, type_, stored.data(), count * width_, first * width_, width_, floats);
}

Fault LeaveInFile(const ArraySource& array, Split* split) {
  std::shared_ptr<const RowReader> rows;
  RETURN_IF_FAULT(ArrayRows::Open(array, &rows));
  LeaveInFiles(std::move(rows), array.shape[0], array.type != ElementType::kUint8, split);
  return {};
}

}  // namespace cyxwiz::data
