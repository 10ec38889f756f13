#include "store/sqlite/schema.h"

#include <fstream>

#include "store/sqlite/test_store.h"

namespace cyxwiz::store {
namespace {

using control::PutBody;
using control::PutJob;
using control::Record;

int64_t UserVersion(const std::string& path) {
  return SQLite::Database(path).execAndGet("PRAGMA user_version").getInt64();
}

TEST(Schema, AnEmptyFileBecomesAStore) {
  TempFolder folder;
  std::ofstream(folder.File()).flush();
  ASSERT_TRUE(Open(folder.File()));
  EXPECT_EQ(UserVersion(folder.File()), static_cast<int64_t>(Migrations().size()));
}

TEST(Schema, AnOlderFileIsMigratedAndKeepsItsJobs) {
  TempFolder folder;
  std::vector<Record> records = {StoreBody('a'), PutJob{QueuedJob(1)}};
  ASSERT_TRUE(Open(folder.File())->Commit(records).ok());

  std::vector<Migration> newer(Migrations().begin(), Migrations().end());
  newer.push_back(
      "ALTER TABLE jobs ADD COLUMN tags TEXT NOT NULL DEFAULT ''; "
      "CREATE TABLE teams (id TEXT);");
  newer.push_back("INSERT INTO teams VALUES ('red')");
  SqliteOptions options;
  options.migrations = newer;
  auto store = Open(folder.File(), options);
  ASSERT_TRUE(store);
  EXPECT_EQ(JobIds(LoadAll(*store)), std::vector<std::string>{"job-1"});
  store.reset();
  EXPECT_EQ(UserVersion(folder.File()), static_cast<int64_t>(newer.size()));
}

TEST(Schema, AFailingMigrationLeavesTheFileAtTheStepBefore) {
  TempFolder folder;
  std::vector<Migration> newer(Migrations().begin(), Migrations().end());
  newer.push_back("CREATE TABLE teams (id TEXT)");
  newer.push_back("CREATE TABLE half (id TEXT); INSERT INTO nowhere VALUES (1)");
  SqliteOptions options;
  options.migrations = newer;
  EXPECT_FALSE(OpenSqliteStore(folder.File(), options).ok());
  EXPECT_EQ(UserVersion(folder.File()), static_cast<int64_t>(newer.size()) - 1);
  SQLite::Database database(folder.File());
  EXPECT_TRUE(database.tableExists("teams"));
  EXPECT_FALSE(database.tableExists("half"));
}

TEST(Schema, ANewerFileIsRefusedWithBothVersionsAndNotTouched) {
  TempFolder folder;
  ASSERT_TRUE(Open(folder.File()));
  int64_t newer = static_cast<int64_t>(Migrations().size()) + 7;
  Change(folder.File(), "PRAGMA user_version = " + std::to_string(newer));
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find(folder.File()), std::string::npos) << status;
  EXPECT_NE(status.message().find("version " + std::to_string(newer)), std::string::npos) << status;
  EXPECT_NE(status.message().find("up to " + std::to_string(Migrations().size())),
            std::string::npos)
      << status;
  EXPECT_NE(status.hint().find("newer release"), std::string::npos) << status;
  EXPECT_EQ(UserVersion(folder.File()), newer);
}

TEST(Schema, ADatabaseOfAnotherProgramIsRefused) {
  TempFolder folder;
  {
    SQLite::Database(folder.File(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
        .exec("CREATE TABLE t (x)");
  }
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find("another program"), std::string::npos) << status;
}

}  // namespace
}  // namespace cyxwiz::store
