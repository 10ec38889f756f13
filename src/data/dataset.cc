#include "data/dataset.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <map>
#include <mutex>
#include <new>
#include <span>
#include <stdexcept>

#include "data/csv.h"
#include "data/fault.h"
#include "data/idx.h"
#include "data/mock.h"
#include "data/roots.h"

namespace cyxwiz::data {
namespace {

using spec::DatasetInfo;
using spec::DatasetUri;

constexpr int64_t kCheckedCsvBytes = int64_t{64} << 20;
constexpr size_t kMostRemembered = 256;
// A file that changed this shortly ago may change again without a new time stamp (those of a file
// system are coarse), so what was read of it is not remembered.
constexpr int64_t kFreshSeconds = 2;

// The files of a data set, resolved.
struct Files {
  IdxFiles train;
  std::optional<IdxFiles> test;
  std::string csv;

  std::vector<std::string> all() const {
    if (!csv.empty()) return {csv};
    std::vector<std::string> files = {train.images, train.labels};
    if (test) files.insert(files.end(), {test->images, test->labels});
    return files;
  }
};

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
    return Wrong("'" + folder + "' is not a folder", "a folder of IDX files", "a file",
                 "an images file needs ?labels=/path/of/its/labels, a table's name must end in "
                 ".csv or .csv.gz");
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

// *visible is false when the path that the URI names is not there or not allowed.
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
    case DatasetUri::Kind::kCsv:
      return resolve(uri.path, &files->csv);
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

std::string DescribeSamples(const DatasetInfo& info) {
  std::string text = std::to_string(info.train_samples) + " train ";
  if (info.test_samples > 0) text += "and " + std::to_string(info.test_samples) + " test ";
  text += "samples, ";
  return text + (info.classes == 0
                     ? "regression"
                     : std::to_string(info.classes) + (info.classes == 1 ? " class" : " classes"));
}

// Checks that the parts fit each other, and describes the whole. `test` may be null.
Fault DescribeIdx(const Files& files, const IdxPart& train, const IdxPart* test,
                  DatasetInfo* info) {
  auto to_text = [](const std::vector<int64_t>& shape) {
    std::string text;
    for (int64_t dim : shape) {
      // A gray image's single channel goes without saying.
      if (text.empty() && dim == 1 && shape.size() == 3) continue;
      text += (text.empty() ? "" : "x") + std::to_string(dim);
    }
    return text;
  };
  if (test != nullptr && test->sample_shape != train.sample_shape) {
    return Wrong("the samples of '" + files.test->images + "' differ from those of '" +
                     files.train.images + "'",
                 to_text(train.sample_shape), to_text(test->sample_shape));
  }
  info->sample_shape = train.sample_shape;
  info->train_samples = train.samples;
  info->test_samples = test != nullptr ? test->samples : 0;
  info->classes = std::max(train.classes, test != nullptr ? test->classes : 0);
  int64_t sample_bytes = static_cast<int64_t>(sizeof(int64_t));  // the label
  int64_t pixels = 1;
  for (int64_t dim : train.sample_shape) pixels *= dim;
  sample_bytes += pixels;
  info->bytes_in_memory = (info->train_samples + info->test_samples) * sample_bytes;
  info->description = (train.sample_shape.size() == 1 ? "IDX rows of " : "IDX images ") +
                      to_text(train.sample_shape) + ", " + DescribeSamples(*info);
  return {};
}

// Reads the files: only what *info needs when `dataset` is null, everything otherwise.
Fault ReadFiles(const DatasetUri& uri, const Files& files, DatasetInfo* info, Dataset* dataset) {
  if (!files.csv.empty()) {
    CsvOptions options{uri.label_column, uri.has_header, kCheckedCsvBytes};
    CsvTable table;
    RETURN_IF_FAULT(ReadCsv(files.csv, options, &table, dataset ? &dataset->train : nullptr));
    info->sample_shape = {table.features};
    info->train_samples = table.samples;
    info->classes = table.classes;
    info->bytes_in_memory = table.samples * (table.features * 4 + (table.classes > 0 ? 8 : 4));
    info->description = "CSV, " + Count(table.features, "feature") + ", " + DescribeSamples(*info);
    return {};
  }
  IdxPart train, test;
  RETURN_IF_FAULT(dataset ? LoadIdx(files.train, &train, &dataset->train)
                          : InspectIdx(files.train, &train));
  if (files.test) {
    RETURN_IF_FAULT(dataset ? LoadIdx(*files.test, &test, &dataset->test)
                            : InspectIdx(*files.test, &test));
  }
  return DescribeIdx(files, train, files.test ? &test : nullptr, info);
}

// Runs `read`, with want of memory made a fault.
template <typename Read>
Fault WithinMemory(const DatasetUri& uri, Read read) {
  try {
    return read();
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  return TooLarge("the data set '" + Shown(uri.text, 300) + "' does not fit into memory", "", "",
                  "use a smaller data set or a machine with more memory");
}

// Names the files and their present state, so that a key never comes back when one has changed. ""
// when that is not certain.
std::string CacheKey(const DatasetUri& uri, const Files& files) {
  std::string key = std::to_string(static_cast<int>(uri.kind)) + '\0' + uri.label_column + '\0' +
                    (uri.has_header ? *uri.has_header ? "h" : "n" : "?");
  for (const std::string& path : files.all()) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return "";
    if (info.st_mtim.tv_sec + kFreshSeconds >= ::time(nullptr)) return "";
    key += '\0' + path;
    for (int64_t number :
         {static_cast<int64_t>(info.st_dev), static_cast<int64_t>(info.st_ino),
          static_cast<int64_t>(info.st_size), static_cast<int64_t>(info.st_mtim.tv_sec),
          static_cast<int64_t>(info.st_mtim.tv_nsec), static_cast<int64_t>(info.st_ctim.tv_sec),
          static_cast<int64_t>(info.st_ctim.tv_nsec)}) {
      key += ' ' + std::to_string(number);
    }
  }
  return key;
}

}  // namespace

// What was found out of data sets in a certain state.
class FileInspector::Cache {
 public:
  struct Answer {
    Fault fault;
    DatasetInfo info;
  };

