#include "data/shard_files.h"

#include <algorithm>
#include <string_view>

namespace cyxwiz::data {
namespace {

// Archives that are open at a time.
constexpr size_t kMostOpen = 32;
// In a header of tar, before the content.
constexpr int64_t kHeaderBytes = 512;
constexpr size_t kNameBytes = 100;

}  // namespace

Fault ShardFiles::AddShard(const std::string& path) {
  FileRange file;
  RETURN_IF_FAULT(file.Open(path));
  shards_.push_back({path, file.size(), file.modified_ns()});
  return {};
}

std::string ShardFiles::State() const {
  std::string state;
  for (const Shard& shard : shards_)
    state += std::to_string(shard.bytes) + "@" + std::to_string(shard.modified_ns) + " ";
  return state;
}

Fault ShardFiles::Open(int32_t shard, File* file) const {
  std::lock_guard lock(mutex_);
  auto found = std::find_if(open_.begin(), open_.end(),
                            [&](const auto& entry) { return entry.first == shard; });
  if (found != open_.end()) {
    open_.splice(open_.begin(), open_, found);
    *file = open_.front().second;
    return {};
  }
  const Shard& wanted = shards_[static_cast<size_t>(shard)];
  auto opened = std::make_shared<FileRange>();
  RETURN_IF_FAULT(opened->Open(wanted.path));
  if (opened->size() != wanted.bytes || opened->modified_ns() != wanted.modified_ns)
    return Changed(wanted.path, wanted.bytes, opened->size());
  open_.emplace_front(shard, opened);
  if (open_.size() > kMostOpen) open_.pop_back();
  *file = std::move(opened);
  return {};
}

Fault ShardFiles::Read(int64_t number, std::string* content, std::string* name) const {
  const Place& place = places_[static_cast<size_t>(number)];
  const std::string& path = shards_[static_cast<size_t>(place.shard)].path;
  File file;
  RETURN_IF_FAULT(Open(place.shard, &file));
  content->resize(static_cast<size_t>(place.bytes));
  size_t got = 0;
  RETURN_IF_FAULT(file->ReadAt(place.offset, content->data(), content->size(), &got));
  char header[kNameBytes];
  size_t got_name = 0;
  RETURN_IF_FAULT(file->ReadAt(place.offset - kHeaderBytes, header, sizeof header, &got_name));
  const std::string_view text(header, got_name);
  *name = path + "/" + Shown(text.substr(0, text.find('\0')), 100);
  if (got == content->size()) return {};
  return Wrong("'" + *name + "' is cut off", Count(place.bytes, "byte"), std::to_string(got));
}

}  // namespace cyxwiz::data
