#include "data/row_stream.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace cyxwiz::data {
namespace {

// Rows are handed over so many bytes at a time: small ones cost more to hand over than to read.
constexpr int64_t kBytesAtOnce = 64 << 10;

}  // namespace

RowStream::RowStream(std::shared_ptr<const RowReader> reader, std::vector<int64_t> rows,
                     int64_t row_bytes, int64_t memory_bytes, int threads)
    : reader_(std::move(reader)),
      rows_(std::move(rows)),
      row_bytes_(static_cast<size_t>(row_bytes)) {
  const int64_t count = static_cast<int64_t>(rows_.size());
  const int64_t slots = std::min(std::max(memory_bytes / row_bytes, kLeastRows), count);
  at_once_ = std::clamp<int64_t>(kBytesAtOnce / row_bytes, 1, std::max<int64_t>(slots / 4, 1));
  slots_.resize(static_cast<size_t>(slots));
  bytes_.reset(new uint8_t[slots_.size() * row_bytes_]);
  for (int64_t i = 0; i < std::min<int64_t>(threads, slots); ++i)
    threads_.emplace_back([this] { ReadAhead(); });
}

RowStream::~RowStream() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  room_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void RowStream::ReadAhead() {
  const int64_t slots = static_cast<int64_t>(slots_.size());
  const int64_t count = static_cast<int64_t>(rows_.size());
  std::unique_lock lock(mutex_);
  for (;;) {
    room_.wait(lock, [&] { return ending_ || begun_ == count || begun_ < freed_ + slots; });
    if (ending_ || begun_ == count) return;
    const int64_t first = begun_;
    begun_ = std::min({count, freed_ + slots, first + at_once_});
    const int64_t end = begun_;
    lock.unlock();
    for (int64_t i = first; i < end;) i = ReadRun(i, end);
    lock.lock();
    for (int64_t i = first; i < end; ++i) slots_[static_cast<size_t>(i % slots)].ready = true;
    ready_.notify_one();
  }
}

int64_t RowStream::ReadRun(int64_t i, int64_t end) {
  const size_t place = static_cast<size_t>(i) % slots_.size();
  const int64_t* const row = &rows_[static_cast<size_t>(i)];
  end = std::min(end, i + static_cast<int64_t>(slots_.size() - place));
  int64_t count = 1;
  while (i + count < end && row[count] == *row + count) ++count;
  const auto read = [&](int64_t from, int64_t rows) {
    try {
      return reader_->ReadRun(row[from], rows, static_cast<int64_t>(row_bytes_),
                              bytes_.get() + (place + static_cast<size_t>(from)) * row_bytes_);
    } catch (const std::exception& error) {  // std::bad_alloc
      return ResourceExhausted(error.what());
    }
  };
  // Each row has an error of its own.
  Status all = read(0, count);
  for (int64_t k = 0; k < count; ++k)
    slots_[place + static_cast<size_t>(k)].status = all.ok() || count == 1 ? all : read(k, 1);
  return i + count;
}

Status RowStream::Next(const uint8_t** row) {
  const auto slots = static_cast<int64_t>(slots_.size());
  // A quarter of the slots at a time is enough for the threads to go on.
  if (taken_ == known_ready_ || taken_ - freed_ >= std::max<int64_t>(slots / 4, 1)) {
    std::unique_lock lock(mutex_);
    // Those before may be overwritten from now on.
    freed_ = taken_;
    room_.notify_all();
    auto slot = [&](int64_t i) -> Slot& { return slots_[static_cast<size_t>(i % slots)]; };
    ready_.wait(lock, [&] { return taken_ < known_ready_ || slot(taken_).ready; });
    const int64_t end = std::min(freed_ + slots, static_cast<int64_t>(rows_.size()));
    for (; known_ready_ < end && slot(known_ready_).ready; ++known_ready_)
      slot(known_ready_).ready = false;
  }
  const auto place = static_cast<size_t>(taken_++ % slots);
  *row = bytes_.get() + place * row_bytes_;
  return std::move(slots_[place].status);
}

}  // namespace cyxwiz::data
