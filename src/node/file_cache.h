// Files of the server's stores that attempts on this node have used lately, so that the next one
// need not fetch them: <folder>/<sha256>, the least lately used goes first.
//
// An attempt gets a link of its own, and holds the file: what is held is not dropped to make room.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/content_key.h"
#include "base/status.h"

namespace cyxwiz::node {

// The server has what is lost here, so no method fails but Open. Executor thread only.
class FileCache {
 public:
  struct Entry {
    std::string sha256;
    int64_t bytes = 0;
    bool checked = false;  // its content was found right in this run
  };
  // Keeps its file from making room for others.
  using Hold = std::shared_ptr<Entry>;

  // what: they are, for the log ("weights"). max_bytes: of all that is kept together; 0: nothing
  // is. What an earlier run has left is kept.
  static Result<std::unique_ptr<FileCache>> Open(const std::string& folder, std::string what,
                                                 int64_t max_bytes);

  // Holds the file of this hash, as the one used last; null when it is not here.
  Hold Find(const std::string& sha256);
  // Gives it the name `path` too; null when it is not here.
  Hold Give(const std::string& sha256, const std::string& path);
  // Drops files that nobody holds until `bytes` more fit. False, and nothing is dropped, when they
  // cannot.
  bool MakeRoom(int64_t bytes);
  // Keeps the file at `path`, which has this hash, as the one used last; null when there is no room
  // for it.
  Hold Keep(const std::string& sha256, const std::string& path);
  // For one that has turned out to be damaged. Who holds it keeps what was given.
  void Drop(const std::string& sha256);

  // What became of files that attempts wanted, in this run; users count hits and misses.
  struct Counts {
    int64_t hits = 0, misses = 0, evictions = 0;
  };
  void Count(int64_t hits, int64_t misses) {
    counts_.hits += hits;
    counts_.misses += misses;
  }
  const Counts& counts() const { return counts_; }

  std::string PathOf(const std::string& sha256) const { return folder_ + "/" + sha256; }
  int64_t bytes() const { return bytes_; }
  bool Has(const std::string& sha256) const { return by_sha256_.contains(sha256); }
  // At most `most`, the last used ones.
  std::vector<ContentKey> Keys(size_t most) const;

 private:
  using Entries = std::list<Hold>;
  FileCache(std::string folder, std::string what, int64_t max_bytes)
      : folder_(std::move(folder)), what_(std::move(what)), max_bytes_(max_bytes) {}
  void Add(const std::string& sha256, int64_t bytes, bool checked);

  const std::string folder_, what_;
  const int64_t max_bytes_;
  Entries entries_;  // the least lately used first
  std::unordered_map<std::string, Entries::iterator> by_sha256_;
  int64_t bytes_ = 0;
  Counts counts_;
};

}  // namespace cyxwiz::node
