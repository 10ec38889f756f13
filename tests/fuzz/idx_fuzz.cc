#include "fuzz/fuzz.h"

// The first byte divides the input into images and labels, or takes it for images alone.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  if (size < 2) return 0;
  const size_t images = 1 + std::min<size_t>(data[0], size - 1);
  folder.Write("images", TextOf(data + 1, images - 1));
  folder.Write("labels", TextOf(data + images, size - images));
  Read(folder, "file://{}/images?labels={}/labels&normalize=true");
  return 0;
}
