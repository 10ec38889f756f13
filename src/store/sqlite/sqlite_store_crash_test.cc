// Full disks and sudden ends.
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "store/sqlite/test_store.h"

namespace cyxwiz::store {
namespace {

using control::PutBody;
using control::PutJob;
using control::Record;

std::vector<Record> JobsFrom(int64_t first, int64_t count) {
  std::vector<Record> records = {StoreBody('a')};
  for (int64_t i = first; i < first + count; ++i) {
    control::Job job = QueuedJob(i);
    job.message = std::string(500, 'm');
    records.push_back(PutJob{job});
  }
  return records;
}

// Commits batches of 50 until one is refused; the number of jobs that were
// acknowledged.
int64_t FillUp(JobStore& store, Status* refusal) {
  int64_t stored = 0;
  for (; stored < 1'000'000; stored += 50) {
    *refusal = store.Commit(JobsFrom(stored + 1, 50));
    if (!refusal->ok()) break;
  }
  return stored;
}

TEST(FullDisk, ABatchIsRefusedWholeAndTheStoreGoesOnWhenThereIsRoom) {
  TempFolder folder;
  SqliteOptions options;
  options.max_pages = 100;
  auto store = Open(folder.File(), options);
  Status refusal;
  int64_t stored = FillUp(*store, &refusal);
  ASSERT_GT(stored, 0);
  EXPECT_EQ(refusal.code(), Code::kResourceExhausted) << refusal;
  EXPECT_NE(refusal.message().find(folder.File()), std::string::npos) << refusal;
  EXPECT_EQ(LoadAll(*store).jobs.size(), static_cast<size_t>(stored));
  // Nothing was freed, so it is refused again; then room is made by deleting.
  EXPECT_EQ(store->Commit(JobsFrom(stored + 1, 50)).code(), Code::kResourceExhausted);
  std::vector<Record> deletions;
  for (int64_t i = 1; i <= stored / 2; ++i)
    deletions.push_back(control::DeleteJob{QueuedJob(i).id});
  ASSERT_TRUE(store->Commit(deletions).ok());
  EXPECT_TRUE(store->Commit(JobsFrom(stored + 1, 50)).ok());
  EXPECT_EQ(LoadAll(*store).jobs.size(), static_cast<size_t>(stored - stored / 2 + 50));
}

// A file system of 1 MiB; unmounted at the end.
class SmallDisk {
 public:
  SmallDisk()
      : mounted_(::mount("cyxwiz-test", folder_.path().c_str(), "tmpfs", 0, "size=1m") == 0) {}
  ~SmallDisk() {
    if (mounted_) ::umount(folder_.path().c_str());
  }
  bool mounted() const { return mounted_; }
  std::string File(const std::string& name) const { return folder_.File(name); }

 private:
  TempFolder folder_;
  bool mounted_;
};

TEST(FullDisk, NothingAcknowledgedIsLostOnADiskThatRunsFull) {
  SmallDisk disk;
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  std::string ballast = disk.File("ballast");
  std::ofstream(ballast) << std::string(300'000, 'x');
  auto store = Open(disk.File("jobs.db"));
  Status refusal;
  int64_t stored = FillUp(*store, &refusal);
  ASSERT_GT(stored, 0);
  EXPECT_EQ(refusal.code(), Code::kResourceExhausted) << refusal;
  EXPECT_EQ(LoadAll(*store).jobs.size(), static_cast<size_t>(stored));

  std::filesystem::remove(ballast);
  EXPECT_TRUE(store->Commit(JobsFrom(stored + 1, 50)).ok()) << "goes on once there is room";
  store.reset();
  EXPECT_EQ(LoadAll(*Open(disk.File("jobs.db"))).jobs.size(), static_cast<size_t>(stored + 50));
}

// Files of this process grow no larger than so much; what goes beyond is an error of the disk.
class LargestFile {
 public:
  explicit LargestFile(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~LargestFile() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_ = {};
};

TEST(DiskError, AsTheLogIsMovedIntoTheFileIsToldAndNothingIsCommittedAfterIt) {
  TempFolder folder;
  SqliteOptions options;
  options.checkpoint_pages = 20;  // so the log stays smaller than the file may become
  auto store = Open(folder.File(), options);
  Status failure;
  {
    LargestFile limit(500'000);
    EXPECT_GT(FillUp(*store, &failure), 0);
    EXPECT_EQ(failure.code(), Code::kInternal) << failure;
    EXPECT_NE(failure.hint().find("check the disk"), std::string::npos) << failure;
  }
  EXPECT_EQ(store->Commit(JobsFrom(1'000'000, 1)).code(), Code::kInternal)
      << "what it holds in memory may not be what the disk has";
}

TEST(SuddenEnd, AProcessKilledWhileItCommitsLosesNothingItAcknowledged) {
  TempFolder folder;
  int64_t next = 1;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    pid_t child = ::fork();
    if (child == 0) {
      auto store = Open(folder.File());
      for (int64_t i = next; store; ++i) {
        control::Job job = QueuedJob(i);
        std::vector<Record> records = {StoreBody('a'), PutJob{job}};
        job.state = control::JobState::kAssigned;
        records.push_back(PutJob{job});
        if (!store->Commit(records).ok()) break;
        if (::write(ends[1], &i, sizeof i) != sizeof i) break;
      }
      ::_exit(1);
    }
    ::close(ends[1]);
    int64_t acknowledged = 0, number = 0;
    // Killed after another number of commits in each round, somewhere within
    // the next one.
    while (::read(ends[0], &number, sizeof number) == sizeof number) {
      acknowledged = number;
      if (number >= next + 37 * (round + 1)) ::kill(child, SIGKILL);
    }
    ::close(ends[0]);
    int result = 0;
    ::waitpid(child, &result, 0);
    ASSERT_TRUE(WIFSIGNALED(result));
    ASSERT_GE(acknowledged, next);

    control::Snapshot snapshot = LoadAll(*Open(folder.File()));
    // One more than acknowledged may be there, committed just before the end.
    ASSERT_GE(static_cast<int64_t>(snapshot.jobs.size()), acknowledged);
    ASSERT_LE(static_cast<int64_t>(snapshot.jobs.size()), acknowledged + 1);
    for (size_t i = 0; i < snapshot.jobs.size(); ++i) {
      EXPECT_EQ(snapshot.jobs[i].sequence, static_cast<int64_t>(i) + 1) << "none lost, none twice";
      EXPECT_EQ(snapshot.jobs[i].state, control::JobState::kAssigned) << "no batch in part";
    }
    next = static_cast<int64_t>(snapshot.jobs.size()) + 1;
  }
}

}  // namespace
}  // namespace cyxwiz::store
