// Which files the checkpoints of all jobs consist of. The same file may be a part of two
// checkpoints: of jobs that do the same.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "control/records.h"

namespace cyxwiz::control {

class CheckpointFiles {
 public:
  void Add(const Checkpoint& checkpoint);
  void Drop(const Checkpoint& checkpoint);
  // What was dropped since the last call and is a part of no checkpoint any more.
  std::vector<std::string> TakeUnused();
  // SHA-256 in hex, sorted.
  std::vector<std::string> All() const;
  auto Fields() { return std::tie(uses_, dropped_); }

 private:
  std::unordered_map<std::string, int64_t> uses_;  // by sha256
  std::vector<std::string> dropped_;
};

}  // namespace cyxwiz::control
