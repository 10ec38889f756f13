#include "node/file_cache.h"

#include <algorithm>
#include <filesystem>
#include <tuple>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/logging.h"

namespace cyxwiz::node {

namespace fs = std::filesystem;

Result<std::unique_ptr<FileCache>> FileCache::Open(const std::string& folder, std::string what,
                                                   int64_t max_bytes) {
  RETURN_IF_ERROR(MakeFolder(folder, 0700));
  std::unique_ptr<FileCache> cache(new FileCache(folder, std::move(what), max_bytes));
  std::vector<std::tuple<fs::file_time_type, std::string, int64_t>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    found.emplace_back(entry.last_write_time(error), entry.path().filename().string(),
                       static_cast<int64_t>(entry.file_size(error)));
  }
  std::sort(found.begin(), found.end());
  for (const auto& [time, sha256, bytes] : found) cache->Add(sha256, bytes, /*checked=*/false);
  cache->MakeRoom(0);
  return cache;
}

void FileCache::Add(const std::string& sha256, int64_t bytes, bool checked) {
  entries_.push_back(std::make_shared<Entry>(Entry{sha256, bytes, checked}));
  by_sha256_[sha256] = std::prev(entries_.end());
  bytes_ += bytes;
}

FileCache::Hold FileCache::Find(const std::string& sha256) {
  auto found = by_sha256_.find(sha256);
  if (found == by_sha256_.end()) return nullptr;
  std::error_code error;
  // For the order after a restart.
  fs::last_write_time(PathOf(sha256), fs::file_time_type::clock::now(), error);
  if (error) {
    spdlog::warn("the {} {} are fetched again: {}", what_, sha256, error.message());
    Drop(sha256);
    return nullptr;
  }
  entries_.splice(entries_.end(), entries_, found->second);
  return entries_.back();
}

FileCache::Hold FileCache::Give(const std::string& sha256, const std::string& path) {
  Hold hold = Find(sha256);
  if (hold == nullptr) return nullptr;
  std::error_code error;
  fs::create_hard_link(PathOf(sha256), path, error);
  if (!error) return hold;
  spdlog::warn("the {} {} are fetched again: {}", what_, sha256, error.message());
  Drop(sha256);
  return nullptr;
}

bool FileCache::MakeRoom(int64_t bytes) {
  auto is_held = [](const Hold& entry) { return entry.use_count() > 1; };
  int64_t held = 0;
  for (const Hold& entry : entries_) held += is_held(entry) ? entry->bytes : 0;
  if (bytes > max_bytes_ - held) return false;
  for (auto entry = entries_.begin(); entry != entries_.end() && bytes_ > max_bytes_ - bytes;) {
    const Hold candidate = *entry++;
    if (candidate.use_count() > 2) continue;
    spdlog::info("the {} {} are not kept here any more: there are more than fit", what_,
                 candidate->sha256);
    ++counts_.evictions;
    Drop(candidate->sha256);
  }
  return true;
}

FileCache::Hold FileCache::Keep(const std::string& sha256, const std::string& path) {
  Drop(sha256);
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(path, error));
  if (error || bytes > max_bytes_ - bytes_) return nullptr;
  fs::create_hard_link(path, PathOf(sha256), error);
  if (error) {
    spdlog::warn("the {} {} are not kept here: {}", what_, sha256, error.message());
    return nullptr;
  }
  Add(sha256, bytes, /*checked=*/true);
  return entries_.back();
}

void FileCache::Drop(const std::string& sha256) {
  std::error_code error;
  fs::remove(PathOf(sha256), error);
  auto found = by_sha256_.find(sha256);
  if (found == by_sha256_.end()) return;
  bytes_ -= (*found->second)->bytes;
  entries_.erase(found->second);
  by_sha256_.erase(found);
}

std::vector<ContentKey> FileCache::Keys(size_t most) const {
  std::vector<ContentKey> keys;
  for (auto entry = entries_.rbegin(); entry != entries_.rend() && keys.size() < most; ++entry)
    keys.push_back(ContentKeyOf((*entry)->sha256));
  return keys;
}

}  // namespace cyxwiz::node
