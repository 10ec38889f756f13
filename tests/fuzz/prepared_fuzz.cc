#include "fuzz/fuzz.h"

namespace {

using namespace std::string_literals;

const std::string kDescription = R"({"format":"cyxwiz-prepared","version":1,"source":"x",
"sample_shape":[2],"label_shape":[],"classes":2,"features":{"type":"float32"},"labels":"int64",
"parts":{"train":{"file":"train.safetensors","samples":2}},"details":{},"description":""})";

const std::string kHeader = R"({"features":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                            R"("labels":{"dtype":"I64","shape":[2],"data_offsets":[16,32]}})";
const std::string kPart = static_cast<char>(kHeader.size()) + std::string(7, '\0') + kHeader +
                          std::string(16, '\0') + "\1"s + std::string(15, '\0');

}  // namespace

// The input is the description when its first byte is even, else the part.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  if (size < 1) return 0;
  const std::string_view input = TextOf(data + 1, size - 1);
  const bool describes = data[0] % 2 == 0;
  folder.Write("dataset.json", describes ? input : std::string_view(kDescription));
  folder.Write("train.safetensors", describes ? std::string_view(kPart) : input);
  Read(folder, "file://{}/dataset.json");
  return 0;
}
