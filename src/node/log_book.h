// The folders of attempts, <data>/attempts/<job>/<attempt>/, and the logs in them. A folder holds
// the runner's files while the attempt is here and its log for as long as there is room for it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "node/attempt_log.h"

namespace cyxwiz::node {

// Executor thread only.
class LogBook {
 public:
  // log_max_bytes: cap of one attempt's log. keep: how many ended attempts keep theirs; the oldest
  // go first. Removes what an earlier run left besides logs: its runners died with it. What had
  // ended without the server knowing (unreported_end.h) stays.
  static Result<std::unique_ptr<LogBook>> Open(const std::string& folder, int64_t log_max_bytes,
                                               size_t keep);

  // Makes the attempt's folder (0700), empty, with an open log. max_bytes: of this log, when that
  // is less than of all; 0: as of all.
  Result<AttemptLog*> Begin(const AttemptId& attempt, int64_t max_bytes = 0);
  // Closes the log; the files stay.
  void CloseLog(const AttemptId& attempt);
  // Deletes all files but the log. After CloseLog.
  void RemoveFiles(const AttemptId& attempt);

  std::string FolderOf(const AttemptId& attempt) const;
  // Attempts of earlier runs whose end the server did not know when the book was opened.
  const std::vector<AttemptId>& unreported() const { return unreported_; }
  // attempt 0 means the newest one that is here. NOT_FOUND; INVALID_ARGUMENT when the id is none.
  Result<AttemptId> Find(const JobId& job, AttemptNumber attempt) const;
  // The log of an attempt that Find returned, open or from disk; valid until the next call of a
  // method that is not const.
  Result<AttemptLog*> LogOf(const AttemptId& attempt);

 private:
  LogBook(std::string folder, int64_t log_max_bytes, size_t keep);
  void Prune();

  std::string folder_;
  int64_t log_max_bytes_;
  size_t keep_;
  std::map<AttemptId, std::unique_ptr<AttemptLog>> open_;
  std::optional<AttemptId> read_id_;  // of read_log_, the last one that was opened from disk
  std::unique_ptr<AttemptLog> read_log_;
  std::deque<AttemptId> ended_;  // oldest first
  std::vector<AttemptId> unreported_;
};

}  // namespace cyxwiz::node
