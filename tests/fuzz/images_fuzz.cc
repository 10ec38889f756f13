#include "fuzz/fuzz.h"

// PNG or JPEG, as its first bytes say.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  static const bool made = std::filesystem::create_directories(folder.path() + "/set/a");
  Require(made, "a folder of its own");
  folder.Write("set/a/1.png", TextOf(data, size));
  const std::string uri = "file://{}/set?format=images&channels=3&size=8x5";
  cyxwiz::spec::Problems problems;
  // Looking into a folder does not decode, so that only loading finds most of what is wrong.
  std::string text = uri;
  text.replace(text.find("{}"), 2, folder.path());
  auto parsed = cyxwiz::spec::ParseDatasetUri(text, &problems);
  auto dataset = cyxwiz::data::Load(*parsed, cyxwiz::data::Roots({folder.path()}));
  if (dataset.ok()) CheckPart(dataset->train, dataset->info);
  return 0;
}
