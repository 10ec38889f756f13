// What was fetched before: of each data set its files, with the ETags by which other machines tell
// whether they are still the same.
//
//   <folder>/<key> := {"files": {NAME: {"etag": ..., "sha256": ..., "size": ...}, ...}}
//
// Only hints: the content lies in the file cache under its hash, or is fetched again.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/status.h"

namespace cyxwiz::node {

struct FetchRecord {
  std::string etag;  // empty: the other machine gave none
  std::string sha256;
  int64_t size = 0;
};
using FetchRecordsByName = std::map<std::string, FetchRecord>;

// One thread.
class FetchRecords {
 public:
  // Forgets all but the newest kMost.
  static Result<FetchRecords> Open(const std::string& folder);

  // key: SHA-256, in hex, of the identity of a source. Empty when nothing is known.
  FetchRecordsByName Find(const std::string& key) const;
  // A failure is logged: the next one fetches again.
  void Put(const std::string& key, const FetchRecordsByName& records);

  static constexpr size_t kMost = 1000;

 private:
  explicit FetchRecords(std::string folder) : folder_(std::move(folder)) {}
  std::string PathOf(const std::string& key) const { return folder_ + "/" + key; }
  void Prune();

  std::string folder_;
  size_t count_ = 0;  // at least so many are there
};

}  // namespace cyxwiz::node
