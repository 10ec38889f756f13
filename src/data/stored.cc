#include "data/stored.h"

namespace cyxwiz::data {

StoredFolder::StoredFolder(const std::string& folder)
    : roots_({folder}), folder_(roots_.empty() ? folder : roots_.folders().front()) {}

spec::DatasetUri StoredFolder::UriOf(const spec::DatasetUri& uri) const {
  spec::DatasetUri local = uri;
  local.stored_as.clear();
  local.remote = {};
  local.path = uri.path.empty() ? folder_ : folder_ + "/" + uri.path;
  if (!uri.labels_path.empty()) local.labels_path = folder_ + "/" + uri.labels_path;
  return local;
}

std::string StoredFolder::Shown(std::string text) const {
  for (size_t at = text.find(folder_); at != text.npos; at = text.find(folder_, at)) {
    const size_t end = at + folder_.size();
    if (end < text.size() && text[end] == '/') {
      text.erase(at, folder_.size() + 1);
    } else {
      text.replace(at, folder_.size(), ".");
    }
  }
  return text;
}

}  // namespace cyxwiz::data
