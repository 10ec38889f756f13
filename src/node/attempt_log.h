// The log of one attempt: what its runner wrote to stdout and stderr, and the node's own remarks.
// Capped in size: the beginning and the end stay, the middle is dropped and counted.
//
//   <folder>/log.txt        the head: the first quarter of the cap
//   <folder>/log.<offset>   segments of the tail; <offset> is where the segment begins in the log,
//                           counting dropped bytes too. The oldest is deleted when there are more
//                           than four.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace cyxwiz::node {

// Bytes of a log. Offsets count every byte ever written, dropped ones too.
struct LogPiece {
  int64_t offset = 0;   // of data's first byte
  std::string data;     // empty: there is nothing at or after the offset asked for
  int64_t dropped = 0;  // bytes between the offset asked for and `offset` that are gone
};

// Executor thread only.
class AttemptLog {
 public:
  // Continues the log in `folder`, which must exist, or begins one. max_bytes: cap of all files
  // together, at least 4 KiB.
  static Result<std::unique_ptr<AttemptLog>> Open(const std::string& folder, int64_t max_bytes);
  // Whether `file_name` is one of the files that a log consists of.
  static bool IsLogFile(const std::string& file_name);

  // Writes to the files at once and wakes who waits. After a failed write (disk full) the data is
  // dropped and the log goes on; the first such failure is returned.
  Status Append(std::string_view data);
  // No more will be written: wakes who waits.
  void Close();
  bool closed() const { return closed_; }

  // At most `max` bytes at or after `offset`, from one file.
  Result<LogPiece> Read(int64_t offset, size_t max) const;
  // The last bytes that are there without a gap, beginning at a line where one begins among them;
  // valid UTF-8.
  LogPiece Tail(size_t max) const;
  // Calls `wake` once, at the next Append or Close; at once when closed.
  void Wait(std::function<void()> wake);

  int64_t size() const { return size_; }  // bytes ever written
  int64_t dropped() const;                // bytes that are gone

 private:
  struct Segment {
    std::string path;
    int64_t begin = 0, end = 0;
  };
  AttemptLog(std::string folder, int64_t max_bytes);
  Status AppendSome(std::string_view* data);
  Result<LogPiece> ReadSegment(const Segment& segment, int64_t offset, size_t max) const;

  std::string folder_;
  int64_t head_max_, segment_max_;
  std::vector<Segment> segments_;  // the head first, then the tail in order
  UniqueFd current_;               // of the last segment; opened at the first Append
  int64_t size_ = 0;
  bool closed_ = false;
  std::vector<std::function<void()>> waiting_;
};

// Replaces what is not UTF-8 by '?', as text fields of the wire must be UTF-8.
std::string ToUtf8(std::string_view bytes);

}  // namespace cyxwiz::node
