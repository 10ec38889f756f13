#include "data/dataset.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>

#include "data/arrays.h"
#include "data/fault.h"
#include "data/file_rows.h"
#include "data/files.h"
#include "data/idx.h"
#include "data/images.h"
#include "data/mock.h"
#include "data/npy.h"
#include "data/prepare.h"
#include "data/prepared.h"
#include "data/raw.h"
#include "data/safetensors_arrays.h"
#include "data/stored.h"
#include "data/table.h"
#include "data/text.h"
#include "data/web_dataset.h"

namespace cyxwiz::data {
namespace {

using spec::DatasetInfo;
using spec::DatasetUri;

constexpr int64_t kCheckedTableBytes = int64_t{64} << 20;
constexpr size_t kMostRemembered = 256;
// A file that changed this shortly ago may change again without a new time stamp (those of a file
// system are coarse), so what was read of it is not remembered.
constexpr int64_t kFreshSeconds = 2;

// Checks that the parts fit each other.
Fault ReadIdx(const Files& files, int64_t stream_bytes, Raw* raw) {
  Dataset* dataset = raw->dataset;
  IdxPart train, test;
  RETURN_IF_FAULT(dataset ? LoadIdx(files.train, &train, &dataset->train)
                          : InspectIdx(files.train, &train));
  if (files.test) {
    RETURN_IF_FAULT(dataset ? LoadIdx(*files.test, &test, &dataset->test)
                            : InspectIdx(*files.test, &test));
  }
  auto to_text = [](std::vector<int64_t> shape) {
    // A gray image's single channel goes without saying.
    if (shape.size() == 3 && shape[0] == 1) shape.erase(shape.begin());
    return ShapeText(shape);
  };
  if (files.test && test.sample_shape != train.sample_shape) {
    return Wrong("the samples of '" + files.test->images + "' differ from those of '" +
                     files.train.images + "'",
                 to_text(train.sample_shape), to_text(test.sample_shape));
  }
  DatasetInfo& info = raw->info;
  info.sample_shape = train.sample_shape;
  info.train_samples = train.samples;
  info.test_samples = test.samples;
  info.classes = std::max(train.classes, test.classes);
  raw->format = (train.sample_shape.size() == 1 ? "IDX rows of " : "IDX images ") +
                to_text(train.sample_shape);
  info.can_stream = train.stays && (!files.test || test.stays);
  raw->value_bytes = 1;
  raw->label_bytes = static_cast<int64_t>(sizeof(int64_t));
  raw->stream_bytes = stream_bytes;
  return {};
}

Fault ReadTwoArrays(const DatasetUri& uri, const Files& files, Raw* raw) {
  ArraySource features, labels;
  switch (uri.kind) {
    case DatasetUri::Kind::kNpy:
      RETURN_IF_FAULT(OpenNpy(files.path, &features));
      RETURN_IF_FAULT(OpenNpy(files.labels, &labels));
      raw->format = "NPY";
      break;
    case DatasetUri::Kind::kNpz:
      RETURN_IF_FAULT(OpenNpz(files.path, uri.features_name, &features));
      RETURN_IF_FAULT(OpenNpz(files.path, uri.labels_name, &labels));
      raw->format = "NPZ";
      break;
    default:
      RETURN_IF_FAULT(OpenSafetensor(files.path, uri.features_name, &features));
      RETURN_IF_FAULT(OpenSafetensor(files.path, uri.labels_name, &labels));
      raw->format = "safetensors";
  }
  RETURN_IF_FAULT(ReadArrays(std::move(features), std::move(labels), uri.stream.memory_bytes, raw));
  raw->format += ", samples of " + ShapeText(raw->info.sample_shape);
  return {};
}

Fault ReadRaw(const DatasetUri& uri, const Roots& roots, const Files& files, Raw* raw) {
  switch (uri.kind) {
    case DatasetUri::Kind::kTable:
      return ReadTable(files.path, uri, kCheckedTableBytes, raw);
    case DatasetUri::Kind::kNpy:
    case DatasetUri::Kind::kNpz:
    case DatasetUri::Kind::kSafetensors:
      return ReadTwoArrays(uri, files, raw);
    case DatasetUri::Kind::kImageFolder:
      return ReadImageFolder(files.path, uri, roots, raw);
    case DatasetUri::Kind::kWebDataset:
      return ReadWebDataset(files.shards, uri, raw);
    case DatasetUri::Kind::kText:
      return ReadText(files.path, uri.sequence_length, raw);
    case DatasetUri::Kind::kPrepared:
      return ReadPrepared(files.path, uri.stream.memory_bytes, raw);
    default:
      return ReadIdx(files, uri.stream.memory_bytes, raw);
  }
}

// Reads the files: only what *info needs when `dataset` is null, everything otherwise.
Fault ReadFiles(const DatasetUri& uri, const Roots& roots, const Files& files,
                const Preparation* prepared, DatasetInfo* info, Dataset* dataset) {
  Raw raw;
  raw.dataset = dataset;
  RETURN_IF_FAULT(ReadRaw(uri, roots, files, &raw));
  RETURN_IF_FAULT(Prepare(uri, prepared, &raw));
  *info = raw.info;
  return {};
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
  // A folder's own times say nothing of the files in the folders below it, nor those of a
  // dataset.json of the files beside it.
  if (uri.kind == DatasetUri::Kind::kImageFolder || uri.kind == DatasetUri::Kind::kPrepared)
    return "";
  std::string key = uri.text;
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

Fault LoadFiles(const DatasetUri& uri, const Roots& roots, const Preparation* prepared,
                Dataset* dataset) {
  Files files;
  bool visible = true;
  RETURN_IF_FAULT(Locate(uri, roots, &files, &visible));
  return ReadFiles(uri, roots, files, prepared, &dataset->info, dataset);
}

Fault LoadWhole(const DatasetUri& uri, const Roots& roots, const Preparation* prepared,
                Dataset* dataset) {
  if (uri.delivered()) {
    const std::string name = uri.stored() ? uri.stored_as : spec::WithoutQuery(uri.remote.url);
    return {Code::kInvalidArgument, "the data set '" + name + "' has not been fetched",
            "a node that gets its files", "no folder of its files",
            "submit the job to a Central Server"};
  }
  return WithinMemory(uri, [&]() -> Fault {
    RETURN_IF_FAULT(uri.kind == DatasetUri::Kind::kMock ? LoadMock(uri, dataset)
                                                        : LoadFiles(uri, roots, prepared, dataset));
    return prepared != nullptr ? Adapt(uri, *prepared, dataset) : Fault();
  });
}

// What a fault says of a stored data set's files.
void ShowStored(const StoredFolder& folder, Fault* fault) {
  for (std::string* text : {&fault->message, &fault->expected, &fault->found, &fault->hint})
    *text = folder.Shown(*text);
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
    Fault fault = ReadFiles(uri, roots_, files, nullptr, &answer.info, nullptr);
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

std::optional<DatasetInfo> Loader::Inspect(const DatasetUri& uri, spec::Problems* problems) {
  dataset_.emplace().statistics = known_;
  const Preparation* prepared = preparation_ ? &*preparation_ : nullptr;
  Fault fault;
  if (uri.delivered() && !stored_folder_.empty()) {
    const StoredFolder folder(stored_folder_);
    fault = LoadWhole(folder.UriOf(uri), folder.roots(), prepared, &*dataset_);
    ShowStored(folder, &fault);
    for (Split* split : {&dataset_->train, &dataset_->test}) {
      if (split->files != nullptr)
        split->files = std::make_shared<StoredRows>(split->files, folder);
    }
  } else {
    fault = LoadWhole(uri, roots_, prepared, &*dataset_);
  }
  status_ = fault.ToStatus();
  if (fault.ok()) return dataset_->info;
  dataset_.reset();
  problems->Add(fault.ToProblem());
  return std::nullopt;
}

Result<Dataset> Loader::Take(const DatasetUri& uri, bool streams) {
  if (!dataset_) {
    spec::Problems ignored;
    if (!Inspect(uri, &ignored)) return status_;
  }
  Dataset taken = *std::move(dataset_);
  dataset_.reset();
  if (streams) return taken;
  Fault fault = WithinMemory(uri, [&] { return ReadIntoMemory(&taken); });
  if (!fault.ok()) return fault.ToStatus();
  return taken;
}

Result<Dataset> Load(const DatasetUri& uri, const Roots& roots) {
  Dataset dataset;
  Fault fault = LoadWhole(uri, roots, nullptr, &dataset);
  if (fault.ok()) fault = WithinMemory(uri, [&] { return ReadIntoMemory(&dataset); });
  if (!fault.ok()) return fault.ToStatus();
  return dataset;
}

}  // namespace cyxwiz::data
