#include "data/file_rows.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/resources.h"
#include "data/row_stream.h"
#include "spec/count.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kReadAheadBytes = int64_t{16} << 20;
constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr unsigned kMostThreads = 4;

unsigned ThreadsToRead() {
  return std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads);
}

// Memory that will be filled as a whole, before it is touched: in large pages, where the kernel has
// them, that takes a third to a half of the time (measured).
void AdviseLargePages(void* memory, size_t bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(memory) + bytes) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

// All samples of a split in files, where they are to be: threads take pieces of them in order.
class WholeSplit {
 public:
  WholeSplit(const Split& split, int64_t row_bytes, uint8_t* out)
      : split_(split),
        row_bytes_(row_bytes),
        rows_of_piece_(std::max<int64_t>(kPieceBytes / row_bytes, 1)),
        out_(out),
        failed_(split.samples) {}

  // The error is that of the first sample that cannot be read.
  Status Read() {
    std::vector<std::thread> others;
    try {
      for (unsigned i = 1; i < ThreadsToRead(); ++i) others.emplace_back([this] { ReadPieces(); });
    } catch (const std::system_error&) {
      // No room for a stack: fewer read.
    }
    ReadPieces();
    for (std::thread& other : others) other.join();
    return status_;
  }

 private:
  void ReadPieces() {
    for (;;) {
      const int64_t first = next_.fetch_add(rows_of_piece_);
      const int64_t end = std::min(first + rows_of_piece_, split_.samples);
      for (int64_t i = first; i < end;) {
        int64_t count = 1;
        while (i + count < end && RowOf(i + count) == RowOf(i) + count) ++count;
        if (Status read = ReadRun(i, count); !read.ok()) return Fail(i, count, std::move(read));
        i += count;
      }
      if (end >= split_.samples) return;
    }
  }

  int64_t RowOf(int64_t i) const { return split_.rows[static_cast<size_t>(i)]; }

  Status ReadRun(int64_t i, int64_t count) const {
    try {
      return split_.files->ReadRun(RowOf(i), count, row_bytes_, out_ + i * row_bytes_);
    } catch (const std::exception& error) {  // std::bad_alloc
      return ResourceExhausted(error.what());
    }
  }

  // One of the `count` samples from i on cannot be read. Those before have been taken by somebody.
  void Fail(int64_t i, int64_t count, Status status) {
    next_ = split_.samples;
    for (int64_t k = 0; k < count; ++k) {
      Status one = ReadRun(i + k, 1);
      if (one.ok()) continue;
      i += k;
      status = std::move(one);
      break;
    }
    std::lock_guard lock(mutex_);
    if (i >= failed_) return;
    failed_ = i;
    status_ = std::move(status);
  }

  const Split& split_;
  const int64_t row_bytes_, rows_of_piece_;
  uint8_t* const out_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;  // of the two below
  int64_t failed_;
  Status status_;
};

}  // namespace

Fault ForEachRow(const Split& split, int64_t row_bytes,
                 const std::function<void(const uint8_t*)>& use) {
  RowStream stream(split.files, split.rows, row_bytes, kReadAheadBytes,
                   static_cast<int>(ThreadsToRead()));
  for (int64_t i = 0; i < split.samples; ++i) {
    const uint8_t* row = nullptr;
    if (Status read = stream.Next(&row); !read.ok()) return FaultOf(read);
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
    const Status read = std::visit(
        [&](auto& values) {
          const auto count = static_cast<size_t>(split->samples * width);
          values.reserve(count);
          AdviseLargePages(values.data(), static_cast<size_t>(bytes));
          values.resize(count);
          return WholeSplit(*split, row_bytes, reinterpret_cast<uint8_t*>(values.data())).Read();
        },
        split->features);
    if (!read.ok()) return FaultOf(read);
    split->files.reset();
    split->rows = {};
  }
  return {};
}

}  // namespace cyxwiz::data
