#include "runner/event_file.h"

#include <gtest/gtest.h>

#include <cstring>

namespace cyxwiz::runner {
namespace {

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

size_t CountRecords(const std::string& bytes) {
  size_t records = 0;
  for (size_t place = 0; place < bytes.size(); ++records) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + place, sizeof length);
    place += 8 + 4 + length + 4;
  }
  return records;
}

// RFC 3720, B.4.
TEST(Crc32c, GivesTheNumbersOfItsDescription) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

// Recorded from the RecordWriter and the Event of TensorBoard 2.21.
TEST(EventFile, HasTheBytesThatTensorBoardWrites) {
  EventFile file(1700000000.5);
  file.AddEpoch(1700000001.25, {.epoch = 1,
                                .epochs = 3,
                                .step = 300,
                                .end_of_epoch = true,
                                .metrics = {{"learning_rate", 0.001}, {"train_loss", 1.5}}});
  EXPECT_EQ(
      file.bytes(),
      FromHex("1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110"
              "3700000000000000e7e8ca590900005040fc54d94110ac022a290a140a0d6c6561726e696e675f72"
              "617465156f12833a0a110a0a747261696e5f6c6f7373150000c03ffec3846a"));
  EXPECT_EQ(file.name(), "events.out.tfevents.1700000000.cyxwiz");
}

TEST(EventFile, GoesOnWhereAnotherEnded) {
  EventFile whole(1700000000.5), first(1700000000.5);
  for (EventFile* file : {&whole, &first}) file->Add(1700000001, 10, {{"train_loss", 1.5}});
  std::optional<EventFile> second = EventFile::From(first.bytes());
  ASSERT_TRUE(second);
  for (EventFile* file : {&whole, &*second}) file->Add(1700000002, 20, {{"train_loss", 0.5}});
  EXPECT_EQ(second->bytes(), whole.bytes());
  EXPECT_EQ(second->name(), whole.name());

  EXPECT_FALSE(EventFile::From(""));
  EXPECT_FALSE(EventFile::From(first.bytes().substr(0, 20)));
  EXPECT_FALSE(EventFile::From(std::string(200, '\xff')));
}

TEST(EventFile, LeavesEpochsOutOfAVeryLongTraining) {
  EventFile file(0);
  const int64_t epochs = 3 * EventFile::kMostEpochs + 1;
  for (int64_t epoch = 1; epoch <= epochs; ++epoch) {
    file.AddEpoch(0, {.epoch = epoch, .epochs = epochs, .step = epoch});
  }
  // Every fourth and the last, after the record that begins the file.
  EXPECT_EQ(CountRecords(file.bytes()), 1 + static_cast<size_t>(epochs / 4) + 1);
}

}  // namespace
}  // namespace cyxwiz::runner
