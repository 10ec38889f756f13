#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  folder.Write("a.npz", TextOf(data, size));
  Read(folder, "file://{}/a.npz?test_split=0.5");
  return 0;
}
