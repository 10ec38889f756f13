// SHA-256 (FIPS 180-4), so that the runner does without a library of cryptography: it guards
// against damage, not against people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cyxwiz::runner {

class Sha256 {
 public:
  void Update(const void* data, size_t size);
  // 64 hexadecimal digits; the hash is used up.
  std::string Finish();

 private:
  void AddBlock(const uint8_t* block);

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t rest_[64];
  uint64_t size_ = 0;
};

std::string Sha256Of(std::string_view data);

struct FileHash {
  int64_t size = 0;
  std::string sha256;
};
// Of a file's content, read piece by piece. NOT_FOUND, and others of ErrnoStatus.
Result<FileHash> HashFile(const std::string& path);

}  // namespace cyxwiz::runner
