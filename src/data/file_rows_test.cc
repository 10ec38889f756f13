#include "data/file_rows.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kRowBytes = 300 << 10;  // three in a piece, so that several threads have some

std::vector<uint8_t> Bytes(int64_t rows) {
  std::vector<uint8_t> bytes;
  for (int64_t i = 0; i < rows; ++i)
    bytes.insert(bytes.end(), static_cast<size_t>(kRowBytes), static_cast<uint8_t>(i));
  return bytes;
}

Dataset InFiles(std::shared_ptr<const RowReader> files, std::vector<int64_t> rows) {
  Dataset dataset;
  dataset.info.sample_shape = {kRowBytes};
  dataset.train.samples = static_cast<int64_t>(rows.size());
  dataset.train.files = std::move(files);
  dataset.train.rows = std::move(rows);
  dataset.train.features = std::vector<uint8_t>();
  return dataset;
}

TEST(FileRows, ComeIntoMemoryInTheirOrder) {
  std::vector<int64_t> wanted;
  for (int64_t row = 0; row < 40; ++row) {
    if (row % 7 != 3) wanted.push_back(row);  // as where a test part was taken out
  }
  Dataset dataset = InFiles(std::make_shared<const MemoryRows>(Bytes(40), kRowBytes, 5), wanted);
  const Fault fault = ReadIntoMemory(&dataset);
  ASSERT_TRUE(fault.ok()) << fault.ToStatus();
  const auto& values = std::get<std::vector<uint8_t>>(dataset.train.features);
  ASSERT_EQ(values.size(), wanted.size() * kRowBytes);
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(values[i * kRowBytes], wanted[i]);
    EXPECT_EQ(values[(i + 1) * kRowBytes - 1], wanted[i]);
  }
  EXPECT_EQ(dataset.train.files, nullptr);
  EXPECT_TRUE(dataset.train.rows.empty());
}

// Where several threads read, row 16 fails once those behind it are being read, and they after it:
// it is read twice, alone at last.
class BrokenRows : public MemoryRows {
 public:
  using MemoryRows::MemoryRows;
  Status Read(int64_t row, uint8_t* out) const override {
    if (row < 16) return MemoryRows::Read(row, out);
    if (row == 16) {
      if (std::thread::hardware_concurrency() > 1) begun_behind_.wait(false);
      ++reads_of_16_;
      reads_of_16_.notify_all();
      return InvalidArgument("row 16 is broken");
    }
    begun_behind_ = true;
    begun_behind_.notify_all();
    for (int reads; (reads = reads_of_16_) < 2;) reads_of_16_.wait(reads);
    throw std::bad_alloc();
  }

 private:
  mutable std::atomic<bool> begun_behind_{false};
  mutable std::atomic<int> reads_of_16_{0};
};

TEST(FileRows, TheFirstThatCannotBeReadIsTold) {
  for (int round = 0; round < 20; ++round) {
    std::vector<int64_t> all;
    for (int64_t row = 0; row < 20; ++row) all.push_back(row);
    Dataset dataset = InFiles(std::make_shared<const BrokenRows>(Bytes(20), kRowBytes, 5), all);
    EXPECT_EQ(ReadIntoMemory(&dataset).message, "row 16 is broken");
  }
}

// Reads a run no better than its rows: what is wrong with it passes.
class HastyRows : public MemoryRows {
 public:
  using MemoryRows::MemoryRows;
  Status ReadRun(int64_t first, int64_t count, int64_t row_bytes, uint8_t* out) const override {
    if (count > 1) return Unavailable("too much at once");
    return MemoryRows::ReadRun(first, count, row_bytes, out);
  }
};

TEST(FileRows, WhatIsNotReadIsNeverTakenForRead) {
  Dataset dataset =
      InFiles(std::make_shared<const HastyRows>(Bytes(10), kRowBytes, 5), {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(ReadIntoMemory(&dataset).message, "too much at once");
}

}  // namespace
}  // namespace cyxwiz::data
