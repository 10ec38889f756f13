#include "control/fields.h"

#include <cstdio>
#include <cstring>

namespace cyxwiz::control {
namespace {

// What a hash of a session begins with; a session does not.
constexpr char kHashed = '\1';

}  // namespace

uint64_t Hash(std::string_view text) {
  // Eight bytes at a time: multiply, and mix the upper half into the lower (as wyhash and others).
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
  auto mix = [](uint64_t state, uint64_t word) {
    const auto product = static_cast<unsigned __int128>(state ^ word) * kOdd;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  uint64_t state = mix(kOdd, text.size() + 1);
  while (!text.empty()) {
    char bytes[8] = {};
    const size_t size = std::min<size_t>(text.size(), 8);
    std::memcpy(bytes, text.data(), size);
    uint64_t word = 0;
    std::memcpy(&word, bytes, 8);
    state = mix(state, word) + size;
    text.remove_prefix(size);
  }
  return mix(state, kOdd >> 1);
}

void SessionField::WriteTo(BinaryWriter* out) const {
  if (session->empty() || session->front() == kHashed) return out->Text(*session);
  char text[24];
  const int size = std::snprintf(text, sizeof text, "%c%016llx", kHashed,
                                 static_cast<unsigned long long>(Hash(*session)));
  out->Text(std::string_view(text, static_cast<size_t>(size)));
}

void SessionField::ReadFrom(BinaryReader* in) { *session = in->Text(); }

}  // namespace cyxwiz::control
