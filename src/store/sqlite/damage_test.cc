// Wrong bytes in the file and in its log, and logs and migrations that were cut short: the store
// opens with everything that was acknowledged, or it does not open and says which file is damaged.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "base/file.h"
#include "store/maintenance.h"
#include "store/sqlite/test_store.h"

namespace cyxwiz::store {
namespace {

using control::PutJob;
using control::Record;

constexpr int kFrameBytes = 24 + 4096;

std::string Content(const std::string& path) {
  Result<std::string> content = ReadFile(path);
  EXPECT_TRUE(content.ok()) << content.status();
  return content.ok() ? *content : "";
}
void Write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary).write(content.data(), std::ssize(content));
}

// All that is stored, as text.
std::string Digest(JobStore& store) {
  std::string text;
  control::Snapshot snapshot = LoadAll(store);
  auto ended = store.ListEnded({}, INT64_MAX, 100'000);
  EXPECT_TRUE(ended.ok()) << ended.status();
  if (!ended.ok()) return "";
  snapshot.jobs.insert(snapshot.jobs.end(), ended->begin(), ended->end());
  for (const control::Job& job : snapshot.jobs) {
    text += job.id.value + " " + std::to_string(job.sequence) + " " + job.name + " " +
            JobStateName(job.state) + " " + job.message + " " + std::to_string(job.created_at.ms) +
            " " + std::to_string(job.body) + "\n";
  }
  for (const control::PutBody& body : snapshot.bodies) text += body.body->config + "\n";
  for (const control::Node& node : snapshot.nodes) text += node.id.value + node.endpoint + "\n";
  return text;
}

// A store as a killed server leaves it, with a part of its jobs in the file and the rest in the
// log.
struct Killed {
  explicit Killed(bool with_file) {
    {
      auto store = Open(folder.File());
      int64_t next = 1;
      auto commit = [&](int64_t count) {
        std::vector<Record> records = {StoreBody('a'), StoreBody('b'),
                                       control::PutNode{{{"n"}, "h:1"}}};
        for (int64_t i = 0; i < count; ++i, ++next) {
          control::Job job = QueuedJob(next, next % 2 ? 'a' : 'b');
          job.name = "name of " + std::to_string(next);
          if (next % 3 == 0) {
            job.state = control::JobState::kSucceeded;
            job.ended_at.ms = next;
          }
          records.push_back(PutJob{job});
        }
        ASSERT_TRUE(store->Commit(records).ok());
      };
      commit(300);
      if (with_file) {
        store.reset();
        store = Open(folder.File());
      }
      for (int i = 0; i < 8; ++i) commit(20);
      digest = Digest(*store);
      file = Content(folder.File());
      log = Content(folder.File() + "-wal");
      lock = Content(folder.File() + ".lock");
    }
    EXPECT_GT(log.size(), 10u * kFrameBytes);
  }

  // The store of these bytes, or why it does not open.
  Result<std::unique_ptr<JobStore>> OpenWith(const std::string& file_bytes,
                                             const std::string& log_bytes) {
    for (const char* end : {"", "-wal", "-shm", "-journal"})
      std::filesystem::remove(folder.File() + end);
    Write(folder.File(), file_bytes);
    Write(folder.File() + "-wal", log_bytes);
    Write(folder.File() + ".lock", lock);
    return OpenSqliteStore(folder.File());
  }

  TempFolder folder;
  std::string digest, file, log, lock;
};

void ExpectAllOrRefused(Killed& killed, Result<std::unique_ptr<JobStore>> store,
                        const std::string& what, int* refused) {
  if (store.ok()) {
    EXPECT_EQ(Digest(**store), killed.digest) << what;
    return;
  }
  ++*refused;
  EXPECT_EQ(store.status().code(), Code::kDataLoss) << what << ": " << store.status();
  EXPECT_NE(store.status().message().find(killed.folder.File()), std::string::npos)
      << what << ": " << store.status();
  EXPECT_NE(store.status().hint().find("cyxwiz-central-server restore"), std::string::npos)
      << what << ": " << store.status();
  // Trying once more does not make it any better.
  EXPECT_EQ(OpenSqliteStore(killed.folder.File()).status().code(), Code::kDataLoss) << what;
}

void FlipInFile(bool with_file, uint32_t seed, int times) {
  Killed killed(with_file);
  std::mt19937 random(seed);
  int refused = 0;
  for (int i = 0; i < times; ++i) {
    std::string bytes = killed.file;
    // The header more often than its size would have it.
    size_t at = random() % (i % 8 == 0 ? 100 : bytes.size());
    auto flip = static_cast<char>(i % 2 ? 1 << random() % 8 : 1 + random() % 255);
    bytes[at] = static_cast<char>(bytes[at] ^ flip);
    ExpectAllOrRefused(killed, killed.OpenWith(bytes, killed.log),
                       "byte " + std::to_string(at) + " of the file, seed " + std::to_string(seed),
                       &refused);
    if (::testing::Test::HasFailure()) return;
  }
  if (with_file) {
    EXPECT_GT(refused, times / 3);
  }
}

TEST(Damage, AWrongByteInTheFileIsNoticedOrDoesNotMatter) { FlipInFile(true, 1, 150); }
TEST(Damage, AWrongByteInANewFileIsNoticedOrDoesNotMatter) { FlipInFile(false, 2, 40); }

TEST(Damage, AWrongByteInTheLogIsNoticedOrDoesNotMatter) {
  constexpr uint32_t kSeed = 3;
  for (bool with_file : {true, false}) {
    Killed killed(with_file);
    std::mt19937 random(kSeed);
    int refused = 0;
    // In the last frame it cannot be told from a commit that was cut short when the process was
    // killed.
    size_t most = killed.log.size() - kFrameBytes;
    for (int i = 0; i < 90; ++i) {
      std::string bytes = killed.log;
      size_t at = random() % (i % 8 == 0 ? 56 : most);
      auto flip = static_cast<char>(i % 2 ? 1 << random() % 8 : 1 + random() % 255);
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      ExpectAllOrRefused(
          killed, killed.OpenWith(killed.file, bytes),
          "byte " + std::to_string(at) + " of the log, seed " + std::to_string(kSeed), &refused);
      if (HasFailure()) return;
    }
    EXPECT_GT(refused, 70);
  }
}

TEST(Damage, AFileThatLostItsEndIsNoticed) {
  Killed killed(true);
  std::mt19937 random(4);
  int refused = 0;
  for (int i = 0; i < 25; ++i) {
    size_t left = 4096 + random() % (killed.file.size() - 4096);
    ExpectAllOrRefused(killed, killed.OpenWith(killed.file.substr(0, left), killed.log),
                       "cut to " + std::to_string(left), &refused);
    if (HasFailure()) return;
  }
}

// The jobs that are there when the log is cut to `left` bytes are those of whole commits.
TEST(Damage, ALogThatIsCutShortLosesOnlyTheCommitThatIsNotComplete) {
  Killed killed(true);
  std::mt19937 random(5);
  for (int i = 0; i < 40; ++i) {
    size_t left = random() % (killed.log.size() + 1);
    auto store = killed.OpenWith(killed.file, killed.log.substr(0, left));
    ASSERT_TRUE(store.ok()) << left << ": " << store.status();
    size_t jobs = LoadAll(**store).jobs.size() + (*store)->ListEnded({}, INT64_MAX, 1000)->size();
    EXPECT_GE(jobs, 300u);
    EXPECT_EQ(jobs % 20, 0u) << "a part of a commit";
  }
}

// A power failure while the log was begun anew: all of it had been copied into the file.
TEST(Damage, AHeaderOfTheLogThatIsLostDoesNotMatterOnceTheFileHasItAll) {
  Killed killed(true);
  auto closed = killed.OpenWith(killed.file, killed.log);
  ASSERT_TRUE(closed.ok()) << closed.status();
  *closed = nullptr;
  const std::string whole = Content(killed.folder.File());
  std::string log = killed.log;
  std::fill_n(log.begin(), 32, '\0');
  auto store = killed.OpenWith(whole, log);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(Digest(**store), killed.digest);
  *store = nullptr;
  EXPECT_EQ(killed.OpenWith(killed.file, log).status().code(), Code::kDataLoss);
}

// What a power failure leaves: the last commit in part, in any order, and the lock of another boot.
TEST(Damage, ACommitThatAPowerFailureLeftInPartIsGivenUpAndLeavesNothingBehind) {
  Killed killed(true);
  killed.lock = "1\nan earlier boot\n";
  std::string bytes = killed.log;
  bytes[bytes.size() - 2 * kFrameBytes + 100] ^= 1;  // of the frame before the last
  auto store = killed.OpenWith(killed.file, bytes);
  ASSERT_TRUE(store.ok()) << store.status();
  std::string before = Digest(**store);
  EXPECT_NE(before, killed.digest);
  *store = nullptr;
  // Again, by a process of this boot, as if the first had been killed at once.
  store = OpenSqliteStore(killed.folder.File());
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(Digest(**store), before);
}

// What a process that is killed between the two writes of its commit's last frame leaves.
TEST(Damage, ACommitWhoseLastFrameWasBeingWrittenIsGivenUp) {
  Killed killed(true);
  std::string bytes = killed.log;
  for (size_t at = bytes.size() - 4096; at < bytes.size(); ++at) bytes[at] = 'x';
  auto store = killed.OpenWith(killed.file, bytes);
  ASSERT_TRUE(store.ok()) << store.status();
  std::string digest = Digest(**store);
  // As if killed again: nothing of the log is taken for damage afterwards.
  std::string file = Content(killed.folder.File()), log = Content(killed.folder.File() + "-wal");
  killed.lock = Content(killed.folder.File() + ".lock");
  *store = nullptr;
  auto again = killed.OpenWith(file, log);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Digest(**again), digest);
}

