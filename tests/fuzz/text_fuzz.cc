#include "fuzz/fuzz.h"

// Plain or gzip, as its first bytes say.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  folder.Write("corpus.txt", TextOf(data, size));
  Read(folder, "file://{}/corpus.txt?sequence_length=4&test_split=0.3");
  return 0;
}
