#include "spec/dataset_manifest.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/json.h"
#include "base/resources.h"
#include "base/text.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

constexpr char kFormat[] = "cyxwiz-dataset";
constexpr size_t kMaxPartBytes = 255;

std::string Quoted(std::string_view path) {
  return "'" + Printable(path.substr(0, 200)) + (path.size() > 200 ? "..." : "") + "'";
}

// Of ordered files: a path that another one goes on from.
Status CheckFolders(const std::vector<DatasetFile>& files) {
  std::unordered_set<std::string_view> paths;
  for (const DatasetFile& file : files) paths.insert(file.path);
  for (const DatasetFile& file : files) {
    const std::string_view path = file.path;
    for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
      if (paths.count(path.substr(0, slash)) == 0) continue;
      return InvalidArgument("the data set has " + Quoted(path.substr(0, slash)) +
                             " as a file and as the folder of " + Quoted(path));
    }
  }
  return OkStatus();
}

}  // namespace

bool IsSha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool IsDatasetPath(std::string_view path) {
  if (path.empty() || path.size() > kMaxDatasetPathBytes || !IsPlainText(path) ||
      path.find('\\') != path.npos) {
    return false;
  }
  size_t parts = 0;
  for (std::string_view rest = path;;) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (part.empty() || part.size() > kMaxPartBytes || part[0] == '.') return false;
    if (++parts > kMaxDatasetPathParts) return false;
    if (part.size() == rest.size()) return true;
    rest.remove_prefix(part.size() + 1);
  }
}

Status CheckDatasetFiles(std::vector<DatasetFile>* files) {
  if (files->empty()) return InvalidArgument("the data set has no files", "give it at least one");
  if (files->size() > kMaxDatasetFiles) {
    return InvalidArgument("the data set has too many files: expected at most " +
                               std::to_string(kMaxDatasetFiles) + ", found " +
                               std::to_string(files->size()),
                           "pack them, such as into one .npz or .safetensors");
  }
  int64_t bytes = 0;
  for (const DatasetFile& file : *files) {
    if (!IsDatasetPath(file.path)) {
      return InvalidArgument(
          "a file's path is not usable: expected names with '/' between them, at most " +
              std::to_string(kMaxDatasetPathParts) + " of at most " +
              std::to_string(kMaxPartBytes) +
              " bytes, without control characters and backslashes, none beginning with a dot; "
              "found " +
              Quoted(file.path),
          "rename the file, or leave it out");
    }
    if (!IsSha256(file.sha256)) {
      return InvalidArgument("the SHA-256 of " + Quoted(file.path) +
                             " is none: expected 64 digits of 0-9 and a-f, found " +
                             Quoted(file.sha256));
    }
    if (file.size < 0 || file.size > kMaxDatasetBytes - bytes) {
      return InvalidArgument("the size of " + Quoted(file.path) +
                             " is out of range: expected at most " + FormatBytes(kMaxDatasetBytes) +
                             " for all files, found " + std::to_string(file.size) + " bytes");
    }
    bytes += file.size;
  }
  std::sort(files->begin(), files->end(),
            [](const DatasetFile& a, const DatasetFile& b) { return a.path < b.path; });
  auto twice = std::adjacent_find(
      files->begin(), files->end(),
      [](const DatasetFile& a, const DatasetFile& b) { return a.path == b.path; });
  if (twice != files->end())
    return InvalidArgument("the data set has the file " + Quoted(twice->path) + " twice");
  return CheckFolders(*files);
}

std::string ManifestText(const std::vector<DatasetFile>& files) {
  Json list = Json::array();
  for (const DatasetFile& file : files) {
    list.push_back({{"path", file.path}, {"sha256", file.sha256}, {"size", file.size}});
  }
  return Json{{"format", kFormat}, {"version", 1}, {"files", std::move(list)}}.dump();
}

Result<std::vector<DatasetFile>> ParseManifest(std::string_view text) {
  auto refuse = [](const std::string& what) {
    return DataLoss("the manifest of the data set cannot be used: " + what);
  };
  Result<Json> json = ParseJson(text, "manifest");
  if (!json.ok()) return refuse(json.status().message());
  if (!json->is_object() || json->value("format", Json()) != kFormat ||
      json->value("version", Json()) != 1 || !json->contains("files") ||
      !(*json)["files"].is_array()) {
    return refuse(R"(expected "format": "cyxwiz-dataset", "version": 1 and "files")");
  }
  std::vector<DatasetFile> files;
  for (const Json& one : (*json)["files"]) {
    if (!one.is_object() || !one.value("path", Json()).is_string() ||
        !one.value("sha256", Json()).is_string() || !one.value("size", Json()).is_number_integer())
      return refuse("a file of it has no path, sha256 or size");
    files.push_back({one["path"], one["sha256"], one["size"]});
  }
  Status checked = CheckDatasetFiles(&files);
  if (!checked.ok()) return refuse(checked.message());
  return files;
}

int64_t BytesOf(const std::vector<DatasetFile>& files) {
  int64_t bytes = 0;
  for (const DatasetFile& file : files) bytes += file.size;
  return bytes;
}

}  // namespace cyxwiz::spec