TEST(Damage, FilesWithoutChecksumsAreReadAndGetThemByARestore) {
  TempFolder folder;
  {
    auto store = Open(folder.File("new"));
    std::vector<Record> records = {StoreBody('a')};
    for (int i = 1; i <= 500; ++i) records.push_back(PutJob{QueuedJob(i)});
    ASSERT_TRUE(store->Commit(records).ok());
  }
  {
    // As an earlier release made it.
    SQLite::Database old(folder.File("old"), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    ASSERT_TRUE(Migrate(old, folder.File("old"), Migrations()).ok());
    old.exec("ATTACH '" + folder.File("new") + "' AS new");
    old.exec(
        "INSERT INTO bodies SELECT * FROM new.bodies; INSERT INTO jobs SELECT * FROM new.jobs");
  }
  ASSERT_EQ(Content(folder.File("old"))[20], 0);
  EXPECT_EQ(LoadAll(*Open(folder.File("old"))).jobs.size(), 500u);
  ASSERT_TRUE(RestoreSqliteStore(folder.File("old"), folder.File()).ok());
  EXPECT_EQ(Content(folder.File())[20], 8);
  EXPECT_EQ(LoadAll(*Open(folder.File())).jobs.size(), 500u);
  // A byte of a name that SQLite itself would not miss.
  std::string bytes = Content(folder.File());
  size_t at = bytes.find("waiting for a node");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'W';
  Write(folder.File(), bytes);
  EXPECT_EQ(OpenSqliteStore(folder.File()).status().code(), Code::kDataLoss);
  auto damage = FindDamage(folder.File());
  EXPECT_TRUE(!damage.ok() || !damage->empty());
}

// Kills a process at any time while it migrates; the next one goes on from the step that was done.
TEST(Damage, AMigrationThatIsKilledIsGoneOnWith) {
  std::vector<Migration> older(Migrations().begin(), Migrations().begin() + 3);
  SqliteOptions old;
  old.migrations = older;
  TempFolder made;
  {
    // Of that schema no store can be made any more, so its rows are written by hand.
    SQLite::Database database(made.File(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    ASSERT_TRUE(Migrate(database, made.File(), older).ok());
    database.exec(
        "INSERT INTO bodies VALUES (97, x'61', x'62');"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO jobs SELECT i, 'job-' || i, 97, '', '', 1, 1, 1, 1, 0, 0, 2, 1, "
        "1 + 4 * (i % 2), '', 1, 0, i % 2, 0, 0, '', 0, 0, '', 0, 0, '', '', 0, 0, '{}', '[]', 0, "
        "0, '' FROM n");
  }
  std::string file = Content(made.File());
  int killed = 0;
  std::mt19937 random(6);
  for (int round = 0; round < 6; ++round) {
    TempFolder folder;
    Write(folder.File(), file);
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    pid_t child = ::fork();
    if (child == 0) {
      char begun = 1;
      if (::write(ends[1], &begun, 1) != 1) ::_exit(1);
      ::_exit(OpenSqliteStore(folder.File()).ok() ? 0 : 1);
    }
    ::close(ends[1]);
    char begun = 0;
    ASSERT_EQ(::read(ends[0], &begun, 1), 1);
    // Not waiting for anything: any moment is as good.
    ::usleep(static_cast<useconds_t>(random() % 60'000));
    ::kill(child, SIGKILL);
    int result = 0;
    ::waitpid(child, &result, 0);
    ::close(ends[0]);
    killed += WIFSIGNALED(result);
    EXPECT_TRUE(WIFSIGNALED(result) || WEXITSTATUS(result) == 0);
    auto store = OpenSqliteStore(folder.File());
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(LoadAll(**store).jobs.size(), 10'000u);
    EXPECT_EQ((*store)->ListEnded({}, INT64_MAX, 100'000)->size(), 10'000u);
    *store = nullptr;
    EXPECT_EQ(SQLite::Database(folder.File()).execAndGet("PRAGMA user_version").getInt64(),
              static_cast<int64_t>(Migrations().size()));
  }
  EXPECT_GT(killed, 0);
}

}  // namespace
}  // namespace cyxwiz::store
