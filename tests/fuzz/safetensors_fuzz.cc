#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  folder.Write("a.safetensors", TextOf(data, size));
  Read(folder, "file://{}/a.safetensors?test_split=0.5&normalize=true");
  return 0;
}
