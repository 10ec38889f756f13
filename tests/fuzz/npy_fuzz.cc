#include "fuzz/fuzz.h"

// The input is the features when its first byte is even, else the labels.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  if (size < 1) return 0;
  using namespace std::string_literals;
  const std::string good =
      "\x93NUMPY\1\0\x3c\0{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}    \n\0\1"s;
  const std::string_view input = TextOf(data + 1, size - 1);
  folder.Write("x.npy", data[0] % 2 == 0 ? input : std::string_view(good));
  folder.Write("y.npy", data[0] % 2 == 0 ? std::string_view(good) : input);
  Read(folder, "file://{}/x.npy?labels={}/y.npy&normalize=true");
  return 0;
}
