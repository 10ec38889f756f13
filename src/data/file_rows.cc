#include "data/file_rows.h"

#include <algorithm>
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

Fault ForEachRow(const Split& split, int64_t width,
                 const std::function<void(int64_t, const uint8_t*)>& use) {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads);
  RowStream stream(split.files, split.rows, width, kReadAheadBytes, static_cast<int>(threads));
  for (int64_t i = 0; i < split.samples; ++i) {
    const uint8_t* row = nullptr;
    if (Status read = stream.Next(&row); !read.ok())
      return {read.code(), read.message(), "", "", read.hint()};
    use(i, row);
  }
  return {};
}

Fault ReadIntoMemory(Dataset* dataset) {
  const int64_t width = spec::ElementCount(dataset->info.sample_shape);
  for (Split* split : {&dataset->train, &dataset->test}) {
    if (split->files == nullptr) continue;
    const int64_t bytes = spec::Product(split->samples, width);
    if (bytes > spec::kMaxInMemoryBytes) {
      return TooLarge("the data set is too large to be kept in memory",
                      "at most " + FormatBytes(spec::kMaxInMemoryBytes), FormatBytes(bytes),
                      "leave stream=false out of its URI");
    }
    std::vector<uint8_t> values(static_cast<size_t>(bytes));
    RETURN_IF_FAULT(ForEachRow(*split, width, [&](int64_t i, const uint8_t* row) {
      std::copy_n(row, width, values.data() + i * width);
    }));
    split->features = std::move(values);
    split->files.reset();
    split->rows = {};
  }
  return {};
}

}  // namespace cyxwiz::data
