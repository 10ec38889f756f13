// Segments of history in a folder, written by a thread of its own and never synced: what a crash
// takes is missing from the history, nothing else.
//
//   00000001.history, 00000002.history, ...   oldest first; the last one is being written
//
// All of them together stay below a size, and none older than a time is kept: the oldest go first.
// When the disk is full or slow, the segment ends where it is and a later one begins anew.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "history/recorder.h"

namespace cyxwiz::history {

struct JournalOptions {
  std::string folder;                      // made when it is not there
  int64_t max_bytes = int64_t{256} << 20;  // of all segments
  Duration max_age = std::chrono::hours(24 * 7);
};

// A segment in a folder.
struct SegmentFile {
  int64_t number = 0;
  std::string path;
  int64_t bytes = 0;
};
// Oldest first; none when there is no folder.
Result<std::vector<SegmentFile>> ListSegments(const std::string& folder);

class FolderJournal final : public Journal {
 public:
  static Result<std::unique_ptr<FolderJournal>> Open(JournalOptions options);
  // Writes what waits.
  ~FolderJournal() override;

  bool WantsStart(Now now) override;
  void Begin(std::string start) override;
  bool Append(std::string_view frames) override;

  const std::string& folder() const { return options_.folder; }
  // Any thread but the core's: returns once all that was taken before is in the files.
  void Flush();

 private:
  explicit FolderJournal(JournalOptions options) : options_(std::move(options)) {}
  void Run();
  // What one segment gets at once.
  struct Piece {
    bool begins = false;  // the segment
    std::string text;
  };
  // The writer's:
  Status Write(const Piece& piece);
  Status OpenSegment();
  // So that there is room for so much more. Never the segment that is being written.
  void RemoveOldest(int64_t bytes_to_come, bool begins);

  const JournalOptions options_;

  // The core thread's:
  bool begun_ = false, too_large_ = false;
  int64_t start_bytes_ = 0, input_bytes_ = 0;  // of the present segment
  MonotonicTime not_before_;                   // a segment does not begin before

  // The writer's:
  int64_t next_number_ = 1;
  UniqueFd file_;

  std::mutex mutex_;  // of all below
  std::condition_variable wake_, written_;
  std::vector<Piece> waiting_;
  size_t waiting_bytes_ = 0;
  uint64_t taken_ = 0, done_ = 0;  // bytes, of all: taken, and written or given up
  bool flush_ = false, stopping_ = false;
  bool failed_ = false;  // the segment has ended: it could not be written
  std::thread thread_;
};

}  // namespace cyxwiz::history
