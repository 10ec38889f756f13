#include "runner/event_file.h"

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/protobuf_writer.h"

namespace cyxwiz::runner {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t rest = i;
    for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ (rest & 1 ? 0x82f63b78 : 0);
    table[i] = rest;
  }
  return table;
}();

template <typename T>
std::string Number(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

std::string MaskedCrc(std::string_view data) {
  const uint32_t crc = Crc32c(data);
  return Number<uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8);
}

}  // namespace

uint32_t Crc32c(std::string_view data) {
  uint32_t crc = 0xffffffff;
  for (char byte : data) {
    crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  }
  return ~crc;
}

EventFile::EventFile(double unix_seconds) : begin_(static_cast<int64_t>(unix_seconds)) {
  ProtobufWriter event;
  event.Double(1, unix_seconds);
  event.Bytes(3, "brain.Event:2");
  AddRecord(event.bytes());
}

std::optional<EventFile> EventFile::From(std::string bytes) {
  constexpr size_t kTimeAt = 8 + 4 + 1;  // in the first record
  if (bytes.size() < kTimeAt + sizeof(double)) return std::nullopt;
  double unix_seconds = 0;
  std::memcpy(&unix_seconds, bytes.data() + kTimeAt, sizeof unix_seconds);
  // What is damaged may be any number, and its seconds none of an int64_t.
  if (!(std::abs(unix_seconds) < 1e15)) return std::nullopt;
  EventFile file(unix_seconds);
  if (!bytes.starts_with(file.bytes_)) return std::nullopt;
  file.bytes_ = std::move(bytes);
  return file;
}

void EventFile::AddEpoch(double unix_seconds, const Progress& progress) {
  const int64_t every = (progress.epochs + kMostEpochs - 1) / kMostEpochs;
  if (progress.epoch % every != 0 && progress.epoch != progress.epochs) return;
  Add(unix_seconds, progress.step, progress.metrics);
}

void EventFile::Add(double unix_seconds, int64_t step, const Metrics& metrics) {
  ProtobufWriter summary;
  for (const auto& [name, number] : metrics) {
    ProtobufWriter value;
    value.Bytes(1, name);
    value.Float(2, static_cast<float>(number));
    summary.Message(1, value);
  }
  ProtobufWriter event;
  event.Double(1, unix_seconds);
  event.Int(2, step);
  event.Message(5, summary);
  AddRecord(event.bytes());
}

std::string EventFile::name() const {
  return "events.out.tfevents." + std::to_string(begin_) + ".cyxwiz";
}

void EventFile::AddRecord(std::string_view data) {
  const std::string length = Number<uint64_t>(data.size());
  bytes_ += length;
  bytes_ += MaskedCrc(length);
  bytes_ += data;
  bytes_ += MaskedCrc(data);
}

}  // namespace cyxwiz::runner
