// Files that lie in archives of tar. Internal to src/data.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "data/fault.h"
#include "data/file_range.h"
#include "data/sample_files.h"

namespace cyxwiz::data {

// Adding is one thread's.
class ShardFiles : public SampleFiles {
 public:
  // The archive that the next files are in; it must not change from now on.
  Fault AddShard(const std::string& path);
  // bytes: at most kMaxSampleFileBytes.
  void Add(int64_t offset, int64_t bytes) {
    places_.push_back(
        {offset, static_cast<int32_t>(bytes), static_cast<int32_t>(shards_.size()) - 1});
  }

  int64_t size() const override { return static_cast<int64_t>(places_.size()); }
  Fault Read(int64_t number, std::string* content, std::string* name) const override;
  int64_t ShardOf(int64_t number) const override {
    return places_[static_cast<size_t>(number)].shard;
  }
  std::string State() const override;

 private:
  struct Place {
    int64_t offset = 0;
    int32_t bytes = 0, shard = 0;
  };
  struct Shard {
    std::string path;
    int64_t bytes = 0, modified_ns = 0;
  };
  using File = std::shared_ptr<const FileRange>;
  Fault Open(int32_t shard, File* file) const;

  std::vector<Shard> shards_;
  std::vector<Place> places_;

  mutable std::mutex mutex_;
  mutable std::list<std::pair<int32_t, File>> open_;  // the last used first
};

}  // namespace cyxwiz::data
