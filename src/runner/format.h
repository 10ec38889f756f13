// Lines of text from numbers.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace cyxwiz::runner {

// As printf, at most 511 bytes. Whole numbers go through ToLong, whatever int64_t is.
std::string Format(const char* format, auto... arguments) {
  char text[512];
  std::snprintf(text, sizeof text, format, arguments...);
  return text;
}

inline long long ToLong(int64_t n) { return n; }

}  // namespace cyxwiz::runner
