// The files of a data set. Internal to src/data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/fault.h"
#include "data/idx.h"

namespace cyxwiz::data {

// Resolved.
struct Files {
  IdxFiles train;
  std::optional<IdxFiles> test;
  std::string path;                 // of other kinds than IDX: the file or the folder
  std::string labels;               // of an NPY
  std::vector<std::string> shards;  // of a WebDataset

  // All of them; of a folder of images the folder alone.
  std::vector<std::string> all() const {
    if (!shards.empty()) return shards;
    if (!path.empty() && labels.empty()) return {path};
    if (!path.empty()) return {path, labels};
    std::vector<std::string> files = {train.images, train.labels};
    if (test) files.insert(files.end(), {test->images, test->labels});
    return files;
  }
};

// *visible is false when the path that the URI names is not there or not allowed.
Fault Locate(const spec::DatasetUri& uri, const Roots& roots, Files* files, bool* visible);

}  // namespace cyxwiz::data
