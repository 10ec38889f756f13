// The JobStore in one SQLite file. Beside `path` stand path-wal (SQLite's log;
// part of the data) and path.lock, held with flock(2) while a process has the
// store open. path.incoming is there while a restore is under way (store/maintenance.h); the store
// is not opened then.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/file.h"
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
  // Nothing is created, changed or migrated, and Commit fails. The schema must be the present one.
  bool read_only = false;
};

// OpenSqliteStore (job_store.h) with options.
Result<std::unique_ptr<JobStore>> OpenSqliteStore(const std::string& path,
                                                  const SqliteOptions& options);

// path.lock, held until the descriptor is closed; a killed process leaves none.
// FAILED_PRECONDITION, naming the process, when another one has it.
Result<UniqueFd> LockStore(const std::string& path);

// For who must not change the store: LockStore when a server may have it, nothing for a copy, which
// has no lock file. NOT_FOUND when there is no store.
Result<UniqueFd> LockToRead(const std::string& path);

// The database alone, never to be written to: with its log, when it has one, and without a look at
// its schema. DATA_LOSS when the log is damaged. Throws SQLite::Exception.
Result<std::unique_ptr<SQLite::Database>> OpenToRead(const std::string& path);

// What a failure of SQLite means for a person. error: errno of the system call behind it, 0 when
// not known.
Status ErrorStatus(const std::string& path, const SQLite::Exception& e, int error);

// The Backup of a database, which outlives it. Throws SQLite::Exception.
std::unique_ptr<Backup> BeginBackup(SQLite::Database& database, const std::string& path);

}  // namespace cyxwiz::store
