#include "data/web_dataset.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/resources.h"
#include "base/text.h"
#include "data/file_rows.h"
#include "data/npy_rows.h"
#include "data/picture.h"
#include "data/picture_rows.h"
#include "data/roots.h"
#include "data/shard_files.h"
#include "data/tar.h"
#include "spec/shard_pattern.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kMaxSamples = int64_t{1} << 27;
constexpr int64_t kMaxLabel = 65535;
constexpr int64_t kMaxTextBytes = 64, kMaxJsonBytes = 1 << 20;
constexpr size_t kMostShownEndings = 100;  // bytes of them

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return lower;
}

// "a/b.input.PNG" is of sample "a/b" and ends in "png". False: of none.
bool SplitName(const std::string& name, std::string_view* key, std::string* ending) {
  const size_t file = name.rfind('/') + 1;  // 0 when there is none
  const size_t dot = name.find('.', file);
  if (dot == name.npos || dot == file) return false;
  *key = std::string_view(name).substr(0, dot);
  *ending = Lower(std::string_view(name).substr(name.rfind('.') + 1));
  return true;
}

// Finds the samples of all shards.
class Indexer {
 public:
  Indexer(const spec::DatasetUri& uri, ShardFiles* files)
      : json_member_(uri.label_source.starts_with('.') ? "" : uri.label_source),
        ending_(!json_member_.empty()      ? "json"
                : uri.label_source.empty() ? "cls"
                                           : uri.label_source.substr(1)),
        labels_are_(uri.table.labels),
        files_(*files) {}

  Fault Add(const std::string& shard) {
    shard_ = shard;
    RETURN_IF_FAULT(files_.AddShard(shard));
    TarReader tar;
    RETURN_IF_FAULT(tar.Open(shard));
    TarMember member;
    for (bool found = true;;) {
      RETURN_IF_FAULT(tar.Next(&member, &found));
      if (!found) break;
      std::string_view key;
      std::string ending;
      if (!SplitName(member.name, &key, &ending)) continue;
      if (key != key_) {
        RETURN_IF_FAULT(EndSample());
        key_ = key;
      }
      RETURN_IF_FAULT(AddMember(tar.file(), member, ending));
    }
    return EndSample();
  }

  // Whether the samples are pictures, and not arrays.
  bool pictures() const { return pictures_.value_or(true); }

  // *classes: 0 when the labels are numbers.
  void GiveLabels(int64_t* classes, Split* split) const {
    *classes = are_classes_
                   ? static_cast<int64_t>(*std::max_element(labels_.begin(), labels_.end())) + 1
                   : 0;
    if (split == nullptr) return;
    if (are_classes_) {
      split->labels = std::vector<int64_t>(labels_.begin(), labels_.end());
    } else {
      split->labels = labels_;
    }
  }

 private:
  using Labels = spec::TableOptions::Labels;

  std::string Sample() const { return "sample '" + Shown(key_, 100) + "' of '" + shard_ + "'"; }
  std::string PathOf(const TarMember& member) const {
    return shard_ + "/" + Shown(member.name, 100);
  }

  Fault AddMember(const FileRange& file, const TarMember& member, const std::string& ending) {
    const bool picture = ending == "png" || ending == "jpg" || ending == "jpeg";
    if (ending == ending_) {
      if (label_) {
        return Wrong(Sample() + " has several labels", "one ." + ending_,
                     "'" + Shown(member.name, 100) + "' too");
      }
      return TakeLabel(file, member);
    }
    if (!picture && ending != "npy") {
      if (others_.size() < kMostShownEndings)
        others_ += (others_.empty() ? "." : ", .") + Shown(ending, 20);
      return {};
    }
    std::optional<TarMember>& input = picture ? picture_ : array_;
    if (input && picture) {
      return Wrong(Sample() + " has several images", "one .png, .jpg or .jpeg",
                   "'" + Shown(member.name, 100) + "' too");
    }
    several_arrays_ = several_arrays_ || input;
    RETURN_IF_FAULT(CheckSampleFileSize(PathOf(member), member.size));
    input = member;
    return {};
  }

