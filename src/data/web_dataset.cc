#include "data/web_dataset.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/resources.h"
#include "base/text.h"
#include "data/picture.h"
#include "data/roots.h"
#include "data/shard_pictures.h"
#include "data/tar.h"
#include "spec/shard_pattern.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kMaxSamples = int64_t{1} << 27;
constexpr int64_t kMaxLabel = 65535;
constexpr int64_t kMaxClsBytes = 64, kMaxJsonBytes = 1 << 20;

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
  Indexer(const std::string& json_label, ShardPictures* pictures)
      : json_label_(json_label), pictures_(*pictures) {}

  Fault Add(const std::string& shard) {
    shard_ = shard;
    RETURN_IF_FAULT(pictures_.AddShard(shard));
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

  std::vector<int64_t>& labels() { return labels_; }

 private:
  std::string Sample() const { return "sample '" + Shown(key_, 100) + "' of '" + shard_ + "'"; }

  Fault AddMember(const FileRange& file, const TarMember& member, const std::string& ending) {
    if (ending == "png" || ending == "jpg" || ending == "jpeg") {
      if (picture_) {
        return Wrong(Sample() + " has several images", "one .png, .jpg or .jpeg",
                     "'" + Shown(member.name, 100) + "' too");
      }
      if (member.size > kMaxPictureFileBytes) {
        return TooLarge("image '" + shard_ + "/" + Shown(member.name, 100) + "' is too large",
                        "at most " + FormatBytes(kMaxPictureFileBytes), FormatBytes(member.size));
      }
      picture_ = member;
      return {};
    }
    const bool json = !json_label_.empty();
    if (ending != (json ? "json" : "cls")) return {};
    if (label_) {
      return Wrong(Sample() + " has several labels", json ? "one .json" : "one .cls",
                   "'" + Shown(member.name, 100) + "' too");
    }
    std::string text;
    RETURN_IF_FAULT(ReadText(file, member, json ? kMaxJsonBytes : kMaxClsBytes, &text));
    return json ? TakeJson(member, text) : TakeNumber(member, text);
  }

  Fault ReadText(const FileRange& file, const TarMember& member, int64_t most, std::string* text) {
    if (member.size > most) {
      return TooLarge("'" + shard_ + "/" + Shown(member.name, 100) + "' is too large for a label",
                      "at most " + Count(most, "byte"), std::to_string(member.size));
    }
    text->resize(static_cast<size_t>(member.size));
    size_t got = 0;
    RETURN_IF_FAULT(file.ReadAt(member.offset, text->data(), text->size(), &got));
    text->resize(got);
    return {};
  }

  Fault NoLabel(const TarMember& member, const std::string& found) const {
    return Wrong("'" + shard_ + "/" + Shown(member.name, 100) + "' holds no label",
                 "a class: a whole number from 0 to " + std::to_string(kMaxLabel), found);
  }

  Fault TakeNumber(const TarMember& member, std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r\n";
    const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
    text = text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
    label_ = ParseInt(text);
    if (label_ && *label_ >= 0 && *label_ <= kMaxLabel) return {};
    return NoLabel(member, "'" + Shown(text) + "'");
  }

  Fault TakeJson(const TarMember& member, const std::string& text) {
    Result<Json> json = ParseJson(text, "it");
    if (!json.ok()) return NoLabel(member, Shown(json.status().message(), 200));
    const Json label = json->is_object() ? json->value(json_label_, Json()) : Json();
    if (label.is_null()) return NoLabel(member, "no member '" + Shown(json_label_, 100) + "'");
    if (!label.is_number_unsigned() || label.get<uint64_t>() > static_cast<uint64_t>(kMaxLabel))
      return NoLabel(member, Shown(label.dump(-1, ' ', true, Json::error_handler_t::replace), 60));
    label_ = label.get<int64_t>();
    return {};
  }

  // What was begun with the last key.
  Fault EndSample() {
    if (key_.empty()) return {};
    if (!picture_) {
      return Wrong(Sample() + " has no image", "a member that ends in .png, .jpg or .jpeg", "none");
    }
    if (!label_) {
      return Wrong(
          Sample() + " has no label",
          json_label_.empty() ? "a member that ends in .cls" : "a member that ends in .json",
          "none", json_label_.empty() ? "label=NAME takes it from a .json" : "");
    }
    if (pictures_.size() == kMaxSamples) {
      return TooLarge("the archives hold too many samples",
                      "at most " + std::to_string(kMaxSamples), "more by '" + shard_ + "'");
    }
    pictures_.Add(picture_->offset, picture_->size);
    labels_.push_back(*label_);
    key_.clear();
    picture_.reset();
    label_.reset();
    return {};
  }

  const std::string& json_label_;
  ShardPictures& pictures_;
  std::string shard_;
  // Of the sample in work; no key: there is none.
  std::string key_;
  std::optional<TarMember> picture_;
  std::optional<int64_t> label_;
  std::vector<int64_t> labels_;
};

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
  auto pictures = std::make_shared<ShardPictures>();
  Indexer indexer(uri.json_label, pictures.get());
  for (const std::string& shard : shards) RETURN_IF_FAULT(indexer.Add(shard));
  if (pictures->size() == 0) {
    return Wrong("'" + shards.front() + "'" + (shards.size() > 1 ? " and its like have" : " has") +
                     " no samples",
                 "members such as 0001.png and 0001.cls", "none");
  }
  std::string content, name;
  Picture first;
  RETURN_IF_FAULT(pictures->ReadFile(0, &content, &name));
  RETURN_IF_FAULT(InspectPicture(content, name, &first));
  const bool resizes = uri.images.height > 0;
  spec::DatasetInfo& info = raw->info;
  info.sample_shape = SampleShape(uri.images, first);
  std::vector<int64_t>& labels = indexer.labels();
  info.train_samples = pictures->size();
  info.classes = *std::max_element(labels.begin(), labels.end()) + 1;
  raw->format = "WebDataset, images " + ShapeText(info.sample_shape);
  raw->value_bytes = 1;
  raw->label_bytes = static_cast<int64_t>(sizeof(int64_t));
  info.can_stream = true;
  raw->stream_bytes = uri.stream.memory_bytes;
  if (raw->dataset == nullptr) return {};
  pictures->SetShape(info.sample_shape, resizes);
  Split& split = raw->dataset->train;
  split.samples = info.train_samples;
  split.labels = std::move(labels);
  split.files = std::move(pictures);
  split.rows.resize(static_cast<size_t>(split.samples));
  std::iota(split.rows.begin(), split.rows.end(), 0);
  return {};
}

}  // namespace cyxwiz::data
