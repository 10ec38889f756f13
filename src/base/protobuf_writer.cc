#include "base/protobuf_writer.h"

#include <bit>
#include <cstring>

namespace cyxwiz {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

uint64_t Key(int field, int type) { return static_cast<uint64_t>(field) << 3 | type; }

template <typename T>
std::string_view Memory(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

void ProtobufWriter::Varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

void ProtobufWriter::Int(int field, int64_t value) {
  Varint(Key(field, 0));
  Varint(static_cast<uint64_t>(value));
}

void ProtobufWriter::Float(int field, float value) {
  Varint(Key(field, 5));
  bytes_ += Memory(value);
}

void ProtobufWriter::Double(int field, double value) {
  Varint(Key(field, 1));
  bytes_ += Memory(value);
}

void ProtobufWriter::Bytes(int field, std::string_view value) {
  Varint(Key(field, 2));
  Varint(value.size());
  bytes_ += value;
}

}  // namespace cyxwiz
