#include "store/maintenance.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/file.h"
#include "store/sqlite/page_checksums.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite_store.h"

namespace cyxwiz::store {
namespace {

constexpr int kPagesAStep = 1000;

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// A database of ours, of this schema or an older one, and what keeps servers out while it is read.
struct Opened {
  UniqueFd lock;
  std::unique_ptr<SQLite::Database> database;
};

// Throws SQLite::Exception.
Result<Opened> OpenAnySchema(const std::string& path) {
  Opened opened;
  ASSIGN_OR_RETURN(opened.lock, LockToRead(path));
  ASSIGN_OR_RETURN(opened.database, OpenToRead(path));
  auto version = SchemaVersion(*opened.database, path, static_cast<int64_t>(Migrations().size()));
  if (!version.ok()) return version.status();
  if (*version == 0) {
    return FailedPrecondition("'" + path + "' is an empty database",
                              "name a data folder of a server, or a backup");
  }
  return opened;
}

Status Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return OkStatus();
  return ErrnoStatus("cannot rename '" + from + "' to '" + to + "'", errno);
}

// Throws SQLite::Exception.
void Prepare(const std::string& copy) {
  SQLite::Database database(copy, SQLite::OPEN_READWRITE, 0, ChecksumVfs(""));
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  if (!HasChecksums(database)) {
    ReserveChecksums(database);
    database.exec("VACUUM");
  }
  const std::string skip = " SET attempt = attempt + " + std::to_string(kAttemptsSkippedByRestore);
  SQLite::Transaction transaction(database);
  // Older schemas have no arrays.
  bool arrays = database
                    .execAndGet(
                        "SELECT count(*) FROM pragma_table_info('jobs') "
                        "WHERE name = 'array'")
                    .getInt() == 1;
  database.exec("UPDATE jobs" + skip + " WHERE state < 5" + (arrays ? " AND array = ''" : ""));
  if (arrays) {  // whose members count attempts from the last number of the column
    database.exec("UPDATE jobs SET array = json_set(array, '$[6]', json_extract(array, '$[6]') + " +
                  std::to_string(kAttemptsSkippedByRestore) + ") WHERE state < 5 AND array <> ''");
  }
  if (database.tableExists("removed")) database.exec("UPDATE removed" + skip);
  transaction.commit();
}

}  // namespace

Result<std::unique_ptr<JobStore>> OpenSqliteStoreToRead(const std::string& path) {
  SqliteOptions options;
  options.read_only = true;
  return OpenSqliteStore(path, options);
}

Result<std::vector<std::string>> FindDamage(const std::string& path) {
  try {
    ASSIGN_OR_RETURN(Opened opened, OpenAnySchema(path));
    std::vector<std::string> found;
    SQLite::Statement check(*opened.database, "PRAGMA integrity_check(100)");
    while (check.executeStep()) {
      std::string line = check.getColumn(0).getString();
      if (line != "ok") found.push_back(std::move(line));
    }
    return found;
  } catch (const SQLite::Exception& e) {
    return ErrorStatus(path, e, 0);
  }
}

Status CopyDatabase(const std::string& path, const std::string& copy) {
  try {
    ASSIGN_OR_RETURN(Opened opened, OpenAnySchema(path));
    std::unique_ptr<Backup> backup = BeginBackup(*opened.database, copy);
    for (;;) {
      ASSIGN_OR_RETURN(bool complete, backup->Step(kPagesAStep));
      if (complete) return OkStatus();
    }
  } catch (const SQLite::Exception& e) {
    return ErrorStatus(path, e, 0);
  }
}

Status RestoreSqliteStore(const std::string& backup, const std::string& path,
                          const std::vector<std::string>& obsolete) {
  ASSIGN_OR_RETURN(UniqueFd lock, LockStore(path));
  const std::string restoring = path + ".restoring", incoming = path + ".incoming",
                    replaced = path + ".replaced";
  RETURN_IF_ERROR(CopyDatabase(backup, restoring));
  try {
    Prepare(restoring);
  } catch (const SQLite::Exception& e) {
    return ErrorStatus(restoring, e, 0);
  }
  // What an unfinished restore has put aside stays: the log that belongs to it is there already.
  if (!Exists(incoming)) {
    ::unlink(replaced.c_str());
    ::unlink((replaced + "-wal").c_str());
  }
  RETURN_IF_ERROR(MoveIntoPlace(restoring, incoming));
  if (Exists(path + "-wal")) RETURN_IF_ERROR(Rename(path + "-wal", replaced + "-wal"));
  if (Exists(path)) {
    ::unlink(replaced.c_str());
    if (::link(path.c_str(), replaced.c_str()) != 0)
      return ErrnoStatus("cannot put '" + path + "' aside as '" + replaced + "'", errno);
  }
  for (const std::string& file : obsolete) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT)
      return ErrnoStatus("cannot delete '" + file + "'", errno);
  }
  return MoveIntoPlace(incoming, path);
}

}  // namespace cyxwiz::store
