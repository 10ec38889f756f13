// The JobStore in one SQLite file. Beside `path` stand path-wal (SQLite's log;
// part of the data) and path.lock, held with flock(2) while a process has the
// store open.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "store/job_store.h"
#include "store/sqlite/schema.h"

namespace cyxwiz::store {

struct SqliteOptions {
  std::span<const Migration> migrations = Migrations();
  // The file may not grow beyond so many pages of 4 KiB; 0: as the disk allows.
  // Beyond it Commit answers as on a full disk.
  int64_t max_pages = 0;
  // The log is copied into the file whenever it holds so many pages of 4 KiB.
  int64_t checkpoint_pages = 2000;
  // Name of the SQLite VFS that holds the files, for tests; empty: the file system. With one, no
  // path.lock is made: keeping others out is the VFS's matter.
  std::string vfs;
};

// OpenSqliteStore (job_store.h) with options.
Result<std::unique_ptr<JobStore>> OpenSqliteStore(const std::string& path,
                                                  const SqliteOptions& options);

}  // namespace cyxwiz::store
