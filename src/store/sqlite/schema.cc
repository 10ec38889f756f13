#include "store/sqlite/schema.h"

namespace cyxwiz::store {
namespace {

constexpr Migration kMigrations[] = {
    // 0 -> 1
    R"sql(
      CREATE TABLE bodies (
        number INTEGER PRIMARY KEY,
        sha256 BLOB NOT NULL,
        config BLOB NOT NULL
      );
      CREATE TABLE jobs (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        body INTEGER NOT NULL,
        name TEXT NOT NULL,
        user TEXT NOT NULL,
        type INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        cpu_millis INTEGER NOT NULL,
        memory_bytes INTEGER NOT NULL,
        gpus INTEGER NOT NULL,
        device INTEGER NOT NULL,
        max_retries INTEGER NOT NULL,
        total_epochs INTEGER NOT NULL,
        state INTEGER NOT NULL,
        message TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER NOT NULL,
        not_before INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        node TEXT NOT NULL,
        retries INTEGER NOT NULL,
        cancel_requested INTEGER NOT NULL,
        cancel_reason TEXT NOT NULL,
        cause INTEGER NOT NULL,
        error_code INTEGER NOT NULL,
        error_message TEXT NOT NULL,
        error_details TEXT NOT NULL,
        progress REAL,
        current_epoch INTEGER NOT NULL,
        metrics TEXT NOT NULL,
        artifacts TEXT NOT NULL,
        compute_seconds REAL
      );
      CREATE TABLE nodes (
        id TEXT NOT NULL PRIMARY KEY,
        endpoint TEXT NOT NULL,
        info BLOB NOT NULL,
        cpu_millis INTEGER NOT NULL,
        memory_bytes INTEGER NOT NULL,
        gpus INTEGER NOT NULL,
        devices TEXT NOT NULL,
        registered_at INTEGER NOT NULL,
        jobs_completed INTEGER NOT NULL
      );
    )sql",
    // 1 -> 2
    R"sql(
      ALTER TABLE jobs ADD COLUMN pause_requested INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN retry_of TEXT NOT NULL DEFAULT '';
      ALTER TABLE nodes ADD COLUMN cordoned INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE nodes ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE nodes ADD COLUMN cordon_reason TEXT NOT NULL DEFAULT '';
      CREATE TABLE events (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        job TEXT NOT NULL,
        node TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        from_state INTEGER NOT NULL,
        to_state INTEGER NOT NULL,
        cause INTEGER NOT NULL,
        message TEXT NOT NULL
      );
      CREATE INDEX events_of_job ON events (sequence, number);
      CREATE INDEX events_of_node ON events (node, number);
    )sql",
    // 2 -> 3
    R"sql(
      CREATE TABLE removed (
        id TEXT PRIMARY KEY NOT NULL,
        sequence INTEGER NOT NULL,
        attempt INTEGER NOT NULL
      ) WITHOUT ROWID;
    )sql",
    // 3 -> 4
    R"sql(
      ALTER TABLE jobs ADD COLUMN terms TEXT NOT NULL DEFAULT '';
      ALTER TABLE jobs ADD COLUMN attempt_started_at INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN nodes_lost INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN limit_hit INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE nodes ADD COLUMN extra TEXT NOT NULL DEFAULT '';
    )sql",
    // 4 -> 5
    R"sql(
      ALTER TABLE jobs ADD COLUMN checkpoint TEXT NOT NULL DEFAULT '';
    )sql",
    // 5 -> 6
    R"sql(
      ALTER TABLE jobs ADD COLUMN preempted_for TEXT NOT NULL DEFAULT '';
      ALTER TABLE jobs ADD COLUMN preemptions INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 6 -> 7
    R"sql(
      CREATE INDEX jobs_of_body ON jobs (body);
      CREATE INDEX ended_jobs ON jobs (type, state, sequence) WHERE state >= 5;
      CREATE INDEX ended_jobs_of_user ON jobs (user, type, state, sequence) WHERE state >= 5;
    )sql",
    // 7 -> 8
    R"sql(
      ALTER TABLE jobs ADD COLUMN array TEXT NOT NULL DEFAULT '';
      ALTER TABLE jobs ADD COLUMN member_of INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN member_number INTEGER NOT NULL DEFAULT 0;
      DROP INDEX ended_jobs;
      DROP INDEX ended_jobs_of_user;
      CREATE INDEX ended_jobs ON jobs (type, state, sequence) WHERE state >= 5 AND member_of = 0;
      CREATE INDEX ended_jobs_of_user ON jobs (user, type, state, sequence)
        WHERE state >= 5 AND member_of = 0;
      CREATE INDEX members ON jobs (member_of, sequence, state) WHERE member_of > 0;
    )sql",
    // 8 -> 9
    R"sql(
      ALTER TABLE jobs ADD COLUMN gang TEXT NOT NULL DEFAULT '';
    )sql",
    // 9 -> 10
    R"sql(
      ALTER TABLE jobs ADD COLUMN data INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 10 -> 11
    R"sql(
      ALTER TABLE jobs RENAME COLUMN gpus TO gpu_millis;
      UPDATE jobs SET gpu_millis = gpu_millis * 1000 WHERE gpu_millis > 0;
      ALTER TABLE jobs ADD COLUMN gpus TEXT NOT NULL DEFAULT '';
      ALTER TABLE nodes RENAME COLUMN gpus TO gpu_millis;
      UPDATE nodes SET gpu_millis = gpu_millis * 1000 WHERE gpu_millis > 0;
    )sql",
    // 11 -> 12
    R"sql(
      ALTER TABLE jobs ADD COLUMN log_tail TEXT NOT NULL DEFAULT '';
      ALTER TABLE jobs ADD COLUMN log_tail_offset INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 12 -> 13. Events were deleted from a million numbers on, and nobody kept which.
    R"sql(
      CREATE TABLE cancellations (
        number INTEGER PRIMARY KEY,
        jobs TEXT NOT NULL,
        cause INTEGER NOT NULL,
        reason TEXT NOT NULL,
        actor TEXT NOT NULL
      );
      ALTER TABLE events ADD COLUMN actor TEXT NOT NULL DEFAULT '';
      CREATE TABLE trimmed (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        below INTEGER NOT NULL
      );
      INSERT INTO trimmed SELECT 1, min(number) FROM events HAVING max(number) > 1000000;
    )sql",
};

