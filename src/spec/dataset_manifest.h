// What a stored data set consists of: its files, by their content. The manifest is a file too, and
// its SHA-256 names the content of a data set:
//
//   manifest := {"format": "cyxwiz-dataset", "version": 1,
//                "files": [{"path": "train/cats/1.png", "sha256": "<hex>", "size": 1234}, ...]}
//
// without blanks, members in the order of their names, files in that of their paths, so that equal
// contents have equal manifests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cyxwiz::spec {

struct DatasetFile {
  std::string path;    // within the data set, see IsDatasetPath
  std::string sha256;  // 64 digits, lower case
  int64_t size = 0;    // bytes

  bool operator==(const DatasetFile&) const = default;
};

inline constexpr size_t kMaxDatasetFiles = 100'000;
inline constexpr size_t kMaxDatasetPathBytes = 1024;
inline constexpr size_t kMaxDatasetPathParts = 16;
inline constexpr int64_t kMaxDatasetBytes = int64_t{1} << 50;
inline constexpr size_t kMaxManifestBytes = 64 << 20;

// 64 digits, lower case.
bool IsSha256(std::string_view text);

// Whether a path can be that of a file in a data set: names with '/' between them, each of 1 to 255
// bytes of UTF-8 without control characters and backslashes that does not begin with a dot. So it
// leads nowhere else.
bool IsDatasetPath(std::string_view path);

// Brings the files into order and checks them: INVALID_ARGUMENT, naming the file, for a path that
// is none, is there twice or is also a folder's, a hash that is none, a size out of range, and too
// many files or none.
Status CheckDatasetFiles(std::vector<DatasetFile>* files);

// Of files that were checked.
std::string ManifestText(const std::vector<DatasetFile>& files);

// DATA_LOSS when it is no manifest.
Result<std::vector<DatasetFile>> ParseManifest(std::string_view text);

// Of all files.
int64_t BytesOf(const std::vector<DatasetFile>& files);

}  // namespace cyxwiz::spec
