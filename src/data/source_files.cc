#include "data/source_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "base/text.h"
#include "data/file_range.h"
#include "data/files.h"
#include "data/images.h"

namespace cyxwiz::data {
namespace {

constexpr size_t kMostSourceFiles = 1000;

Status Stat(std::string name, const std::string& path, std::vector<SourceFile>* sources) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus("cannot inspect '" + path + "'", errno);
  sources->push_back({std::move(name), path, static_cast<int64_t>(info.st_size), ModifiedNs(info)});
  return OkStatus();
}

Result<std::vector<SourceFile>> FindImages(const std::string& folder, const Roots& roots) {
  std::vector<SourceFile> sources;
  std::vector<std::string> paths;
  Fault listed = ListImages(folder, roots, kMostSourceFiles, &paths);
  if (listed.code == Code::kResourceExhausted) return sources;
  if (!listed.ok()) return listed.ToStatus();
  for (const std::string& path : paths) {
    if (!path.starts_with(folder + "/")) return std::vector<SourceFile>();
    RETURN_IF_ERROR(Stat(path.substr(folder.size() + 1), path, &sources));
  }
  return sources;
}

}  // namespace

Result<std::vector<SourceFile>> FindSourceFiles(const spec::DatasetUri& uri, const Roots& roots) {
  using Kind = spec::DatasetUri::Kind;
  std::vector<SourceFile> sources;
  if (uri.kind == Kind::kMock) return sources;
  Files files;
  bool visible = true;
  if (Fault fault = Locate(uri, roots, &files, &visible); !fault.ok()) return fault.ToStatus();
  if (uri.kind == Kind::kImageFolder) return FindImages(files.path, roots);
  std::vector<std::string> paths = files.all();
  if (paths.size() > kMostSourceFiles) return sources;
  if (uri.kind == Kind::kPrepared) {
    const std::string folder = std::filesystem::path(files.path).parent_path().string();
    std::error_code error;
    for (const char* part : {"/train.safetensors", "/test.safetensors"}) {
      if (std::filesystem::exists(folder + part, error)) paths.push_back(folder + part);
    }
  }
  std::set<std::string> names;
  for (const std::string& path : paths) {
    std::string name = std::filesystem::path(path).filename().string();
    if (!names.insert(name).second) name = "labels/" + name;  // of another folder
    RETURN_IF_ERROR(Stat(std::move(name), path, &sources));
  }
  return sources;
}

std::string StateOf(const std::vector<SourceFile>& files) {
  std::string state;
  for (const SourceFile& file : files) {
    state += (state.empty() ? "" : " ") + std::to_string(file.size) + "@" +
             std::to_string(file.modified_ns);
  }
  return state;
}

std::vector<int64_t> SizesOf(const std::string& state) {
  std::vector<int64_t> sizes;
  for (size_t begin = 0; begin < state.size();) {
    const size_t at = state.find('@', begin), end = std::min(state.find(' ', begin), state.size());
    sizes.push_back(
        ParseInt(std::string_view(state).substr(begin, std::min(at, end) - begin)).value_or(-1));
    begin = end + 1;
  }
  return sizes;
}

int64_t BytesOf(const std::vector<SourceFile>& files) {
  int64_t bytes = 0;
  for (const SourceFile& file : files) bytes += file.size;
  return bytes;
}

Result<std::string> ManifestOf(const std::vector<SourceFile>& files, const HashOfFile& hash) {
  std::vector<spec::DatasetFile> list;
  for (const SourceFile& file : files) {
    ASSIGN_OR_RETURN(std::string sha256, hash(file.path));
    list.push_back({file.name, std::move(sha256), file.size});
  }
  RETURN_IF_ERROR(spec::CheckDatasetFiles(&list));
  return spec::ManifestText(list);
}

}  // namespace cyxwiz::data
