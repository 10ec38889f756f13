#include "data/row_stream.h"

#include <gtest/gtest.h>

#include <numeric>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

std::shared_ptr<const MemoryRows> Rows(int64_t count) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count) * 2);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  return std::make_shared<const MemoryRows>(std::move(bytes), 2, 10);
}

TEST(RowStream, GivesTheRowsInOrderWhateverTheThreadsAndTheMemory) {
  std::vector<int64_t> all(100);
  std::iota(all.begin(), all.end(), 0);
  for (const std::vector<int64_t>& wanted :
       {std::vector<int64_t>{5, 0, 99, 0, 7, 7, 8, 1, 2, 3, 4, 98, 50, 51, 52}, all}) {
    for (int threads : {1, 2, 3, 4}) {
      // 22: of 11 places two are taken at a time, once the last and the first.
      for (int64_t memory : {1, 10, 22, 1000}) {
        RowStream stream(Rows(100), wanted, 2, memory, threads);
        for (int64_t row : wanted) {
          const uint8_t* bytes = nullptr;
          ASSERT_TRUE(stream.Next(&bytes).ok());
          EXPECT_EQ(bytes[0], 2 * row);
          EXPECT_EQ(bytes[1], 2 * row + 1);
        }
        EXPECT_EQ(stream.left(), 0);
      }
    }
  }
}

TEST(RowStream, ReadsNoFurtherAheadThanItsMemory) {
  std::vector<int64_t> wanted(100);
  std::iota(wanted.begin(), wanted.end(), 0);
  for (auto [memory, most] : {std::pair<int64_t, int64_t>{20, 10}, {1, RowStream::kLeastRows}}) {
    auto rows = Rows(100);
    RowStream stream(rows, wanted, 2, memory, 4);
    for (int64_t taken = 1; taken <= 100; ++taken) {
      const uint8_t* bytes = nullptr;
      ASSERT_TRUE(stream.Next(&bytes).ok());
      // The one that was given last still has its place.
      EXPECT_LE(rows->reads(), taken - 1 + most);
    }
  }
}

// Counts the runs that are read, each of rows that follow each other.
class RunRows : public MemoryRows {
 public:
  using MemoryRows::MemoryRows;
  Status ReadRun(int64_t first, int64_t count, int64_t row_bytes, uint8_t* out) const override {
    ++runs_;
    return MemoryRows::ReadRun(first, count, row_bytes, out);
  }
  int64_t runs() const { return runs_; }

 private:
  mutable std::atomic<int64_t> runs_{0};
};

TEST(RowStream, ReadsRowsThatFollowEachOtherAtOnce) {
  std::vector<uint8_t> bytes(200);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  auto rows = std::make_shared<RunRows>(bytes, 2, 100);
  const std::vector<int64_t> wanted{0, 1, 2, 3, 50, 51, 7, 6, 90};
  RowStream stream(rows, wanted, 2, 1000, 1);
  for (int64_t row : wanted) {
    const uint8_t* values = nullptr;
    ASSERT_TRUE(stream.Next(&values).ok());
    EXPECT_EQ(values[1], 2 * row + 1);
  }
  // At most a quarter of the nine places at a time: 0-1, 2-3, 50-51, 7, 6, 90.
  EXPECT_EQ(rows->runs(), 6);
}

class BrokenRows : public MemoryRows {
 public:
  using MemoryRows::MemoryRows;
  Status Read(int64_t row, uint8_t* out) const override {
    if (row == 3) return InvalidArgument("row 3 is broken");
    if (row == 4) throw std::bad_alloc();
    return MemoryRows::Read(row, out);
  }
};

TEST(RowStream, ARowThatCannotBeReadIsToldInItsTurn) {
  // So many that a thread takes six at a time.
  std::vector<int64_t> wanted(24);
  std::iota(wanted.begin(), wanted.end(), 0);
  for (int threads : {1, 4}) {
    RowStream stream(std::make_shared<BrokenRows>(std::vector<uint8_t>(48), 2, 10), wanted, 2, 100,
                     threads);
    for (int64_t row : wanted) {
      const uint8_t* bytes = nullptr;
      const Status status = stream.Next(&bytes);
      EXPECT_EQ(status.code(), row == 3   ? Code::kInvalidArgument
                               : row == 4 ? Code::kResourceExhausted
                                          : Code::kOk);
    }
  }
}

TEST(RowStream, MayBeLeftAtAnyRow) {
  for (int taken : {0, 1, 50}) {
    std::vector<int64_t> wanted(100);
    std::iota(wanted.begin(), wanted.end(), 0);
    RowStream stream(Rows(100), wanted, 2, 16, 4);
    const uint8_t* bytes = nullptr;
    for (int i = 0; i < taken; ++i) ASSERT_TRUE(stream.Next(&bytes).ok());
  }
  RowStream nothing(Rows(100), {}, 2, 16, 4);
  EXPECT_EQ(nothing.left(), 0);
}

}  // namespace
}  // namespace cyxwiz::data
