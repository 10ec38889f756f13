#include "data/files.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "data/roots.h"
#include "data/web_dataset.h"
#include "spec/shard_pattern.h"

namespace cyxwiz::data {
namespace {

using spec::DatasetUri;

// The file in `folder` that is called like "train-images-idx3-ubyte", or one of the other usual
// spellings; "" when there is none. Unpacked files go first: they load faster.
std::string FindIdxFile(const std::string& folder, const std::string& part, bool labels) {
  static constexpr const char* kImageKinds[] = {"idx3", "idx4", "idx2"};
  static constexpr const char* kLabelKinds[] = {"idx1"};
  std::span<const char* const> kinds = kImageKinds;
  if (labels) kinds = kLabelKinds;
  for (const char* end : {"", ".gz"}) {
    for (const char* separator : {"-", "."}) {
      for (const char* kind : kinds) {
        std::string path = folder + "/" + part + separator + kind + "-ubyte" + end;
        struct stat info;
        if (::lstat(path.c_str(), &info) == 0) return path;
      }
    }
  }
  return "";
}

std::string ListFolder(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (auto it = std::filesystem::directory_iterator(folder, error);
       !error && it != std::filesystem::directory_iterator() && names.size() < 1000;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return error.message();
  if (names.empty()) return "an empty folder";
  std::sort(names.begin(), names.end());
  std::string list;
  for (size_t i = 0; i < names.size() && i < 8; ++i)
    list += (i == 0 ? "'" : ", '") + Shown(names[i]) + "'";
  return names.size() > 8 ? list + ", ..." : list;
}

Fault LocateIdxFolder(const Roots& roots, const std::string& folder, Files* files) {
  struct stat info;
  if (::stat(folder.c_str(), &info) != 0) {
    return SystemFault("cannot inspect", folder, "a folder of IDX files", errno);
  }
  if (!S_ISDIR(info.st_mode)) {
    return Wrong(
        "'" + folder + "' is not a folder", "a folder of IDX files", "a file",
        "an images file needs ?labels=/path/of/its/labels; other files are told by the end "
        "of their name, such as .csv, or by format=csv");
  }
  // Resolves one file of the folder, which may be a link; *path stays empty when an optional one is
  // absent.
  auto locate = [&](const std::string& part, bool labels, bool needed, std::string* path) -> Fault {
    std::string found = FindIdxFile(folder, part, labels);
    if (!found.empty()) return ResolvePath(roots, found, path);
    if (!needed) return {};
    std::string name = part + (labels ? "-idx1-ubyte" : "-idx3-ubyte");
    return {Code::kNotFound, "folder '" + folder + "' has no " + part + " in IDX",
            name + " or " + name + ".gz", ListFolder(folder), ""};
  };
  RETURN_IF_FAULT(locate("train-images", false, true, &files->train.images));
  RETURN_IF_FAULT(locate("train-labels", true, true, &files->train.labels));
  IdxFiles test;
  RETURN_IF_FAULT(locate("t10k-images", false, false, &test.images));
  RETURN_IF_FAULT(locate("t10k-labels", true, !test.images.empty(), &test.labels));
  if (test.images.empty() && !test.labels.empty()) {
    RETURN_IF_FAULT(locate("t10k-images", false, true, &test.images));
  }
  if (!test.images.empty()) files->test = test;
  return {};
}

// resolve: of a path that the URI names.
template <typename Resolve>
Fault LocateShards(const Resolve& resolve, const std::string& path, const Roots& roots,
                   std::vector<std::string>* shards) {
  if (const auto paths = spec::ExpandShards(path)) {
    for (const std::string& one : *paths) {
      shards->emplace_back();
      RETURN_IF_FAULT(resolve(one, &shards->back()));
    }
    return {};
  }
  std::string real;
  RETURN_IF_FAULT(resolve(path, &real));
  struct stat info;
  if (::stat(real.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
    return ListShards(real, roots, shards);
  shards->push_back(std::move(real));
  return {};
}

}  // namespace

Fault Locate(const DatasetUri& uri, const Roots& roots, Files* files, bool* visible) {
  auto resolve = [&](const std::string& path, std::string* real) {
    Fault fault = ResolvePath(roots, path, real);
    if (fault.code == Code::kNotFound || fault.code == Code::kPermissionDenied) *visible = false;
    return fault;
  };
  *visible = true;
  switch (uri.kind) {
    case DatasetUri::Kind::kMock:
      return {};
    case DatasetUri::Kind::kTable:
    case DatasetUri::Kind::kText:
    case DatasetUri::Kind::kNpz:
    case DatasetUri::Kind::kSafetensors:
    case DatasetUri::Kind::kImageFolder:
    case DatasetUri::Kind::kPrepared:
      return resolve(uri.path, &files->path);
    case DatasetUri::Kind::kWebDataset:
      return LocateShards(resolve, uri.path, roots, &files->shards);
    case DatasetUri::Kind::kNpy:
      RETURN_IF_FAULT(resolve(uri.path, &files->path));
      return resolve(uri.labels_path, &files->labels);
    case DatasetUri::Kind::kIdxPair:
      RETURN_IF_FAULT(resolve(uri.path, &files->train.images));
      return resolve(uri.labels_path, &files->train.labels);
    case DatasetUri::Kind::kIdxFolder: {
      std::string folder;
      RETURN_IF_FAULT(resolve(uri.path, &folder));
      return LocateIdxFolder(roots, folder, files);
    }
  }
  return Wrong("the data set is of an unknown kind", "", "");
}

}  // namespace cyxwiz::data
