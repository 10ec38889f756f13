#include "base/protobuf_writer.h"

#include <gtest/gtest.h>

namespace cyxwiz {
namespace {

// The examples of the format's own description, and the edges of each type.
TEST(ProtobufWriter, WritesWhatTheFormatSays) {
  ProtobufWriter message;
  message.Int(1, 150);
  EXPECT_EQ(message.bytes(), "\x08\x96\x01");
  message.Bytes(2, "testing");
  EXPECT_EQ(message.bytes(), "\x08\x96\x01\x12\x07testing");

  ProtobufWriter outer;
  outer.Message(3, message);
  EXPECT_EQ(outer.bytes(), std::string("\x1a\x0c") + message.bytes());
}

TEST(ProtobufWriter, WritesNumbersOfEverySize) {
  ProtobufWriter message;
  message.Int(1, 0);
  message.Int(16, -1);  // ten bytes, as protobuf writes a negative int64; a key of two
  message.Float(2, 1);
  message.Double(3, -2);
  std::string expected("\x08\x00\x80\x01", 4);
  expected += std::string(9, '\xff') + '\x01';
  expected += std::string("\x15\x00\x00\x80\x3f", 5);
  expected += std::string("\x19\x00\x00\x00\x00\x00\x00\x00\xc0", 9);
  EXPECT_EQ(message.bytes(), expected);
}

}  // namespace
}  // namespace cyxwiz
