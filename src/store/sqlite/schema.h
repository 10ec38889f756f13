// The layout of the database file and how an older one becomes the present one.
//
//   bodies   what was submitted, once per distinct content
//   jobs     one row a job; metrics and artifacts as JSON (columns.h)
//   nodes    one row a node that ever registered
//   removed  one row for each of the last deleted jobs
//   cancellations  one row for each request to cancel many jobs that is not done
//   trimmed  one row once old events have been deleted: below which number
//
// PRAGMA application_id marks a file as ours, PRAGMA user_version counts the
// migrations it has been through.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace cyxwiz::store {

inline constexpr int32_t kApplicationId = 0x43797857;  // "CyxW"

// SQL that turns schema n into schema n + 1, n being its place in the list.
// Published ones never change.
using Migration = const char*;
std::span<const Migration> Migrations();

// The version the open database stands at; 0 for an empty one.
// FAILED_PRECONDITION for a version above `newest` and for a database of
// another program. `path` is for messages. Throws SQLite::Exception when SQLite
// fails.
Result<int64_t> SchemaVersion(SQLite::Database& database, const std::string& path, int64_t newest);

// Brings the open database to the schema that `migrations` ends with, one
// transaction a step: after a failure or a crash the file stands at a step's
// end. Errors as SchemaVersion.
Status Migrate(SQLite::Database& database, const std::string& path,
               std::span<const Migration> migrations);

}  // namespace cyxwiz::store
