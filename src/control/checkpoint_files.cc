#include "control/checkpoint_files.h"

#include <algorithm>

namespace cyxwiz::control {

void CheckpointFiles::Add(const Checkpoint& checkpoint) {
  for (const Artifact& file : checkpoint.files) uses_[file.sha256]++;
}

void CheckpointFiles::Drop(const Checkpoint& checkpoint) {
  for (const Artifact& file : checkpoint.files) {
    uses_[file.sha256]--;
    dropped_.push_back(file.sha256);
  }
}

std::vector<std::string> CheckpointFiles::TakeUnused() {
  std::vector<std::string> unused;
  for (std::string& file : dropped_) {
    auto found = uses_.find(file);
    if (found == uses_.end() || found->second > 0) continue;
    uses_.erase(found);
    unused.push_back(std::move(file));
  }
  dropped_.clear();
  return unused;
}

std::vector<std::string> CheckpointFiles::All() const {
  std::vector<std::string> files;
  for (const auto& [sha256, uses] : uses_) files.push_back(sha256);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace cyxwiz::control
