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

TEST(Schema, WholeGpusOfAnOlderFileAreThousandthsAfterwards) {
  TempFolder folder;
  {
    SQLite::Database old(folder.File(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    ASSERT_TRUE(Migrate(old, folder.File(), Migrations().first(10)).ok());
    old.exec(
        "INSERT INTO nodes (id, endpoint, info, cpu_millis, memory_bytes, gpus, devices, "
        "registered_at, jobs_completed) VALUES ('n', 'h:1', x'', 1000, 1, 2, '[1,2]', 0, 0)");
    old.exec("INSERT INTO bodies VALUES (1, x'00', x'00')");
    for (const char* values : {"1, 'with', 1", "2, 'without', 0"}) {
      old.exec(
          "INSERT INTO jobs (sequence, id, gpus, body, name, user, type, priority, "
          "cpu_millis, memory_bytes, device, max_retries, total_epochs, state, message, "
          "created_at, started_at, ended_at, not_before, attempt, node, retries, "
          "cancel_requested, cancel_reason, cause, error_code, error_message, error_details, "
          "progress, current_epoch, metrics, artifacts, compute_seconds) VALUES (" +
          std::string(values) +
          ", 1, '', '', 1, 1, 1000, 1, 2, 2, 5, 3, '', 1, 1, 0, 0, 1, 'n', 0, 0, '', 0, 0, "
          "'', '', 0, 1, '{}', '[]', 0)");
    }
  }
  auto store = Open(folder.File());
  ASSERT_TRUE(store);
  const control::Snapshot snapshot = LoadAll(*store);
  ASSERT_EQ(snapshot.jobs.size(), 2u);
  EXPECT_EQ(snapshot.jobs[0].resources.gpu_millis, 1000);
  EXPECT_TRUE(snapshot.jobs[0].gpus->empty()) << "which one the node chose is not known";
  EXPECT_EQ(snapshot.jobs[1].resources.gpu_millis, 0);
  ASSERT_EQ(snapshot.nodes.size(), 1u);
  EXPECT_EQ(snapshot.nodes[0].capacity.gpu_millis, 2000);
  EXPECT_EQ(*snapshot.nodes[0].capacity.gpus, (std::vector<GpuPart>{{0, 1000, 0}, {1, 1000, 0}}));
}

TEST(Schema, WhichEventsAnOlderFileHasDeletedIsToldByTheFirstItHas) {
  for (const auto& [last, refused] : {std::pair{9, false}, std::pair{1'000'009, true}}) {
    TempFolder folder;
    {
      SQLite::Database old(folder.File(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
      ASSERT_TRUE(Migrate(old, folder.File(), Migrations().first(12)).ok());
      for (int number : {5, last}) {
        old.exec("INSERT INTO events VALUES (" + std::to_string(number) +
                 ", 0, 9, 0, '', 'n', 0, 0, 0, 0, '')");
      }
    }
    auto store = Open(folder.File());
    ASSERT_TRUE(store);
    EXPECT_EQ(store->Events({.after = 2}).status().code(), refused ? Code::kOutOfRange : Code::kOk);
    EXPECT_EQ(store->Events({})->size(), 2u);
    EXPECT_EQ(store->Events({})->at(0).actor, "");
  }
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
