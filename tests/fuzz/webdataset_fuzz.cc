#include "fuzz/fuzz.h"

// An archive of tar, labels of .cls and of .json.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz::fuzz;
  static const Folder folder;
  folder.Write("x.tar", TextOf(data, size));
  for (const char* parameters : {"", "&label=y"}) {
    const std::string text = "file://" + folder.path() + "/x.tar?size=4x3&channels=1" + parameters;
    cyxwiz::spec::Problems problems;
    auto uri = cyxwiz::spec::ParseDatasetUri(text, &problems);
    const cyxwiz::data::Roots roots({folder.path()});
    // Looking does not decode, so that only loading finds what is wrong in the images.
    auto info = cyxwiz::data::FileInspector(roots, true).Inspect(*uri, &problems);
    auto dataset = cyxwiz::data::Load(*uri, roots);
    if (!dataset.ok()) continue;
    Require(info.has_value(), "what loads is also found right when looked into");
    Require(info->description == dataset->info.description, "both say the same");
    CheckPart(dataset->train, dataset->info);
  }
  return 0;
}
