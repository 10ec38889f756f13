#include "fuzz/fuzz.h"

// PNG or JPEG, as its first bytes say.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  static const bool made = std::filesystem::create_directories(folder.path() + "/set/a");
  Require(made, "a folder of its own");
  folder.Write("set/a/1.png", TextOf(data, size));
  Read(folder, "file://{}/set?format=images&channels=3&size=8x5");
  return 0;
}
