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
};

// OpenSqliteStore (job_store.h) with options.
Result<std::unique_ptr<JobStore>> OpenSqliteStore(const std::string& path,
                                                  const SqliteOptions& options);

}  // namespace cyxwiz::store
