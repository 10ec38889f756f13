// The files that a file:// URI names, for telling whether they are still what they were.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "spec/dataset_manifest.h"

namespace cyxwiz::data {

struct SourceFile {
  std::string name;  // as a stored data set with these files would have it
  std::string path;  // resolved
  int64_t size = 0;
  int64_t modified_ns = 0;  // Unix time
};

// None for mock data, for more than 1000 images or archives, which are too many, and for folders of
// images from which links lead elsewhere.
// Errors as of Roots::Resolve.
Result<std::vector<SourceFile>> FindSourceFiles(const spec::DatasetUri& uri, const Roots& roots);

// Sizes and times as one text: equal when no file was written to.
std::string StateOf(const std::vector<SourceFile>& files);
// Sizes alone, of what StateOf gives.
std::vector<int64_t> SizesOf(const std::string& state);

int64_t BytesOf(const std::vector<SourceFile>& files);

// The manifest of a stored data set with these files; hash: of a file, in hex.
using HashOfFile = std::function<Result<std::string>(const std::string& path)>;
Result<std::string> ManifestOf(const std::vector<SourceFile>& files, const HashOfFile& hash);

}  // namespace cyxwiz::data
