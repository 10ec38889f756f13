// Pictures that lie in archives, by number. Internal to src/data.
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
#include "data/row_reader.h"

namespace cyxwiz::data {

// Adding is one thread's; reading any number's.
class ShardPictures : public RowReader {
 public:
  struct Place {
    int64_t offset = 0;
    int32_t bytes = 0, shard = 0;
  };

  // The archive that the next places are in; it must not change from now on.
  Fault AddShard(const std::string& path);
  // bytes: at most kMaxPictureFileBytes.
  void Add(int64_t offset, int64_t bytes) {
    places_.push_back(
        {offset, static_cast<int32_t>(bytes), static_cast<int32_t>(shards_.size()) - 1});
  }
  int64_t size() const { return static_cast<int64_t>(places_.size()); }

  // What pictures become: [channels, height, width]. resizes: whether they may be of another size.
  void SetShape(const std::vector<int64_t>& shape, bool resizes);
  // Decodes picture `row` to out[channels * height * width].
  Status Read(int64_t row, uint8_t* out) const override { return Decode(row, out).ToStatus(); }
  int64_t ShardOf(int64_t row) const override { return places_[static_cast<size_t>(row)].shard; }
  std::string State() const override;
  // The file of picture `row`, and what messages call it.
  Fault ReadFile(int64_t row, std::string* content, std::string* name) const;

 private:
  struct Shard {
    std::string path;
    int64_t bytes = 0, modified_ns = 0;
  };
  Fault Decode(int64_t row, uint8_t* out) const;
  using File = std::shared_ptr<const FileRange>;
  Fault Open(int32_t shard, File* file) const;

  std::vector<Shard> shards_;
  std::vector<Place> places_;
  int64_t channels_ = 0, height_ = 0, width_ = 0;
  bool resizes_ = false;

  mutable std::mutex mutex_;
  mutable std::list<std::pair<int32_t, File>> open_;  // the last used first
};

}  // namespace cyxwiz::data
