#include <cstring>

#include "fuzz/fuzz.h"

namespace {

// Gives each header the checksum that it should have: a mutation hardly ever finds it.
void RightenChecksums(std::string* tar) {
  constexpr size_t kBlock = 512, kChecksum = 148, kDigits = 8;
  for (size_t at = 0; at + kBlock <= tar->size(); at += kBlock) {
    char* block = tar->data() + at;
    if (std::memcmp(block + 257, "ustar", 5) != 0) continue;
    std::memset(block + kChecksum, ' ', kDigits);
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(block[i]);
    std::snprintf(block + kChecksum, kDigits, "%06o", sum);
  }
}

}  // namespace

// An archive of tar, labels of .cls, of .json and of .txt. Of an input of even length the checksums
// are made right.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  std::string tar(TextOf(data, size));
  if (size % 2 == 0) RightenChecksums(&tar);
  folder.Write("x.tar", tar);
  for (const char* parameters : {"?size=4x3&channels=1", "?label=y&test_split=0.5",
                                 "?label=.txt&label_type=numbers&normalize=true"})
    Read(folder, std::string("file://{}/x.tar") + parameters);
  return 0;
}
