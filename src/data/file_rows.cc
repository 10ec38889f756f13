#include "data/file_rows.h"

#include <algorithm>
#include <numeric>
#include <thread>
#include <utility>

#include "base/resources.h"
#include "data/row_stream.h"
#include "spec/count.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kReadAheadBytes = int64_t{16} << 20;
constexpr unsigned kMostThreads = 4;

}  // namespace

Fault ForEachRow(const Split& split, int64_t row_bytes,
                 const std::function<void(const uint8_t*)>& use) {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads);
  RowStream stream(split.files, split.rows, row_bytes, kReadAheadBytes, static_cast<int>(threads));
  for (int64_t i = 0; i < split.samples; ++i) {
    const uint8_t* row = nullptr;
    if (Status read = stream.Next(&row); !read.ok())
      return {read.code(), read.message(), "", "", read.hint()};
    use(row);
  }
  return {};
}

void LeaveInFiles(std::shared_ptr<const RowReader> rows, int64_t samples, bool floats,
                  Split* split) {
  split->samples = samples;
  if (floats) split->features = std::vector<float>();
  split->files = std::move(rows);
  split->rows.resize(static_cast<size_t>(samples));
  std::iota(split->rows.begin(), split->rows.end(), 0);
}

Fault ReadIntoMemory(Dataset* dataset) {
  const int64_t width = spec::ElementCount(dataset->info.sample_shape);
  for (Split* split : {&dataset->train, &dataset->test}) {
    if (split->files == nullptr) continue;
    const int64_t row_bytes = width * split->value_bytes();
    const int64_t bytes = spec::Product(split->samples, row_bytes);
    if (bytes > spec::kMaxInMemoryBytes) {
      return TooLarge("the data set is too large to be kept in memory",
                      "at most " + FormatBytes(spec::kMaxInMemoryBytes), FormatBytes(bytes),
                      "leave stream=false out of its URI");
    }
    RETURN_IF_FAULT(std::visit(
        [&](auto& values) {
          values.resize(static_cast<size_t>(split->samples * width));
          auto* out = reinterpret_cast<uint8_t*>(values.data());
          return ForEachRow(*split, row_bytes,
                            [&](const uint8_t* row) { out = std::copy_n(row, row_bytes, out); });
        },
        split->features));
    split->files.reset();
    split->rows = {};
  }
  return {};
}

}  // namespace cyxwiz::data
