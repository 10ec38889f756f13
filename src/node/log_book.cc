#include "node/log_book.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "node/unreported_end.h"

namespace cyxwiz::node {

namespace fs = std::filesystem;

LogBook::LogBook(std::string folder, int64_t log_max_bytes, size_t keep)
    : folder_(std::move(folder)), log_max_bytes_(log_max_bytes), keep_(keep) {}

Result<std::unique_ptr<LogBook>> LogBook::Open(const std::string& folder, int64_t log_max_bytes,
                                               size_t keep) {
  RETURN_IF_ERROR(MakeFolder(folder, 0700));
  std::unique_ptr<LogBook> book(new LogBook(folder, log_max_bytes, keep));
  std::vector<std::pair<fs::file_time_type, AttemptId>> found;
  std::error_code error;
  for (const auto& job : fs::directory_iterator(folder, error)) {
    if (!job.is_directory(error)) continue;
    for (const auto& attempt : fs::directory_iterator(job.path(), error)) {
      auto number = ParseInt(attempt.path().filename().string());
      if (!number || *number < 1 || *number > INT32_MAX) continue;
      found.emplace_back(
          attempt.last_write_time(error),
          AttemptId{{job.path().filename().string()}, static_cast<AttemptNumber>(*number)});
    }
  }
  std::sort(found.begin(), found.end());
  for (auto& [time, id] : found) {
    if (fs::exists(book->FolderOf(id) + "/" + kEndFile, error)) {
      book->unreported_.push_back(id);
    } else {
      book->RemoveFiles(id);
    }
  }
  return book;
}

std::string LogBook::FolderOf(const AttemptId& attempt) const {
  return folder_ + "/" + attempt.job.value + "/" + std::to_string(attempt.attempt);
}

Result<AttemptLog*> LogBook::Begin(const AttemptId& attempt, int64_t max_bytes) {
  std::string folder = FolderOf(attempt);
  // The same attempt may have been here before, when the server was set up anew.
  std::error_code error;
  CloseLog(attempt);
  fs::remove_all(folder, error);
  std::erase(ended_, attempt);
  if (read_id_ == attempt) read_id_.reset();
  RETURN_IF_ERROR(MakeFolder(folder, 0700));
  max_bytes = max_bytes > 0 ? std::min(max_bytes, log_max_bytes_) : log_max_bytes_;
  ASSIGN_OR_RETURN(std::unique_ptr<AttemptLog> log, AttemptLog::Open(folder, max_bytes));
  AttemptLog* pointer = log.get();
  open_[attempt] = std::move(log);
  return pointer;
}

void LogBook::CloseLog(const AttemptId& attempt) {
  auto found = open_.find(attempt);
  if (found != open_.end()) found->second->Close();
}

void LogBook::RemoveFiles(const AttemptId& attempt) {
  open_.erase(attempt);
  std::error_code error;
  std::vector<fs::path> doomed;
  for (const auto& entry : fs::directory_iterator(FolderOf(attempt), error)) {
    if (!AttemptLog::IsLogFile(entry.path().filename().string())) doomed.push_back(entry.path());
  }
  for (const fs::path& path : doomed) fs::remove_all(path, error);
  ended_.push_back(attempt);
  Prune();
}

void LogBook::Prune() {
  while (ended_.size() > keep_) {
    std::error_code error;
    fs::remove_all(FolderOf(ended_.front()), error);
    // Only when this was the job's last attempt here: a folder that is not empty stays.
    ::rmdir((folder_ + "/" + ended_.front().job.value).c_str());
    if (read_id_ == ended_.front()) read_id_.reset();
    ended_.pop_front();
  }
}

Result<AttemptId> LogBook::Find(const JobId& job, AttemptNumber attempt) const {
  if (!IsValidId(job.value)) return InvalidArgument("'" + job.value + "' is not a job id");
  std::error_code error;
  if (attempt > 0) {
    AttemptId id{job, attempt};
    if (fs::is_directory(FolderOf(id), error)) return id;
    return NotFound("this node has no log of attempt " + std::to_string(attempt) + " of job '" +
                    job.value + "'");
  }
  AttemptNumber newest = 0;
  for (const auto& entry : fs::directory_iterator(folder_ + "/" + job.value, error)) {
    auto number = ParseInt(entry.path().filename().string());
    if (number && *number <= INT32_MAX) {
      newest = std::max(newest, static_cast<AttemptNumber>(*number));
    }
  }
  if (newest > 0) return AttemptId{job, newest};
  return NotFound("this node has no log of job '" + job.value + "'");
}

Result<AttemptLog*> LogBook::LogOf(const AttemptId& attempt) {
  auto found = open_.find(attempt);
  if (found != open_.end()) return found->second.get();
  if (read_id_ != attempt) {
    read_id_.reset();
    ASSIGN_OR_RETURN(read_log_, AttemptLog::Open(FolderOf(attempt), log_max_bytes_));
    read_log_->Close();
    read_id_ = attempt;
  }
  return read_log_.get();
}

}  // namespace cyxwiz::node
