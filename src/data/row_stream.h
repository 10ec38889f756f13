// Reads rows ahead of who takes them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"
#include "data/row_reader.h"

namespace cyxwiz::data {

// Threads of its own read; one thread takes. What it gives does not depend on their number.
class RowStream {
 public:
  // rows: in the order in which they are taken. memory_bytes: of rows that have been read and not
  // taken; at least kLeastRows of them.
  RowStream(std::shared_ptr<const RowReader> reader, std::vector<int64_t> rows, int64_t row_bytes,
            int64_t memory_bytes, int threads);
  // Waits for the reads that have begun.
  ~RowStream();
  RowStream(const RowStream&) = delete;
  RowStream& operator=(const RowStream&) = delete;

  // *row: the bytes of the next row, until the next call. There must be one.
  Status Next(const uint8_t** row);
  int64_t left() const { return static_cast<int64_t>(rows_.size()) - taken_; }

  static constexpr int64_t kLeastRows = 4;

 private:
  struct Slot {
    bool ready = false;
    Status status;
  };
  void ReadAhead();
  // Reads row i of those that are taken, and those after it, up to `end`, that follow it in the
  // files and in the slots. Returns the one behind.
  int64_t ReadRun(int64_t i, int64_t end);

  const std::shared_ptr<const RowReader> reader_;
  const std::vector<int64_t> rows_;
  const size_t row_bytes_;
  int64_t at_once_ = 1;  // rows that a thread takes upon itself at a time
  std::vector<Slot> slots_;
  std::unique_ptr<uint8_t[]> bytes_;  // row i lies in slot i modulo their number
  // The taking thread's: rows taken; how far it knows that they are read.
  int64_t taken_ = 0, known_ready_ = 0;

  std::mutex mutex_;
  std::condition_variable room_, ready_;
  // Rows whose reading has begun; whose slots may be used again, which the taking thread alone
  // says.
  int64_t begun_ = 0, freed_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cyxwiz::data
