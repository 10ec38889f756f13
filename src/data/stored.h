// A data set that was stored or fetched, whose files lie in a folder of this machine.
#pragma once

#include <string>

#include "data/dataset.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

class StoredFolder {
 public:
  explicit StoredFolder(const std::string& folder);

  // The URI of such a data set as one of files of this machine.
  spec::DatasetUri UriOf(const spec::DatasetUri& uri) const;
  // Allows the folder alone.
  const Roots& roots() const { return roots_; }
  // Without the folder before the files' names, which is nobody's business.
  std::string Shown(std::string text) const;

 private:
  const Roots roots_;
  const std::string folder_;  // resolved
};

}  // namespace cyxwiz::data
