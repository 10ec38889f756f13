// A short name of a file by its content, for what may be wrong once in a long time: which nodes keep
// it.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

namespace cyxwiz {

// The first eight bytes of the SHA-256 of a file, or of a list of files. 0: none.
using ContentKey = uint64_t;

// sha256: in hex; 0 when it is none.
inline ContentKey ContentKeyOf(std::string_view sha256) {
  ContentKey key = 0;
  if (sha256.size() != 64) return 0;
  auto [end, error] = std::from_chars(sha256.data(), sha256.data() + 16, key, 16);
  return error == std::errc() && end == sha256.data() + 16 ? key : 0;
}

}  // namespace cyxwiz