int64_t ReadPragma(SQLite::Database& database, const std::string& name) {
  return database.execAndGet("PRAGMA " + name).getInt64();
}

}  // namespace

std::span<const Migration> Migrations() { return kMigrations; }

Result<int64_t> SchemaVersion(SQLite::Database& database, const std::string& path, int64_t newest) {
  int64_t application = ReadPragma(database, "application_id");
  bool empty = database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt64() == 0;
  if (application != kApplicationId && !(empty && application == 0)) {
    return FailedPrecondition("'" + path +
                                  "' is an SQLite database of another program (application id " +
                                  std::to_string(application) + ")",
                              "name another file for the store, or move this one away");
  }
  int64_t version = ReadPragma(database, "user_version");
  if (version < 0 || version > newest) {
    return FailedPrecondition("'" + path + "' has schema version " + std::to_string(version) +
                                  ", this program (" + CYXWIZ_VERSION + ") knows versions up to " +
                                  std::to_string(newest),
                              "start the newer release that wrote it, or "
                              "restore the backup made before the upgrade");
  }
  return version;
}

Status Migrate(SQLite::Database& database, const std::string& path,
               std::span<const Migration> migrations) {
  int64_t newest = static_cast<int64_t>(migrations.size());
  ASSIGN_OR_RETURN(int64_t version, SchemaVersion(database, path, newest));
  for (; version < newest; ++version) {
    SQLite::Transaction transaction(database);  // rolls back when left without commit
    database.exec(migrations[static_cast<size_t>(version)]);
    database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
    database.exec("PRAGMA user_version = " + std::to_string(version + 1));
    transaction.commit();
  }
  return OkStatus();
}

}  // namespace cyxwiz::store
