// Weights of models that evaluations and inferences on this node have used lately, so that the next
// one need not fetch them: <data>/weights/<sha256>, the least lately used goes first.
//
// An attempt gets a link of its own: what is dropped here stays there until the attempt is gone.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "base/status.h"

namespace cyxwiz::node {

// The server has what is lost here, so no method fails but Open. Executor thread only.
class WeightsCache {
 public:
  // max_bytes: of all that is kept together; 0: nothing is. What an earlier run has left is kept.
  static Result<std::unique_ptr<WeightsCache>> Open(const std::string& folder, int64_t max_bytes);

  // Gives the file of this hash the name `path` too; false when it is not here.
  bool Give(const std::string& sha256, const std::string& path);
  // Keeps the file at `path`, which has this hash, as the one used last.
  void Keep(const std::string& sha256, const std::string& path);
  // For one that has turned out to be damaged.
  void Drop(const std::string& sha256);

  int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string sha256;
    int64_t bytes = 0;
  };
  WeightsCache(std::string folder, int64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}
  std::string PathOf(const std::string& sha256) const { return folder_ + "/" + sha256; }
  void Shrink();

  const std::string folder_;
  const int64_t max_bytes_;
  std::list<Entry> entries_;  // the least lately used first
  int64_t bytes_ = 0;
};

}  // namespace cyxwiz::node
