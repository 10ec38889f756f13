#include "data/file_range.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace cyxwiz::data {

Fault FileRange::Open(const std::string& path) {
  path_ = path;
  at_ = 0;
  RETURN_IF_FAULT(OpenRegular(path, &fd_, &end_));
  struct stat info;
  if (::fstat(fd_.get(), &info) != 0) return SystemFault("cannot inspect", path, "a file", errno);
  modified_ns_ = ModifiedNs(info);
  return {};
}

Fault FileRange::Read(void* buffer, size_t size, size_t* got) {
  const size_t want =
      static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(size), end_ - at_));
  Fault fault = ReadAt(at_, buffer, want, got);
  at_ += static_cast<int64_t>(*got);
  return fault;
}

Fault FileRange::ReadAt(int64_t offset, void* buffer, size_t size, size_t* got) const {
  *got = 0;
  while (*got < size) {
    ssize_t n = ::pread(fd_.get(), static_cast<char*>(buffer) + *got,
                        std::min<size_t>(size - *got, 1 << 30),
                        static_cast<off_t>(offset + static_cast<int64_t>(*got)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemFault("cannot read", path_, "a readable file", errno);
    if (n == 0) break;
    *got += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace cyxwiz::data
