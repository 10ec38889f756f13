#include "node/checkpoint_keeper.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/file.h"
#include "base/logging.h"
#include "base/text.h"

namespace cyxwiz::node {

namespace fs = std::filesystem;

namespace {

int64_t BytesOf(const std::string& folder) {
  int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (entry->is_regular_file(unreadable)) {
      bytes += static_cast<int64_t>(entry->file_size(unreadable));
    }
  }
  return bytes;
}

}  // namespace

std::optional<int64_t> NewestCheckpoint(const std::string& folder) {
  std::optional<int64_t> newest;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    auto step = ParseInt(entry->path().filename().string());
    std::error_code absent;
    if (!step || *step < 0 || !fs::exists(entry->path() / "manifest.json", absent)) continue;
    newest = std::max(newest.value_or(*step), *step);
  }
  return newest;
}

Result<std::unique_ptr<CheckpointKeeper>> CheckpointKeeper::Open(const std::string& folder,
                                                                 int64_t max_bytes) {
  RETURN_IF_ERROR(MakeFolder(folder, 0700));
  std::unique_ptr<CheckpointKeeper> keeper(new CheckpointKeeper(folder, max_bytes));
  std::vector<std::pair<fs::file_time_type, JobId>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    found.emplace_back(entry.last_write_time(error), JobId{entry.path().filename().string()});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [time, job] : found) keeper->Add(job);
  return keeper;
}

void CheckpointKeeper::Adopt(const std::string& attempts) {
  std::error_code error;
  for (const auto& job : fs::directory_iterator(attempts, error)) {
    // The newest attempt last: of equal steps its checkpoint replaces the older ones.
    std::map<int64_t, std::string> folders;
    std::error_code unreadable;
    for (const auto& attempt : fs::directory_iterator(job.path(), unreadable)) {
      auto number = ParseInt(attempt.path().filename().string());
      if (number) folders[*number] = (attempt.path() / "checkpoints").string();
    }
    for (const auto& [number, folder] : folders) Keep({job.path().filename().string()}, folder);
  }
}

void CheckpointKeeper::Keep(const JobId& job, const std::string& folder) {
  std::optional<int64_t> step = NewestCheckpoint(folder);
  if (!step) return;
  std::optional<int64_t> kept = NewestCheckpoint(FolderOf(job));
  if (kept && *kept > *step) return;
  Drop(job);
  std::error_code error;
  fs::rename(folder, FolderOf(job), error);
  if (error) {
    spdlog::warn("the checkpoints of job {} are not kept here: {}", job.value, error.message());
    return;
  }
  fs::last_write_time(FolderOf(job), fs::file_time_type::clock::now(), error);
  Add(job);
}

void CheckpointKeeper::GiveBack(const JobId& job, const std::string& folder) {
  std::error_code error;
  fs::rename(FolderOf(job), folder, error);
  Forget(job);
}

void CheckpointKeeper::Drop(const JobId& job) {
  std::error_code error;
  fs::remove_all(FolderOf(job), error);
  Forget(job);
}

std::vector<JobId> CheckpointKeeper::jobs() const {
  std::vector<JobId> jobs;
  for (const Entry& entry : entries_) jobs.push_back(entry.job);
  return jobs;
}

void CheckpointKeeper::Add(const JobId& job) {
  entries_.push_back({job, BytesOf(FolderOf(job))});
  bytes_ += entries_.back().bytes;
  while (bytes_ > max_bytes_ && !entries_.empty()) {
    JobId oldest = entries_.front().job;
    spdlog::info("the checkpoints of job {} are not kept here any more: there are more than fit",
                 oldest.value);
    Drop(oldest);
  }
}

void CheckpointKeeper::Forget(const JobId& job) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->job != job) continue;
    bytes_ -= entry->bytes;
    entries_.erase(entry);
    return;
  }
}

}  // namespace cyxwiz::node
