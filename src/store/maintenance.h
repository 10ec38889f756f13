// Looking after a store that no server has open.
//
// A restore goes so far, step by step, each of which is durable before the next:
//   path.restoring    the backup is copied and prepared; the store is as it was
//   path.incoming     the copy is complete; from here on no server opens the store
//   path.replaced(-wal)    the database that was there, and its log
//   obsolete          what went with that database is deleted
//   path              the copy takes its place; servers open it again
// One that is cut short is run again from the beginning.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "store/job_store.h"

namespace cyxwiz::store {

// Attempts that were started after a backup are not known to it. The numbers of later ones begin so
// far above the last that it knows.
inline constexpr int kAttemptsSkippedByRestore = 10'000;

// The store at `path`, or a backup of one, for reading: nothing is changed, Commit fails.
// NOT_FOUND; FAILED_PRECONDITION when a server has it open or its schema is an older one.
Result<std::unique_ptr<JobStore>> OpenSqliteStoreToRead(const std::string& path);

// What SQLite finds wrong with the file when it looks at every page and every index: at most 100
// sentences, none when it is sound. Fails as OpenSqliteStoreToRead, but takes older schemas.
Result<std::vector<std::string>> FindDamage(const std::string& path);

// Copies the database at `path` with its log to the new file `copy`, which is not synced.
Status CopyDatabase(const std::string& path, const std::string& copy);

// Makes the backup the store at `path`. The folder is there; the backup has been looked at with
// FindDamage. FAILED_PRECONDITION when a server has the store open. `obsolete`: paths of files that
// must not be there with the backup.
Status RestoreSqliteStore(const std::string& backup, const std::string& path,
                          const std::vector<std::string>& obsolete = {});

}  // namespace cyxwiz::store
