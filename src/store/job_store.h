// Durable storage of the control core's records.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "control/archive.h"
#include "control/records.h"

namespace cyxwiz::store {

// A copy of a store in the making, written in steps between which the store may be used. Of the
// store's thread, and gone before the store.
class Backup {
 public:
  virtual ~Backup() = default;
  // Copies at most so many pages of 4 KiB. True: the copy is complete and holds all that was
  // committed before this call; it is not synced. After an error it is of no use.
  virtual Result<bool> Step(int pages) = 0;
};

// One thread at a time. After any failed Commit the store must not be used again (except a full
// disk, see below).
class JobStore : public control::Archive {
 public:
  // What is stored but jobs that have ended: FindEnded and ListEnded read these.
  virtual Result<control::Snapshot> Load() = 0;
  // Events as asked for, the submissions of jobs that are still there among them. The disk is read.
  virtual Result<std::vector<control::Event>> Events(const control::EventQuery& query) = 0;
  // One transaction, durable when it returns ok. RESOURCE_EXHAUSTED: the disk is full, nothing of
  // the batch was stored and the store stays usable; any other error: end the process.
  virtual Status Commit(std::span<const control::Record> records) = 0;
  // Begins to copy the store into a new file at `path`; what is there is overwritten.
  virtual Result<std::unique_ptr<Backup>> BeginBackup(const std::string& path) = 0;
};

// Opens or creates `path` (WAL, synchronous=EXTRA, exclusive). FAILED_PRECONDITION for a schema
// newer than this program or a store another process has open; DATA_LOSS for a file that is not a
// sound database; each message names the file and says what to do. Older schemas are migrated, one
// transaction a step.
Result<std::unique_ptr<JobStore>> OpenSqliteStore(const std::string& path);

}  // namespace cyxwiz::store
