// Whether an attempt's files will find room on the disk of the node's data folder.
#pragma once

#include <sys/statvfs.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>

#include "base/resources.h"
#include "base/status.h"

namespace cyxwiz::node {

// Bytes that this process may still write to the disk of `folder`.
inline Result<int64_t> FreeDiskBytes(const std::string& folder) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) {
    return ErrnoStatus("cannot look at the disk of '" + folder + "'", errno);
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(disk.f_bavail, disk.f_frsize, &bytes)) {
    return std::numeric_limits<int64_t>::max();
  }
  return bytes;
}

// Pure. RESOURCE_EXHAUSTED, with the numbers, unless `free` holds the result of the attempt, those
// of the attempts that are here and have still to write theirs, and the minimum.
inline Status CheckDiskSpace(const std::string& folder, int64_t free, int64_t minimum,
                             int64_t promised, int64_t result) {
  if (free - promised >= minimum && free - promised - minimum >= result) return OkStatus();
  std::string text = "the disk of '" + folder + "' has " + FormatBytes(free) + " free: expected " +
                     FormatBytes(minimum) + " (min_free_disk_bytes)";
  if (result > 0) text += ", " + FormatBytes(result) + " for the attempt's result";
  if (promised > 0) text += ", " + FormatBytes(promised) + " for those of attempts that run here";
  return ResourceExhausted(text, "make room there; the node takes work again by itself");
}

}  // namespace cyxwiz::node