  Fault TakeLabel(const FileRange& file, const TarMember& member) {
    const bool json = !json_member_.empty();
    const int64_t most = json ? kMaxJsonBytes : kMaxTextBytes;
    if (member.size > most) {
      return TooLarge("'" + PathOf(member) + "' is too large for a label",
                      "at most " + Count(most, "byte"), std::to_string(member.size));
    }
    std::string text(static_cast<size_t>(member.size), '\0');
    size_t got = 0;
    RETURN_IF_FAULT(file.ReadAt(member.offset, text.data(), text.size(), &got));
    text.resize(got);
    return json ? TakeJson(member, text) : TakeText(member, text);
  }

  // Whether labels must be classes: .cls has nothing else.
  bool only_classes() const {
    return labels_are_ == Labels::kClasses ||
           (labels_are_ == Labels::kInferred && ending_ == "cls");
  }

  Fault NoLabel(const TarMember& member, const std::string& found) const {
    return Wrong("'" + PathOf(member) + "' holds no label",
                 only_classes() ? "a class: a whole number from 0 to " + std::to_string(kMaxLabel)
                                : "a finite number",
                 found);
  }

  Fault TakeText(const TarMember& member, std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r\n";
    const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
    text = text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
    std::optional<double> number;
    if (!only_classes()) {
      number = ParseDouble(text);
    } else if (auto whole = ParseInt(text)) {
      number = static_cast<double>(*whole);
    }
    return TakeNumber(member, number, "'" + Shown(text) + "'");
  }

  Fault TakeJson(const TarMember& member, const std::string& text) {
    Result<Json> json = ParseJson(text, "it");
    if (!json.ok()) return NoLabel(member, Shown(json.status().message(), 200));
    const Json label = json->is_object() ? json->value(json_member_, Json()) : Json();
    if (label.is_null()) return NoLabel(member, "no member '" + Shown(json_member_, 100) + "'");
    std::optional<double> number;
    if (label.is_number() && (!only_classes() || label.is_number_integer()))
      number = label.get<double>();
    return TakeNumber(member, number,
                      Shown(label.dump(-1, ' ', true, Json::error_handler_t::replace), 60));
  }

  Fault TakeNumber(const TarMember& member, std::optional<double> number,
                   const std::string& found) {
    if (!number || !std::isfinite(static_cast<float>(*number))) return NoLabel(member, found);
    const bool is_class = *number >= 0 && *number <= kMaxLabel && *number == std::floor(*number);
    if (!is_class && only_classes()) return NoLabel(member, found);
    are_classes_ = are_classes_ && is_class && labels_are_ != Labels::kNumbers;
    label_ = static_cast<float>(*number);
    return {};
  }

  // What was begun with the last key.
  Fault EndSample() {
    if (key_.empty()) return {};
    const std::string others = others_.empty() ? "none" : "only " + others_;
    if (!picture_ && !array_) {
      return Wrong(Sample() + " has no image and no array",
                   "a member that ends in .png, .jpg, .jpeg or .npy", others,
                   "other kinds of samples are not read");
    }
    if (!label_) {
      return Wrong(Sample() + " has no label", "a member that ends in ." + ending_, others,
                   ending_ == "cls" ? "label=.ENDING takes the number in another member, "
                                      "label=NAME that in a .json"
                                    : "");
    }
    if (!picture_ && several_arrays_) {
      return Wrong(Sample() + " has several arrays", "one .npy", "more",
                   "write what belongs together into one array");
    }
    if (pictures_.value_or(picture_.has_value()) != picture_.has_value()) {
      return Wrong(Sample() + " is of another kind than those before",
                   pictures() ? "an image: .png, .jpg or .jpeg" : "an array: .npy",
                   pictures() ? "an array" : "an image");
    }
    if (files_.size() == kMaxSamples) {
      return TooLarge("the archives hold too many samples",
                      "at most " + std::to_string(kMaxSamples), "more by '" + shard_ + "'");
    }
    pictures_ = picture_.has_value();
    const TarMember& input = picture_ ? *picture_ : *array_;
    files_.Add(input.offset, input.size);
    labels_.push_back(*label_);
    key_.clear();
    others_.clear();
    picture_.reset();
    array_.reset();
    several_arrays_ = false;
    label_.reset();
    return {};
  }

