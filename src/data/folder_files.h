// Files that lie in folders, each for itself. Internal to src/data.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "data/fault.h"
#include "data/sample_files.h"

namespace cyxwiz::data {

// Adding is one thread's.
class FolderFiles : public SampleFiles {
 public:
  // The folder that the next files are in.
  void AddFolder(const std::string& path) { folders_.push_back(path); }
  // name: of a file in the folder, or a path from the root; info: as stat has it. The file must not
  // change from now on. TooLarge beyond kMaxSampleFileBytes.
  Fault Add(const std::string& name, const struct stat& info);
  // Beside what each sample takes that lies in a file with others.
  int64_t name_bytes() const;
  std::string PathOf(int64_t number) const;

  int64_t size() const override { return static_cast<int64_t>(places_.size()); }
  Fault Read(int64_t number, std::string* content, std::string* name) const override;
  // Each file is one.
  int64_t ShardOf(int64_t number) const override { return number; }
  // A hash, since there may be millions.
  std::string State() const override;

 private:
  struct Place {
    int64_t modified_ns = 0;
    int64_t name = 0;  // where it begins in names_
    int32_t bytes = 0, folder = 0;
  };

  std::vector<std::string> folders_;
  std::string names_;  // each ends with a zero
  std::vector<Place> places_;
};

}  // namespace cyxwiz::data