  std::optional<Answer> Find(const std::string& key) {
    std::lock_guard lock(mutex_);
    auto it = entries_.find(key);
    if (it == entries_.end()) return std::nullopt;
    it->second.last_use = ++uses_;
    return it->second.answer;
  }

  void Put(const std::string& key, const Answer& answer) {
    std::lock_guard lock(mutex_);
    entries_[key] = {answer, ++uses_};
    if (entries_.size() <= kMostRemembered) return;
    entries_.erase(std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; }));
  }

  void CountRead() {
    std::lock_guard lock(mutex_);
    ++reads_;
  }
  int64_t reads() {
    std::lock_guard lock(mutex_);
    return reads_;
  }

 private:
  struct Entry {
    Answer answer;
    uint64_t last_use = 0;
  };
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
  uint64_t uses_ = 0;
  int64_t reads_ = 0;
};

FileInspector::FileInspector(Roots roots, bool must_see)
    : roots_(std::move(roots)), must_see_(must_see), cache_(std::make_unique<Cache>()) {}

FileInspector::~FileInspector() = default;

int64_t FileInspector::reads() const { return cache_->reads(); }

std::optional<DatasetInfo> FileInspector::Inspect(const DatasetUri& uri, spec::Problems* problems) {
  Cache::Answer answer;
  bool visible = true;
  answer.fault = WithinMemory(uri, [&]() -> Fault {
    if (uri.kind == DatasetUri::Kind::kMock) return InspectMock(uri, &answer.info);
    Files files;
    RETURN_IF_FAULT(Locate(uri, roots_, &files, &visible));
    std::string key = CacheKey(uri, files);
    if (!key.empty()) {
      if (std::optional<Cache::Answer> known = cache_->Find(key)) {
        answer.info = known->info;
        return known->fault;
      }
    }
    cache_->CountRead();
    Fault fault = ReadFiles(uri, files, &answer.info, nullptr);
    // Faults of the machine may pass; those of the content stay. The files may have changed while
    // they were read.
    bool lasting = fault.ok() || fault.code == Code::kInvalidArgument;
    if (lasting && !key.empty() && CacheKey(uri, files) == key)
      cache_->Put(key, {fault, answer.info});
    return fault;
  });
  if (answer.fault.ok()) return answer.info;
  if (visible || must_see_) problems->Add(answer.fault.ToProblem());
  return std::nullopt;
}

Result<Dataset> Load(const DatasetUri& uri, const Roots& roots) {
  Dataset dataset;
  Fault fault = WithinMemory(uri, [&]() -> Fault {
    if (uri.kind == DatasetUri::Kind::kMock) return LoadMock(uri, &dataset);
    Files files;
    bool visible = true;
    RETURN_IF_FAULT(Locate(uri, roots, &files, &visible));
    return ReadFiles(uri, files, &dataset.info, &dataset);
  });
  if (!fault.ok()) return fault.ToStatus();
  return dataset;
}

}  // namespace cyxwiz::data