  const std::string json_member_;  // empty: the label is no member of a .json
  const std::string ending_;       // of what the label is in
  const Labels labels_are_;
  ShardFiles& files_;
  std::string shard_;
  // Of the sample in work; no key: there is none.
  std::string key_, others_;
  std::optional<TarMember> picture_, array_;
  bool several_arrays_ = false;
  std::optional<float> label_;
  // Of all so far.
  std::optional<bool> pictures_;
  bool are_classes_ = true;
  std::vector<float> labels_;
};

// What the samples are, their rows, and whether they are floats.
struct Rows {
  std::shared_ptr<const RowReader> rows;
  std::vector<int64_t> shape;
  bool floats = false;
};

Fault OpenPictures(const std::shared_ptr<ShardFiles>& files, const spec::ImageOptions& options,
                   Rows* rows) {
  std::string content, name;
  Picture first;
  RETURN_IF_FAULT(files->Read(0, &content, &name));
  RETURN_IF_FAULT(InspectPicture(content, name, &first));
  rows->shape = SampleShape(options, first);
  rows->rows = std::make_shared<PictureRows>(files, rows->shape, options.height > 0);
  return {};
}

Fault OpenArrays(const std::shared_ptr<ShardFiles>& files, const spec::ImageOptions& options,
                 Rows* rows) {
  std::string content, name;
  NpyContent first;
  RETURN_IF_FAULT(files->Read(0, &content, &name));
  if (options.height > 0 || options.channels > 0) {
    return Wrong("size and channels are for images", "samples of .png, .jpg or .jpeg",
                 "'" + name + "'", "leave them out");
  }
  RETURN_IF_FAULT(InspectNpy(content, name, &first));
  rows->shape = first.shape;
  rows->floats = first.type != ElementType::kUint8;
  rows->rows = std::make_shared<NpyRows>(files, first);
  return {};
}

}  // namespace

Fault ListShards(const std::string& folder, const Roots& roots, std::vector<std::string>* shards) {
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.c_str()), &::closedir);
  if (!stream) return SystemFault("cannot list", folder, "a folder of .tar files", errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name[0] == '.' || !Lower(name).ends_with(".tar")) continue;
    if (names.size() == spec::kMaxShards) {
      return TooLarge("folder '" + folder + "' holds too many archives",
                      "at most " + std::to_string(spec::kMaxShards), "more");
    }
    names.push_back(name);
  }
  if (errno != 0) return SystemFault("cannot list", folder, "a folder of .tar files", errno);
  if (names.empty()) {
    return Wrong("folder '" + folder + "' has no archives", "files that end in .tar", "none");
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    std::string path = folder + "/" + name;
    struct stat info;
    // Only a link can leave a folder that is below the roots; opening follows none.
    if (::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode))
      RETURN_IF_FAULT(ResolvePath(roots, path, &path));
    shards->push_back(std::move(path));
  }
  return {};
}

Fault ReadWebDataset(const std::vector<std::string>& shards, const spec::DatasetUri& uri,
                     Raw* raw) {
  auto files = std::make_shared<ShardFiles>();
  Indexer indexer(uri, files.get());
  for (const std::string& shard : shards) RETURN_IF_FAULT(indexer.Add(shard));
  if (files->size() == 0) {
    return Wrong("'" + shards.front() + "'" + (shards.size() > 1 ? " and its like have" : " has") +
                     " no samples",
                 "members such as 0001.png and 0001.cls", "none");
  }
  Rows rows;
  RETURN_IF_FAULT(indexer.pictures() ? OpenPictures(files, uri.images, &rows)
                                     : OpenArrays(files, uri.images, &rows));
  Split* split = raw->dataset != nullptr ? &raw->dataset->train : nullptr;
  spec::DatasetInfo& info = raw->info;
  info.sample_shape = rows.shape;
  info.train_samples = files->size();
  info.can_stream = true;
  indexer.GiveLabels(&info.classes, split);
  raw->format = std::string("WebDataset, ") + (indexer.pictures() ? "images " : "arrays of ") +
                ShapeText(info.sample_shape);
  raw->value_bytes = rows.floats ? 4 : 1;
  raw->label_bytes = info.classes > 0 ? 8 : 4;
  raw->stream_bytes = uri.stream.memory_bytes;
  if (split == nullptr) return {};
  LeaveInFiles(std::move(rows.rows), info.train_samples, rows.floats, split);
  return {};
}

}  // namespace cyxwiz::data
