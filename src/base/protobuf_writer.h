// Messages in protobuf's wire format, for those who write a few and do without its library:
// https://protobuf.dev/programming-guides/encoding
//
//   message := (key value)*
//   key     := varint of field << 3 | type
//   type    := 0: varint   1: 8 bytes, little-endian   2: varint of a length, so many bytes
//              5: 4 bytes, little-endian
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cyxwiz {

// Writes one message, field after field.
class ProtobufWriter {
 public:
  void Int(int field, int64_t value);  // int32, int64, bool, enum
  void Float(int field, float value);
  void Double(int field, double value);
  void Bytes(int field, std::string_view value);  // string, bytes
  void Message(int field, const ProtobufWriter& value) { Bytes(field, value.bytes()); }

  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value);

  std::string bytes_;
};

}  // namespace cyxwiz
