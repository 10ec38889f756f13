// A folder for a while.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <utility>

#include "base/status.h"

namespace cyxwiz::cli {

// Goes with what is in it.
class ScratchFolder {
 public:
  ScratchFolder() = default;
  ScratchFolder(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  // Makes it in `parent`; its name is `prefix` and six letters. trouble: begins what is said when
  // that fails.
  Status Make(const std::string& parent, const std::string& prefix, const std::string& trouble) {
    std::string pattern = parent + "/" + prefix + "XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) return ErrnoStatus(trouble, errno);
    path_ = std::move(pattern);
    return OkStatus();
  }
  Status MakeTemporary(const std::string& prefix) {
    return Make(std::filesystem::temp_directory_path().string(), prefix,
                "cannot make a temporary folder");
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace cyxwiz::cli
