#include "store/maintenance.h"

#include <fstream>

#include "base/file.h"
#include "store/sqlite/test_store.h"

namespace cyxwiz::store {
namespace {

using control::PutJob;
using control::Record;

std::string Content(const std::string& path) {
  Result<std::string> content = ReadFile(path);
  EXPECT_TRUE(content.ok()) << content.status();
  return content.ok() ? *content : "";
}

void StoreJobs(JobStore& store, int64_t first, int64_t last) {
  std::vector<Record> records = {StoreBody('a')};
  for (int64_t i = first; i <= last; ++i) records.push_back(PutJob{QueuedJob(i)});
  ASSERT_TRUE(store.Commit(records).ok());
}

Status CopyAll(Backup& backup, int pages = 1000) {
  for (;;) {
    Result<bool> complete = backup.Step(pages);
    if (!complete.ok()) return complete.status();
    if (*complete) return OkStatus();
  }
}

// A store of the first schema, with one node.
void MakeOlder(const std::string& path) {
  SQLite::Database database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  ASSERT_TRUE(Migrate(database, path, Migrations().first(1)).ok());
  database.exec("INSERT INTO nodes VALUES ('n', 'h:1', x'', 1000, 1, 0, '[1]', 0, 0)");
}

// The number of its jobs, after every check that there is.
size_t SoundJobs(const std::string& path) {
  auto damage = FindDamage(path);
  EXPECT_TRUE(damage.ok()) << damage.status();
  EXPECT_TRUE(damage.ok() && damage->empty()) << damage->front();
  auto store = OpenSqliteStoreToRead(path);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? LoadAll(**store).jobs.size() : 0;
}

TEST(Maintenance, ABackupHoldsWhatWasCommittedWhileItWasMade) {
  TempFolder folder;
  auto store = Open(folder.File());
  StoreJobs(*store, 1, 1000);
  auto backup = store->BeginBackup(folder.File("copy"));
  ASSERT_TRUE(backup.ok()) << backup.status();
  int64_t next = 1001;
  for (bool complete = false; !complete; next += 10) {
    auto step = (*backup)->Step(5);
    ASSERT_TRUE(step.ok()) << step.status();
    complete = *step;
    // Both pages that were copied and pages that were not change meanwhile.
    if (!complete) {
      StoreJobs(*store, next, next + 9);
      control::Job early = QueuedJob(1);
      early.message = "changed in step " + std::to_string(next);
      std::vector<Record> records = {PutJob{early}};
      ASSERT_TRUE(store->Commit(records).ok());
    }
  }
  *backup = nullptr;
  EXPECT_GT(next, 1050) << "it took some steps";
  EXPECT_EQ(SoundJobs(folder.File("copy")), LoadAll(*store).jobs.size());
  EXPECT_EQ(LoadAll(**OpenSqliteStoreToRead(folder.File("copy"))).jobs[0].message,
            LoadAll(*store).jobs[0].message);
}

TEST(Maintenance, ABackupThatCannotBeWrittenLeavesTheStoreAlone) {
  TempFolder folder;
  auto store = Open(folder.File());
  StoreJobs(*store, 1, 100);
  Status status;
  if (auto backup = store->BeginBackup(folder.path() + "/absent/copy"); backup.ok())
    status = CopyAll(**backup);
  else
    status = backup.status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("/absent/copy"), std::string::npos) << status;
  StoreJobs(*store, 101, 200);
  EXPECT_EQ(LoadAll(*store).jobs.size(), 200u);
}

TEST(Maintenance, ReadingChangesNothingAndSeesTheLog) {
  TempFolder folder, killed;
  {
    auto store = Open(folder.File());
    StoreJobs(*store, 1, 50);
    // As a killed server leaves it.
    for (const char* end : {"", "-wal"})
      std::filesystem::copy(folder.File() + end, killed.File() + end);
  }
  std::string file = Content(killed.File()), log = Content(killed.File() + "-wal");
  ASSERT_GT(log.size(), 0u);
  EXPECT_EQ(SoundJobs(killed.File()), 50u);
  {
    auto store = OpenSqliteStoreToRead(killed.File());
    ASSERT_TRUE(store.ok());
    std::vector<Record> records = {PutJob{QueuedJob(51)}};
    EXPECT_FALSE((*store)->Commit(records).ok());
  }
  EXPECT_EQ(Content(killed.File()), file);
  EXPECT_EQ(Content(killed.File() + "-wal"), log);
}

TEST(Maintenance, AStoreThatIsOpenAMissingOneAndAnOlderOneAreNotRead) {
  TempFolder folder;
  auto store = Open(folder.File());
  Status open = OpenSqliteStoreToRead(folder.File()).status();
  EXPECT_EQ(open.code(), Code::kFailedPrecondition) << open;
  EXPECT_NE(open.message().find("process " + std::to_string(::getpid())), std::string::npos)
      << open;
  EXPECT_EQ(FindDamage(folder.File()).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(OpenSqliteStoreToRead(folder.File("none")).status().code(), Code::kNotFound);
  EXPECT_EQ(FindDamage(folder.File("none")).status().code(), Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(folder.File("none")));
  store.reset();

  TempFolder old;
  MakeOlder(old.File());
  EXPECT_TRUE(FindDamage(old.File())->empty());
  Status status = OpenSqliteStoreToRead(old.File()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status;
  EXPECT_NE(status.hint().find("start a server"), std::string::npos) << status;
}

TEST(Maintenance, DamageOfAnIndexIsFoundThoughTheTableIsSound) {
  TempFolder folder;
  StoreJobs(*Open(folder.File()), 1, 200);
  // An index whose rows are those of another column.
  Change(folder.File(),
         "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '(body)', "
         "'(type)') WHERE name = 'jobs_of_body'");
  auto damage = FindDamage(folder.File());
  ASSERT_TRUE(damage.ok()) << damage.status();
  EXPECT_FALSE(damage->empty());
}

TEST(Maintenance, ARestoreBringsTheBackupWithAttemptNumbersBeyondThoseGivenSince) {
  TempFolder folder;
  control::Job running = QueuedJob(1), ended = QueuedJob(2);
  running.state = control::JobState::kRunning;
  running.attempt = 3;
  ended.state = control::JobState::kSucceeded;
  ended.attempt = 1;
  control::Job array = QueuedJob(4);
  array.array = std::make_shared<control::Array>(control::Array{.size = 9, .base_attempt = 5});
  {
    auto store = Open(folder.File());
    std::vector<Record> records = {StoreBody('a'), PutJob{running}, PutJob{ended},
                                   control::PutRemoved{{{"gone"}, 3, 2}}, PutJob{array}};
    ASSERT_TRUE(store->Commit(records).ok());
    ASSERT_TRUE(CopyAll(**store->BeginBackup(folder.File("copy"))).ok());
    running.attempt = 7;
    records = {PutJob{running}, PutJob{QueuedJob(9)}};
    ASSERT_TRUE(store->Commit(records).ok());
  }
  ASSERT_TRUE(RestoreSqliteStore(folder.File("copy"), folder.File()).ok());
  auto store = Open(folder.File());
  control::Snapshot snapshot = LoadAll(*store);
  EXPECT_EQ(JobIds(snapshot), (std::vector<std::string>{"job-1", "job-4"}));
  EXPECT_EQ(snapshot.jobs[1].attempt, 0);
  EXPECT_EQ(snapshot.jobs[1].array->base_attempt, 5 + kAttemptsSkippedByRestore);
  EXPECT_EQ(snapshot.jobs[0].attempt, 3 + kAttemptsSkippedByRestore);
  EXPECT_EQ(snapshot.removed[0].attempt, 2 + kAttemptsSkippedByRestore);
  EXPECT_EQ((*store->FindEnded({"job-2"}))->job.attempt, 1);
  // What was there is put aside.
  EXPECT_EQ(JobIds(LoadAll(**OpenSqliteStoreToRead(folder.File("jobs.db.replaced")))),
            (std::vector<std::string>{"job-1", "job-4", "job-9"}));
}

TEST(Maintenance, AnUnfinishedRestoreKeepsServersOutAndIsRunAgain) {
  TempFolder folder;
  {
    auto store = Open(folder.File());
    StoreJobs(*store, 1, 10);
    ASSERT_TRUE(CopyAll(**store->BeginBackup(folder.File("copy"))).ok());
    StoreJobs(*store, 11, 20);
    for (const char* end : {"", "-wal"})
      std::filesystem::copy(folder.File() + end, folder.File("killed") + end);
  }
  // As left by a restore that ended once the log had been put aside.
  std::filesystem::remove(folder.File());
  std::filesystem::rename(folder.File("killed"), folder.File());
  std::filesystem::rename(folder.File("killed-wal"), folder.File("jobs.db.replaced-wal"));
  std::filesystem::copy(folder.File("copy"), folder.File("jobs.db.incoming"));
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status;
  EXPECT_NE(status.hint().find("restore"), std::string::npos) << status;

  ASSERT_TRUE(RestoreSqliteStore(folder.File("copy"), folder.File()).ok());
  EXPECT_EQ(LoadAll(*Open(folder.File())).jobs.size(), 10u);
  EXPECT_EQ(SoundJobs(folder.File("jobs.db.replaced")), 20u) << "with its log";
}

TEST(Maintenance, ABackupOfAnOlderSchemaCanBeRestored) {
  TempFolder folder;
  MakeOlder(folder.File("old"));
  ASSERT_TRUE(RestoreSqliteStore(folder.File("old"), folder.File()).ok());
  EXPECT_EQ(LoadAll(*Open(folder.File())).nodes.size(), 1u);
}

}  // namespace
}  // namespace cyxwiz::store
