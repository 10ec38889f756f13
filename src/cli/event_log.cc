#include "cli/event_log.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/text.h"

namespace cyxwiz::cli {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Fields of one message, told to a visitor that reads those it knows; others are skipped.
template <typename Visit>
bool ReadMessage(std::string_view bytes, Visit visit) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                      static_cast<int>(bytes.size()));
  while (uint32_t tag = in.ReadTag()) {
    bool known = false;
    if (!visit(tag, &in, &known)) return false;
    if (!known && !WireFormatLite::SkipField(&in, tag)) return false;
  }
  return in.ConsumedEntireMessage();
}

constexpr uint32_t Tag(int field, WireFormatLite::WireType type) {
  return WireFormatLite::MakeTag(field, type);
}
constexpr uint32_t kBytes1 = Tag(1, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kBytes5 = Tag(5, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kDouble1 = Tag(1, WireFormatLite::WIRETYPE_FIXED64);
constexpr uint32_t kInt2 = Tag(2, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kFloat2 = Tag(2, WireFormatLite::WIRETYPE_FIXED32);

bool ReadBytes(CodedInputStream* in, std::string* bytes) {
  uint32_t size = 0;
  return in->ReadVarint32(&size) && in->ReadString(bytes, static_cast<int>(size));
}

double Shortest(float value) {
  std::array<char, 32> digits;
  auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return ParseDouble({digits.data(), static_cast<size_t>(end - digits.data())}).value_or(value);
}

bool ReadValue(std::string_view bytes, LoggedMetrics* metrics) {
  std::string name;
  uint32_t bits = 0;
  bool read = ReadMessage(bytes, [&](uint32_t tag, CodedInputStream* in, bool* known) {
    *known = tag == kBytes1 || tag == kFloat2;
    if (tag == kBytes1) return ReadBytes(in, &name);
    return tag != kFloat2 || in->ReadLittleEndian32(&bits);
  });
  metrics->values[name] = Shortest(std::bit_cast<float>(bits));
  return read;
}

bool ReadSummary(std::string_view bytes, LoggedMetrics* metrics) {
  return ReadMessage(bytes, [&](uint32_t tag, CodedInputStream* in, bool* known) {
    *known = tag == kBytes1;
    std::string value;
    return !*known || (ReadBytes(in, &value) && ReadValue(value, metrics));
  });
}

bool ReadEvent(std::string_view bytes, LoggedMetrics* metrics) {
  return ReadMessage(bytes, [&](uint32_t tag, CodedInputStream* in, bool* known) {
    *known = tag == kDouble1 || tag == kInt2 || tag == kBytes5;
    uint64_t number = 0;
    std::string summary;
    if (tag == kDouble1) {
      if (!in->ReadLittleEndian64(&number)) return false;
      const double ms = std::bit_cast<double>(number) * 1000;
      if (!(ms >= 0 && ms < 1e15)) return false;
      metrics->time_ms = std::llround(ms);
    } else if (tag == kInt2) {
      if (!in->ReadVarint64(&number)) return false;
      metrics->step = static_cast<int64_t>(number);
    } else if (tag == kBytes5) {
      return ReadBytes(in, &summary) && ReadSummary(summary, metrics);
    }
    return true;
  });
}

}  // namespace

bool IsEventFile(std::string_view name) { return name.rfind("events.out.tfevents.", 0) == 0; }

Result<std::vector<LoggedMetrics>> ReadEventFile(std::string_view bytes) {
  constexpr size_t kBefore = 12, kAfter = 4;           // length and its check, check of the data
  constexpr uint64_t kMostBytes = uint64_t{16} << 20;  // of one event
  std::vector<LoggedMetrics> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t size = 0;
    const size_t left = bytes.size() - at;
    if (left >= kBefore + kAfter) std::memcpy(&size, bytes.data() + at, sizeof size);
    LoggedMetrics event;
    if (left < kBefore + kAfter || size > std::min<uint64_t>(left - kBefore - kAfter, kMostBytes) ||
        !ReadEvent(bytes.substr(at + kBefore, size), &event)) {
      return DataLoss("the event file is damaged at byte " + std::to_string(at));
    }
    if (!event.values.empty()) events.push_back(std::move(event));
    at += kBefore + size + kAfter;
  }
  return events;
}

}  // namespace cyxwiz::cli
