// A range of a plain file. Internal to src/data.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "base/file.h"
#include "data/byte_source.h"
#include "data/fault.h"

namespace cyxwiz::data {

// When the file was last written to; Unix time.
inline int64_t ModifiedNs(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

class FileRange : public ByteReader {
 public:
  // As ByteSource::Open, without unpacking; the range is the whole file.
  Fault Open(const std::string& path);
  int64_t size() const { return end_ - at_; }
  // When the file was last written to, as it was when it was opened; Unix time.
  int64_t modified_ns() const { return modified_ns_; }

  // Makes the range `size` bytes from `offset` of the file on, which lie within it.
  void Narrow(int64_t offset, int64_t size) {
    at_ = offset;
    end_ = offset + size;
  }
  Fault Read(void* buffer, size_t size, size_t* got) override;
  bool CanHold(int64_t bytes) const override { return size() >= bytes; }

  // Reads anywhere in the file; fewer than `size` only at its end.
  Fault ReadAt(int64_t offset, void* buffer, size_t size, size_t* got) const;

 private:
  std::string path_;
  UniqueFd fd_;
  int64_t at_ = 0, end_ = 0, modified_ns_ = 0;
};

}  // namespace cyxwiz::data
