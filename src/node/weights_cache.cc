#include "node/weights_cache.h"

#include <algorithm>
#include <filesystem>
#include <tuple>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/logging.h"

namespace cyxwiz::node {

namespace fs = std::filesystem;

Result<std::unique_ptr<WeightsCache>> WeightsCache::Open(const std::string& folder,
                                                         int64_t max_bytes) {
  RETURN_IF_ERROR(MakeFolder(folder, 0700));
  std::unique_ptr<WeightsCache> cache(new WeightsCache(folder, max_bytes));
  std::vector<std::tuple<fs::file_time_type, std::string, int64_t>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    found.emplace_back(entry.last_write_time(error), entry.path().filename().string(),
                       static_cast<int64_t>(entry.file_size(error)));
  }
  std::sort(found.begin(), found.end());
  for (auto& [time, sha256, bytes] : found) {
    cache->entries_.push_back({std::move(sha256), bytes});
    cache->bytes_ += bytes;
  }
  cache->Shrink();
  return cache;
}

bool WeightsCache::Give(const std::string& sha256, const std::string& path) {
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& one) { return one.sha256 == sha256; });
  if (entry == entries_.end()) return false;
  std::error_code error;
  fs::create_hard_link(PathOf(sha256), path, error);
  if (error) {
    spdlog::warn("the weights {} are fetched again: {}", sha256, error.message());
    Drop(sha256);
    return false;
  }
  entries_.splice(entries_.end(), entries_, entry);
  // For the order after a restart.
  fs::last_write_time(path, fs::file_time_type::clock::now(), error);
  return true;
}

void WeightsCache::Keep(const std::string& sha256, const std::string& path) {
  Drop(sha256);
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(path, error));
  if (error || bytes > max_bytes_) return;
  fs::create_hard_link(path, PathOf(sha256), error);
  if (error) {
    spdlog::warn("the weights {} are not kept here: {}", sha256, error.message());
    return;
  }
  entries_.push_back({sha256, bytes});
  bytes_ += bytes;
  Shrink();
}

void WeightsCache::Drop(const std::string& sha256) {
  std::error_code error;
  fs::remove(PathOf(sha256), error);
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->sha256 != sha256) continue;
    bytes_ -= entry->bytes;
    entries_.erase(entry);
    return;
  }
}

void WeightsCache::Shrink() {
  while (bytes_ > max_bytes_ && !entries_.empty()) {
    const std::string oldest = entries_.front().sha256;
    spdlog::info("the weights {} are not kept here any more: there are more than fit", oldest);
    Drop(oldest);
  }
}

}  // namespace cyxwiz::node
