// That it reads what the runner writes is tested in tests/integration.
#include "cli/event_log.h"

#include <gtest/gtest.h>

#include "base/protobuf_writer.h"

namespace cyxwiz::cli {
namespace {

std::string Record(const std::string& data) {
  std::string record(8, '\0');
  for (size_t i = 0; i < 8; ++i) record[i] = static_cast<char>(data.size() >> (8 * i) & 0xff);
  return record + "crc1" + data + "crc2";
}

std::string Event(double seconds, int64_t step, const std::string& name, float number) {
  ProtobufWriter value, summary, event;
  value.Bytes(1, name);
  value.Float(2, number);
  value.Bytes(9, "not ours");
  summary.Message(1, value);
  event.Double(1, seconds);
  event.Int(2, step);
  event.Message(5, summary);
  return Record(event.bytes());
}

std::string Version() {
  ProtobufWriter event;
  event.Double(1, 1);
  event.Bytes(3, "brain.Event:2");
  return Record(event.bytes());
}

TEST(EventLog, ReadsMetricsWithTheirSteps) {
  auto events = ReadEventFile(Version() + Event(1700000000.25, 300, "train_loss", 0.1f) +
                              Event(1700000001, 600, "train_loss", 1e-8f));
  ASSERT_TRUE(events.ok()) << events.status();
  ASSERT_EQ(events->size(), 2u);
  EXPECT_EQ((*events)[0].time_ms, 1700000000250);
  EXPECT_EQ((*events)[0].step, 300);
  EXPECT_EQ((*events)[0].values.at("train_loss"), 0.1) << "not 0.10000000149";
  EXPECT_EQ((*events)[1].values.at("train_loss"), 1e-8);
}

TEST(EventLog, SaysWhereAFileIsDamaged) {
  const std::string file = Version() + Event(1, 2, "loss", 3);
  for (size_t size = 1; size < file.size(); ++size) {
    auto events = ReadEventFile(std::string_view(file).substr(0, size));
    if (size == Version().size()) {
      EXPECT_TRUE(events.ok());
    } else {
      EXPECT_EQ(events.status().code(), Code::kDataLoss) << size;
    }
  }
  std::string huge = file;
  huge[Version().size() + 7] = '\x7f';
  EXPECT_NE(ReadEventFile(huge).status().message().find("byte " + std::to_string(Version().size())),
            std::string::npos);
  for (size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0xff);
    (void)ReadEventFile(damaged);  // must end, whatever it says
  }
}

}  // namespace
}  // namespace cyxwiz::cli
