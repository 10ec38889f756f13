// Text, a byte a token: windows of it, each byte's label the byte after it. Internal to src/data.
//
// Window i holds the bytes from i * sequence_length on; what is left at the end and fills no window
// is not used. A file may be gzip.
//
// Limits: 1 GiB of text.
#pragma once

#include <string>

#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

inline constexpr int64_t kMaxTextBytes = int64_t{1} << 30;
inline constexpr int64_t kTextClasses = 256;

// Reads the file at `path`, which is resolved.
Fault ReadText(const std::string& path, int64_t sequence_length, Raw* raw);

}  // namespace cyxwiz::data
