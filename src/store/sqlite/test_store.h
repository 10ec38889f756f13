// What the tests of the store share: a folder of their own, and jobs to store.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/testing.h"
#include "store/sqlite/page_checksums.h"
#include "store/sqlite/sqlite_store.h"

namespace cyxwiz::store {

class TempFolder : public TemporaryFolder {
 public:
  std::string File(const std::string& name = "jobs.db") const { return *this / name; }
};

// Changes a file behind the store's back, with right checksums.
inline void Change(const std::string& path, const std::string& sql) {
  SQLite::Database database(path, SQLite::OPEN_READWRITE, 0, ChecksumVfs(""));
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  database.exec(sql);
}

inline std::unique_ptr<JobStore> Open(const std::string& path, const SqliteOptions& options = {}) {
  Result<std::unique_ptr<JobStore>> store = OpenSqliteStore(path, options);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? std::move(*store) : nullptr;
}

inline std::shared_ptr<const control::JobBody> Body(char name, size_t size = 100) {
  return std::make_shared<control::JobBody>(
      control::JobBody{std::string(32, name), std::string(size, name)});
}

inline control::PutBody StoreBody(char name) { return {name, Body(name)}; }

inline control::Job QueuedJob(int64_t sequence, char body = 'a') {
  control::Job job;
  job.sequence = sequence;
  job.id.value = "job-" + std::to_string(sequence);
  job.body = body;
  job.message = "waiting for a node";
  job.created_at.ms = 1'700'000'000'000 + sequence;
  return job;
}

inline std::vector<std::string> JobIds(const control::Snapshot& snapshot) {
  std::vector<std::string> ids;
  for (const control::Job& job : snapshot.jobs) ids.push_back(job.id.value);
  return ids;
}

inline control::Snapshot LoadAll(JobStore& store) {
  Result<control::Snapshot> snapshot = store.Load();
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return snapshot.ok() ? std::move(*snapshot) : control::Snapshot{};
}

}  // namespace cyxwiz::store
