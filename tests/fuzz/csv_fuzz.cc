#include "fuzz/fuzz.h"

// The first byte chooses how the table is read.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  static const char* const kParameters[] = {
      "",
      "?label=y&missing=mean&normalize=true",
      "?header=false&missing=zero&encoding=index&test_split=0.5",
      "?missing=skip&categorical=a&test_split=0.3&split=stratified",
      "?delimiter=;&label_type=classes&split_column=part",
      "?columns=a,b&label=y&label_type=numbers"};
  if (size < 1) return 0;
  folder.Write("table.csv", TextOf(data + 1, size - 1));
  Read(folder, std::string("file://{}/table.csv") + kParameters[data[0] % std::size(kParameters)]);
  return 0;
}
