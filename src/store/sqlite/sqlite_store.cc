#include "store/sqlite/sqlite_store.h"

#include <SQLiteCpp/Backup.h>
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/logging.h"
#include "base/text.h"
#include "store/sqlite/columns.h"
#include "store/sqlite/log_check.h"
#include "store/sqlite/page_checksums.h"

namespace cyxwiz::store {
namespace {

using control::Job;
using control::JobState;
using control::Node;

// Of jobs that have ended, for the shares of users.
constexpr int kMostPastUses = 100'000;

// In the order of BindJob and ReadJob. The first three never change in the life
// of a job.
constexpr std::string_view kJobColumns[] = {"sequence",
                                            "id",
                                            "body",
                                            "name",
                                            "user",
                                            "type",
                                            "priority",
                                            "cpu_millis",
                                            "memory_bytes",
                                            "gpu_millis",
                                            "device",
                                            "max_retries",
                                            "total_epochs",
                                            "state",
                                            "message",
                                            "created_at",
                                            "started_at",
                                            "ended_at",
                                            "not_before",
                                            "attempt",
                                            "node",
                                            "retries",
                                            "cancel_requested",
                                            "cancel_reason",
                                            "cause",
                                            "error_code",
                                            "error_message",
                                            "error_details",
                                            "progress",
                                            "current_epoch",
                                            "metrics",
                                            "artifacts",
                                            "compute_seconds",
                                            "pause_requested",
                                            "retry_of",
                                            "terms",
                                            "attempt_started_at",
                                            "nodes_lost",
                                            "limit_hit",
                                            "checkpoint",
                                            "preempted_for",
                                            "preemptions",
                                            "array",
                                            "member_of",
                                            "member_number",
                                            "gang",
                                            "data",
                                            "gpus",
                                            "log_tail",
                                            "log_tail_offset"};

std::string JobColumns() {
  std::string text;
  for (std::string_view column : kJobColumns) {
    if (!text.empty()) text += ", ";
    text += column;
  }
  return text;
}

std::string InsertJobSql(std::string_view verb) {
  std::string values;
  for (size_t i = 1; i <= std::size(kJobColumns); ++i) {
    values += (i > 1 ? ", ?" : "?") + std::to_string(i);
  }
  return std::string(verb) + " INTO jobs (" + JobColumns() + ") VALUES (" + values + ")";
}

std::string UpdateJobSql() {
  std::string sets;
  for (size_t i = 4; i <= std::size(kJobColumns); ++i) {
    if (i > 4) sets += ", ";
    sets += std::string(kJobColumns[i - 1]) + " = ?" + std::to_string(i);
  }
  return "UPDATE jobs SET " + sets + " WHERE sequence = ?1 AND id = ?2 AND body = ?3";
}

void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes) {
  statement.bindNoCopy(index, bytes.data(), static_cast<int>(bytes.size()));
}

// SQLite keeps NaN as NULL.
double ReadDouble(const SQLite::Column& column) {
  return column.isNull() ? std::numeric_limits<double>::quiet_NaN() : column.getDouble();
}

std::string ReadBytes(const SQLite::Column& column) { return column.getString(); }

// Makes a statement ready for its next use, whatever happens.
struct Finally {
  SQLite::Statement& statement;
  ~Finally() { statement.tryReset(); }
};

Status FileError(const std::string& what, int error, const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  std::string hint;
  if (error == ENOENT) hint = "create the folder '" + folder + "', or name another one";
  if (error == EACCES || error == EPERM || error == EROFS) {
    hint = "the user that runs the server needs to write to the folder '" + folder + "'";
  }
  Status status = ErrnoStatus(what, error);
  Code code = error == EROFS ? Code::kPermissionDenied : status.code();
  return Status(code, status.message(), hint);
}

Status FullDisk(const std::string& path) {
  return ResourceExhausted("no space left to store jobs in '" + path + "'",
                           "free disk space; the server goes on by itself");
}

Status Damaged(const std::string& path, const std::string& why) {
  return DataLoss("'" + path + "' is not a sound database: " + why,
                  "see what is wrong with `cyxwiz-central-server check`, go back to a backup with "
                  "`cyxwiz-central-server restore`, or save what can be read with `sqlite3 '" +
                      path + "' .recover`");
}

constexpr char kBootId[] = "/proc/sys/kernel/random/boot_id";

// "" when it cannot be read.
std::string ReadSmall(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[100];
  ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : 0;
  return std::string(text, n > 0 ? static_cast<size_t>(n) : 0);
}

// path.lock: the process that has the store, and the boot of the machine in which a server last
// opened it.
std::string BootOf(const std::string& holder) {
  size_t line = holder.find('\n');
  return line == std::string::npos ? "" : holder.substr(line + 1);
}

void WriteHolder(int lock, const std::string& boot) {
  std::string holder = std::to_string(::getpid()) + "\n" + boot;
  // Not needed for the store to be sound, so a full disk here is no reason to stop.
  if (::ftruncate(lock, 0) != 0 || ::pwrite(lock, holder.data(), holder.size(), 0) < 0) {
  }
}

// Whether the machine has run on since a server had the store last.
bool PowerStayed(const std::string& path) {
  std::string boot = ReadSmall(kBootId);
  return !boot.empty() && BootOf(ReadSmall(path + ".lock")) == boot;
}

}  // namespace

Result<UniqueFd> LockStore(const std::string& path) {
  std::string lock_path = path + ".lock";
  UniqueFd fd(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return FileError("cannot create '" + lock_path + "'", errno, path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError("cannot lock '" + lock_path + "'", errno, path);
    std::string holder = ReadSmall(lock_path);
    auto pid = ParseInt(holder.substr(0, holder.find('\n')));
    return FailedPrecondition(
        "'" + path + "' is already open in " +
            (pid ? "process " + std::to_string(*pid) : std::string("another process")),
        "stop that server, or give this one a data folder of its own");
  }
  WriteHolder(fd.get(), BootOf(ReadSmall(lock_path)));
  return fd;
}

Result<UniqueFd> LockToRead(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) {
    Status missing = ErrnoStatus("cannot open '" + path + "'", errno);
    return Status(missing.code(), missing.message(), "name a server's data folder, or a backup");
  }
  if (::access((path + ".lock").c_str(), F_OK) != 0) return UniqueFd();
  return LockStore(path);
}

namespace {

// A quota shows as an I/O error. A failed fsync is fatal whatever its reason: the kernel may have
// dropped the pages.
bool IsOutOfQuota(const SQLite::Exception& e, int error) {
  return (error == ENOSPC || error == EDQUOT) && e.getExtendedErrorCode() == SQLITE_IOERR_WRITE;
}

}  // namespace

Status ErrorStatus(const std::string& path, const SQLite::Exception& e, int error) {
  std::string what = "'" + path + "': " + e.what();
  // Of an exception that was made of a result alone there is no other.
  const int extended = e.getExtendedErrorCode() < 0 ? e.getErrorCode() : e.getExtendedErrorCode();
  switch (e.getErrorCode() & 0xff) {
    case SQLITE_FULL:
      return FullDisk(path);
    case SQLITE_IOERR:
      if (extended == SQLITE_IOERR_DATA)
        return Damaged(path, "a page does not have the content that was written");
      if (IsOutOfQuota(e, error)) return FullDisk(path);
      return Internal(what + (error != 0 ? ": " + ErrnoStatus("errno", error).message() : ""),
                      "check the disk and the kernel's log");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Damaged(path, e.what());
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return FailedPrecondition("'" + path + "' is open in another program",
                                "close it there (an sqlite3 shell?) and start again");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return PermissionDenied(what,
                              "the user that runs the server needs to "
                              "write to this file and its folder");
    default:
      return Internal(what);
  }
}

namespace {

class SqliteStore : public JobStore {
 public:
  // The schema must be the present one. Throws SQLite::Exception.
  SqliteStore(std::string path, UniqueFd lock, std::unique_ptr<SQLite::Database> database,
              const SqliteOptions& options)
      : path_(std::move(path)),
        lock_(std::move(lock)),
        database_(std::move(database)),
        checkpoint_pages_(options.checkpoint_pages) {
    sqlite3_wal_hook(database_->getHandle(), &NoteLog, this);
  }

  Result<control::Snapshot> Load() override {
    try {
      return LoadAll();
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path_, e, SystemErrno());
    }
  }

  Result<std::optional<control::EndedJob>> FindEnded(const JobId& id) override {
    try {
      return ReadEnded(id);
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path_, e, SystemErrno());
    }
  }

  Result<std::vector<Job>> ListEnded(const control::JobFilter& filter, int64_t before,
                                     size_t most) override {
    try {
      return ReadEnded(filter, before, most);
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path_, e, SystemErrno());
    }
  }

  Result<bool> HasPrefix(const std::string& prefix) override {
    try {
      std::string end = prefix;
      end.back()++;
      SQLite::Statement any(*database_, "SELECT 1 FROM jobs WHERE id >= ?1 AND id < ?2 LIMIT 1");
      any.bindNoCopy(1, prefix);
      any.bindNoCopy(2, end);
      return any.executeStep();
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path_, e, SystemErrno());
    }
  }

  Result<std::vector<control::Event>> Events(const control::EventQuery& query) override {
    // Who has seen no more of a job than its submission, which its own row tells, misses nothing
    // that it could know of.
    if (query.after > 0 && query.after + 1 < trimmed_below_ && query.after != query.sequence) {
      return Status(Code::kOutOfRange,
                    "after: events up to " + std::to_string(trimmed_below_ - 1) +
                        " are no longer kept, and event " + std::to_string(query.after) +
                        " was the last one seen",
                    "go on with what is kept: after " + std::to_string(trimmed_below_ - 1));
    }
    try {
      return ReadEvents(query);
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path_, e, SystemErrno());
    }
  }

  Status Commit(std::span<const control::Record> records) override {
    if (broken_)
      return Internal("'" + path_ + "' must not be used after a failed commit", "restart");
    if (records.empty()) return OkStatus();
    try {
      begin_.exec();
      begin_.reset();
      for (const control::Record& record : records) {
        std::visit([this](const auto& r) { Apply(r); }, record);
      }
      commit_.exec();
      commit_.reset();
      for (const control::Record& record : records) {
        if (auto* trimmed = std::get_if<control::DeleteEvents>(&record))
          trimmed_below_ = trimmed->below;
      }
    } catch (const SQLite::Exception& e) {
      Status status = ErrorStatus(path_, e, SystemErrno());
      broken_ = status.code() != Code::kResourceExhausted || !RollBack();
      return status;
    }
    return ShortenLog();
  }

  Result<std::unique_ptr<Backup>> BeginBackup(const std::string& path) override {
    try {
      return store::BeginBackup(*database_, path);
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path, e, 0);
    }
  }

 private:
  // Told by SQLite after each commit: how many pages the log has.
  static int NoteLog(void* store, sqlite3*, const char*, int pages) {
    static_cast<SqliteStore*>(store)->log_pages_ = pages;
    return SQLITE_OK;
  }

  // Moves what the log holds into the database once it is long, as SQLite does by itself; but that
  // keeps to itself when the disk fails. For want of space it is tried again after the next commit.
  Status ShortenLog() {
    if (std::exchange(log_pages_, 0) < checkpoint_pages_) return OkStatus();
    sqlite3* handle = database_->getHandle();
    const int result =
        sqlite3_wal_checkpoint_v2(handle, "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    if ((result & 0xff) != SQLITE_IOERR) return OkStatus();
    const SQLite::Exception failure(handle, result);
    const int error = sqlite3_system_errno(handle);
    if (IsOutOfQuota(failure, error)) return OkStatus();
    broken_ = true;
    return ErrorStatus(path_, failure, error);
  }

  // Of what failed last. SQLite itself keeps none of what a COMMIT writes, but the log's file does.
  int SystemErrno() {
    sqlite3* handle = database_->getHandle();
    sqlite3_file* log = nullptr;
    int error = 0;
    sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (log != nullptr && log->pMethods != nullptr)
      log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error != 0 ? error : sqlite3_system_errno(handle);
  }

  bool RollBack() {
    for (SQLite::Statement* statement :
         {&begin_, &commit_, &put_body_, &insert_job_, &replace_job_, &update_job_, &delete_job_,
          &delete_members_, &delete_body_, &put_node_, &delete_node_, &put_event_, &delete_events_,
          &put_trimmed_, &put_removed_, &delete_removed_, &put_cancellation_,
          &delete_cancellation_}) {
      statement->tryReset();
    }
    // Some failures have rolled back already.
    if (sqlite3_get_autocommit(database_->getHandle())) return true;
    return database_->tryExec("ROLLBACK") == SQLITE_OK;
  }

  static int Run(SQLite::Statement& statement) {
    int changes = statement.exec();
    statement.reset();
    return changes;
  }

  void Apply(const control::PutBody& put) {
    put_body_.bind(1, put.number);
    BindBlob(put_body_, 2, put.body->sha256);
    BindBlob(put_body_, 3, put.body->config);
    Run(put_body_);
  }

  void Apply(const control::PutJob& put) {
    const Job& job = put.job;
    std::string metrics = WriteMetrics(*job.metrics), artifacts = WriteArtifacts(*job.artifacts),
                terms = WriteTerms(job), checkpoint = WriteCheckpoint(*job.checkpoint),
                array = WriteArray(job), gang = WriteGang(job), gpus = WriteGpus(*job.gpus);
    bool is_new = job.sequence > max_sequence_;
    if (is_new) max_sequence_ = job.sequence;
    SQLite::Statement& likely = is_new ? insert_job_ : update_job_;
    BindJob(likely, job, metrics, artifacts, terms, checkpoint, array, gang, gpus);
    if (Run(likely) == 1) return;
    // A job of this id with another sequence is replaced, or an old one was deleted and came again.
    Delete(job.id);
    BindJob(replace_job_, job, metrics, artifacts, terms, checkpoint, array, gang, gpus);
    Run(replace_job_);
  }

  void Apply(const control::DeleteJob& remove) { Delete(remove.id); }

  void Apply(const control::DeleteMembers& remove) {
    delete_members_.bind(1, remove.array);
    Run(delete_members_);
  }

  void Delete(const JobId& id) {
    delete_job_.bindNoCopy(1, id.value);
    Run(delete_job_);
  }

  void Apply(const control::DeleteBody& remove) {
    delete_body_.bind(1, remove.number);
    Run(delete_body_);
  }

  void Apply(const control::PutNode& put) {
    const Node& node = put.node;
    std::string devices = WriteDevices(node.devices), extra = WriteExtra(node);
    put_node_.bindNoCopy(1, node.id.value);
    put_node_.bindNoCopy(2, node.endpoint);
    BindBlob(put_node_, 3, node.info);
    put_node_.bind(4, node.capacity.cpu_millis);
    put_node_.bind(5, node.capacity.memory_bytes);
    put_node_.bind(6, node.capacity.gpu_millis);
    put_node_.bindNoCopy(7, devices);
    put_node_.bind(8, node.registered_at.ms);
    put_node_.bind(9, node.jobs_completed);
    put_node_.bind(10, static_cast<int32_t>(node.cordoned));
    put_node_.bind(11, static_cast<int32_t>(node.draining));
    put_node_.bindNoCopy(12, node.cordon_reason);
    put_node_.bindNoCopy(13, extra);
    Run(put_node_);
  }

  void Apply(const control::PutEvent& put) {
    const control::Event& event = put.event;
    put_event_.bind(1, event.number);
    put_event_.bind(2, event.at.ms);
    put_event_.bind(3, static_cast<int32_t>(event.kind));
    put_event_.bind(4, event.sequence);
    put_event_.bindNoCopy(5, event.job.value);
    put_event_.bindNoCopy(6, event.node.value);
    put_event_.bind(7, event.attempt);
    put_event_.bind(8, static_cast<int32_t>(event.from));
    put_event_.bind(9, static_cast<int32_t>(event.to));
    put_event_.bind(10, static_cast<int32_t>(event.cause));
    put_event_.bindNoCopy(11, event.message);
    put_event_.bindNoCopy(12, event.actor);
    Run(put_event_);
  }

  void Apply(const control::DeleteEvents& remove) {
    delete_events_.bind(1, remove.below);
    Run(delete_events_);
    put_trimmed_.bind(1, remove.below);
    Run(put_trimmed_);
  }

  void Apply(const control::DeleteNode& remove) {
    delete_node_.bindNoCopy(1, remove.id.value);
    Run(delete_node_);
  }

  void Apply(const control::PutCancellation& put) {
    const control::Cancellation& cancellation = *put.cancellation;
    const std::string jobs = WriteSequences(cancellation.jobs);
    put_cancellation_.bind(1, cancellation.number);
    put_cancellation_.bindNoCopy(2, jobs);
    put_cancellation_.bind(3, static_cast<int32_t>(cancellation.cause));
    put_cancellation_.bindNoCopy(4, cancellation.reason);
    put_cancellation_.bindNoCopy(5, cancellation.actor);
    Run(put_cancellation_);
  }

  void Apply(const control::DeleteCancellation& remove) {
    delete_cancellation_.bind(1, remove.number);
    Run(delete_cancellation_);
  }

  static control::Event ReadEvent(SQLite::Statement& s) {
    control::Event event;
    event.number = s.getColumn(0).getInt64();
    event.at.ms = s.getColumn(1).getInt64();
    event.kind = static_cast<control::EventKind>(s.getColumn(2).getInt());
    event.sequence = s.getColumn(3).getInt64();
    event.job.value = s.getColumn(4).getString();
    event.node.value = s.getColumn(5).getString();
    event.attempt = s.getColumn(6).getInt();
    event.from = static_cast<control::JobState>(s.getColumn(7).getInt());
    event.to = static_cast<control::JobState>(s.getColumn(8).getInt());
    event.cause = static_cast<control::Cause>(s.getColumn(9).getInt());
    event.message = s.getColumn(10).getString();
    event.actor = s.getColumn(11).getString();
    return event;
  }

  // Submissions are read from the jobs themselves.
  std::vector<control::Event> ReadEvents(const control::EventQuery& query) {
    std::vector<control::Event> events;
    std::string where = " WHERE number > ?1";
    if (query.sequence != 0) where += " AND sequence = ?2";
    if (!query.node.empty()) where += " AND node = ?3";
    SQLite::Statement stored(*database_,
                             "SELECT number, at, kind, sequence, job, node, attempt, from_state, "
                             "to_state, cause, message, actor FROM events" +
                                 where + " ORDER BY number LIMIT ?4");
    stored.bind(1, query.after);
    if (query.sequence != 0) stored.bind(2, query.sequence);
    if (!query.node.empty()) stored.bindNoCopy(3, query.node.value);
    stored.bind(4, static_cast<int64_t>(query.limit));
    while (stored.executeStep()) events.push_back(ReadEvent(stored));
    if (!query.node.empty()) return events;  // nobody submits to a node
    SQLite::Statement jobs(
        *database_, std::string("SELECT sequence, id, created_at, retry_of, user, member_of FROM "
                                "jobs WHERE sequence > ?1") +
                        (query.sequence != 0 ? " AND sequence = ?2" : "") +
                        " ORDER BY sequence LIMIT ?3");
    // Of all jobs no event is told that is older than some that are not kept.
    jobs.bind(1, query.sequence != 0 ? query.after : std::max(query.after, trimmed_below_ - 1));
    if (query.sequence != 0) jobs.bind(2, query.sequence);
    jobs.bind(3, static_cast<int64_t>(query.limit));
    size_t middle = events.size();
    while (jobs.executeStep()) {
      Job job;
      job.sequence = jobs.getColumn(0).getInt64();
      job.id.value = jobs.getColumn(1).getString();
      job.created_at.ms = jobs.getColumn(2).getInt64();
      job.retry_of = JobId{jobs.getColumn(3).getString()};
      job.user = jobs.getColumn(4).getString();
      if (jobs.getColumn(5).getInt64() > 0) job.member = std::make_shared<const control::Member>();
      events.push_back(control::SubmittedEvent(job));
    }
    std::inplace_merge(events.begin(), events.begin() + static_cast<ptrdiff_t>(middle),
                       events.end(),
                       [](const auto& a, const auto& b) { return a.number < b.number; });
    if (events.size() > query.limit) events.resize(query.limit);
    return events;
  }

  void Apply(const control::PutRemoved& put) {
    put_removed_.bindNoCopy(1, put.removed.id.value);
    put_removed_.bind(2, put.removed.sequence);
    put_removed_.bind(3, put.removed.attempt);
    Run(put_removed_);
  }

  void Apply(const control::DeleteRemoved& remove) {
    delete_removed_.bindNoCopy(1, remove.id.value);
    Run(delete_removed_);
  }

  static void BindJob(SQLite::Statement& s, const Job& job, const std::string& metrics,
                      const std::string& artifacts, const std::string& terms,
                      const std::string& checkpoint, const std::string& array,
                      const std::string& gang, const std::string& gpus) {
    int i = 0;
    s.bind(++i, job.sequence);
    s.bindNoCopy(++i, job.id.value);
    s.bind(++i, job.body);
    s.bindNoCopy(++i, job.name);
    s.bindNoCopy(++i, job.user);
    s.bind(++i, job.type);
    s.bind(++i, job.priority);
    s.bind(++i, job.resources.cpu_millis);
    s.bind(++i, job.resources.memory_bytes);
    s.bind(++i, job.resources.gpu_millis);
    s.bind(++i, job.device);
    s.bind(++i, job.max_retries);
    s.bind(++i, job.total_epochs);
    s.bind(++i, static_cast<int32_t>(job.state));
    s.bindNoCopy(++i, job.message);
    s.bind(++i, job.created_at.ms);
    s.bind(++i, job.started_at.ms);
    s.bind(++i, job.ended_at.ms);
    s.bind(++i, job.not_before.ms);
    s.bind(++i, job.attempt);
    s.bindNoCopy(++i, job.node.value);
    s.bind(++i, job.retries);
    s.bind(++i, static_cast<int32_t>(job.cancel_requested));
    s.bindNoCopy(++i, *job.cancel_reason);
    s.bind(++i, static_cast<int32_t>(job.cause));
    s.bind(++i, job.error->code);
    s.bindNoCopy(++i, job.error->message);
    s.bindNoCopy(++i, job.error->details);
    s.bind(++i, job.progress);
    s.bind(++i, job.current_epoch);
    s.bindNoCopy(++i, metrics);
    s.bindNoCopy(++i, artifacts);
    s.bind(++i, job.compute_seconds);
    s.bind(++i, static_cast<int32_t>(job.pause_requested));
    s.bindNoCopy(++i, job.retry_of->value);
    s.bindNoCopy(++i, terms);
    s.bind(++i, job.attempt_started_at.ms);
    s.bind(++i, job.nodes_lost);
    s.bind(++i, static_cast<int32_t>(job.limit_hit));
    s.bindNoCopy(++i, checkpoint);
    s.bindNoCopy(++i, job.preempted_for->value);
    s.bind(++i, job.preemptions);
    s.bindNoCopy(++i, array);
    s.bind(++i, job.member != nullptr ? job.member->array_sequence : int64_t{0});
    s.bind(++i, job.member != nullptr ? job.member->number : int64_t{0});
    s.bindNoCopy(++i, gang);
    s.bind(++i, static_cast<int64_t>(job.data));
    s.bindNoCopy(++i, gpus);
    s.bindNoCopy(++i, job.log_tail->text);
    s.bind(++i, job.log_tail->offset);
  }

  static Result<Job> ReadJob(SQLite::Statement& s) {
    Job job;
    int i = 0;
    job.sequence = s.getColumn(i++).getInt64();
    job.id.value = s.getColumn(i++).getString();
    job.body = s.getColumn(i++).getInt64();
    job.name = s.getColumn(i++).getString();
    job.user = s.getColumn(i++).getString();
    job.type = s.getColumn(i++).getInt();
    job.priority = s.getColumn(i++).getInt();
    job.resources.cpu_millis = s.getColumn(i++).getInt64();
    job.resources.memory_bytes = s.getColumn(i++).getInt64();
    job.resources.gpu_millis = s.getColumn(i++).getInt64();
    job.device = s.getColumn(i++).getInt();
    job.max_retries = s.getColumn(i++).getInt();
    job.total_epochs = s.getColumn(i++).getInt();
    int state = s.getColumn(i++).getInt();
    job.message = s.getColumn(i++).getString();
    job.created_at.ms = s.getColumn(i++).getInt64();
    job.started_at.ms = s.getColumn(i++).getInt64();
    job.ended_at.ms = s.getColumn(i++).getInt64();
    job.not_before.ms = s.getColumn(i++).getInt64();
    job.attempt = s.getColumn(i++).getInt();
    job.node.value = s.getColumn(i++).getString();
    job.retries = s.getColumn(i++).getInt();
    job.cancel_requested = s.getColumn(i++).getInt() != 0;
    job.cancel_reason = s.getColumn(i++).getString();
    job.cause = static_cast<control::Cause>(s.getColumn(i++).getInt());
    control::ErrorInfo error;
    error.code = s.getColumn(i++).getInt();
    error.message = s.getColumn(i++).getString();
    error.details = s.getColumn(i++).getString();
    job.error = std::move(error);
    job.progress = ReadDouble(s.getColumn(i++));
    job.current_epoch = s.getColumn(i++).getInt();
    ASSIGN_OR_RETURN(job.metrics, ReadMetrics(s.getColumn(i++).getString()));
    ASSIGN_OR_RETURN(job.artifacts, ReadArtifacts(s.getColumn(i++).getString()));
    job.compute_seconds = ReadDouble(s.getColumn(i++));
    job.pause_requested = s.getColumn(i++).getInt() != 0;
    job.retry_of = JobId{s.getColumn(i++).getString()};
    RETURN_IF_ERROR(ReadTerms(s.getColumn(i++).getString(), &job));
    job.attempt_started_at.ms = s.getColumn(i++).getInt64();
    job.nodes_lost = s.getColumn(i++).getInt();
    job.limit_hit = static_cast<control::Cause>(s.getColumn(i++).getInt());
    ASSIGN_OR_RETURN(job.checkpoint, ReadCheckpoint(s.getColumn(i++).getString()));
    job.preempted_for = JobId{s.getColumn(i++).getString()};
    job.preemptions = s.getColumn(i++).getInt();
    RETURN_IF_ERROR(ReadArray(s.getColumn(i++).getString(), &job));
    control::Member member;
    member.array_sequence = s.getColumn(i++).getInt64();
    member.number = s.getColumn(i++).getInt64();
    if (member.array_sequence > 0) {
      member.array = control::ArrayIdOf(job.id);
      job.member = std::make_shared<const control::Member>(std::move(member));
    }
    RETURN_IF_ERROR(ReadGang(s.getColumn(i++).getString(), &job));
    job.data = static_cast<ContentKey>(s.getColumn(i++).getInt64());
    ASSIGN_OR_RETURN(job.gpus, ReadGpus(s.getColumn(i++).getString()));
    control::LogTail tail;
    tail.text = s.getColumn(i++).getString();
    tail.offset = s.getColumn(i++).getInt64();
    job.log_tail = std::move(tail);
    if (state < static_cast<int>(control::JobState::kQueued) ||
        state > static_cast<int>(control::JobState::kCancelled)) {
      return DataLoss("column state holds " + std::to_string(state) + ", expected 1 to 7");
    }
    job.state = static_cast<control::JobState>(state);
    return job;
  }

  Result<Job> ReadSoundJob(SQLite::Statement& row) {
    Result<Job> job = ReadJob(row);
    if (job.ok()) return job;
    return Damaged(path_, "job '" + row.getColumn(1).getString() + "': " + job.status().message());
  }

  // nullptr: there is none.
  std::shared_ptr<const control::JobBody> ReadBody(int64_t number) {
    SQLite::Statement row(*database_, "SELECT sha256, config FROM bodies WHERE number = ?1");
    row.bind(1, number);
    if (!row.executeStep()) return nullptr;
    auto body = std::make_shared<control::JobBody>();
    body->sha256 = ReadBytes(row.getColumn(0));
    body->config = ReadBytes(row.getColumn(1));
    return body;
  }

  Result<std::optional<control::EndedJob>> ReadEnded(const JobId& id) {
    Finally reset{find_ended_};
    find_ended_.bindNoCopy(1, id.value);
    if (!find_ended_.executeStep()) return std::optional<control::EndedJob>();
    ASSIGN_OR_RETURN(Job job, ReadSoundJob(find_ended_));
    auto body = ReadBody(job.body);
    if (body == nullptr) return Damaged(path_, "job '" + id.value + "' has no body");
    return std::optional<control::EndedJob>({std::move(job), std::move(body)});
  }

  // Each kind of jobs has its newest in an index; the newest of all these are read.
  Result<std::vector<Job>> ReadEnded(const control::JobFilter& filter, int64_t before,
                                     size_t most) {
    constexpr JobState kStates[] = {JobState::kSucceeded, JobState::kFailed, JobState::kCancelled};
    constexpr int32_t kTypes = 5;
    if (filter.array > 0) return ReadEndedMembers(filter, before, most);
    std::vector<int64_t> sequences;
    SQLite::Statement newest(
        *database_,
        std::string("SELECT sequence FROM jobs WHERE ") +
            (filter.user.empty() ? "" : "user = ?5 AND ") +
            "type = ?1 AND state = ?2 AND state >= 5 AND member_of = 0 AND sequence < ?3 "
            "ORDER BY sequence DESC LIMIT ?4");
    if (!filter.user.empty()) newest.bindNoCopy(5, filter.user);
    newest.bind(3, before);
    newest.bind(4, static_cast<int64_t>(std::min<size_t>(most, INT32_MAX)));
    for (int32_t type = 0; type < kTypes; ++type) {
      if (filter.type != 0 && type != filter.type) continue;
      for (JobState state : kStates) {
        bool wanted = filter.states.empty() ||
                      std::count(filter.states.begin(), filter.states.end(), state) > 0;
        if (!wanted) continue;
        newest.bind(1, type);
        newest.bind(2, static_cast<int32_t>(state));
        while (newest.executeStep()) sequences.push_back(newest.getColumn(0).getInt64());
        newest.reset();
      }
    }
    std::sort(sequences.begin(), sequences.end(), std::greater<>());
    if (sequences.size() > most) sequences.resize(most);
    return ReadJobs(sequences);
  }

  Result<std::vector<Job>> ReadEndedMembers(const control::JobFilter& filter, int64_t before,
                                            size_t most) {
    SQLite::Statement newest(
        *database_,
        "SELECT sequence, state FROM jobs WHERE member_of = ?1 AND member_of > 0 "
        "AND state >= 5 AND sequence < ?2 ORDER BY sequence DESC");
    newest.bind(1, filter.array);
    newest.bind(2, before);
    std::vector<int64_t> sequences;
    while (sequences.size() < most && newest.executeStep()) {
      JobState state = static_cast<JobState>(newest.getColumn(1).getInt());
      if (filter.states.empty() ||
          std::count(filter.states.begin(), filter.states.end(), state) > 0)
        sequences.push_back(newest.getColumn(0).getInt64());
    }
    return ReadJobs(sequences);
  }

  Result<std::vector<Job>> ReadJobs(const std::vector<int64_t>& sequences) {
    std::vector<Job> jobs;
    SQLite::Statement row(*database_, "SELECT " + JobColumns() + " FROM jobs WHERE sequence = ?1");
    for (int64_t sequence : sequences) {
      row.bind(1, sequence);
      if (!row.executeStep()) continue;
      ASSIGN_OR_RETURN(Job job, ReadSoundJob(row));
      jobs.push_back(std::move(job));
      row.reset();
    }
    return jobs;
  }

  Result<control::Snapshot> LoadAll() {
    control::Snapshot snapshot;
    SQLite::Statement jobs(
        *database_, "SELECT " + JobColumns() + " FROM jobs WHERE state < 5 ORDER BY sequence");
    std::set<int64_t> bodies;
    while (jobs.executeStep()) {
      ASSIGN_OR_RETURN(Job job, ReadSoundJob(jobs));
      bodies.insert(job.body);
      snapshot.jobs.push_back(std::move(job));
    }
    for (int64_t number : bodies) {
      if (auto body = ReadBody(number)) snapshot.bodies.push_back({number, std::move(body)});
    }
    SQLite::Statement ended(*database_,
                            "SELECT user, type, state, count(*) FROM jobs "
                            "WHERE state >= 5 AND member_of = 0 GROUP BY user, type, state");
    while (ended.executeStep()) {
      snapshot.ended.push_back({ended.getColumn(0).getString(), ended.getColumn(1).getInt(),
                                static_cast<JobState>(ended.getColumn(2).getInt()),
                                ended.getColumn(3).getInt64()});
    }
    SQLite::Statement members(*database_,
                              "SELECT state, count(*) FROM jobs "
                              "WHERE state >= 5 AND member_of > 0 GROUP BY state");
    while (members.executeStep()) {
      snapshot.ended.push_back({"", 0, static_cast<JobState>(members.getColumn(0).getInt()),
                                members.getColumn(1).getInt64(), true});
    }
    SQLite::Statement past(*database_,
                           "SELECT user, cpu_millis, memory_bytes, gpu_millis, started_at, "
                           "ended_at, terms, gang, node "
                           "FROM jobs WHERE state >= 5 AND started_at > 0 AND array = '' "
                           "ORDER BY sequence DESC LIMIT " +
                               std::to_string(kMostPastUses));
    while (past.executeStep()) {
      Job job;
      RETURN_IF_ERROR(ReadTerms(past.getColumn(6).getString(), &job));
      job.node.value = past.getColumn(8).getString();
      RETURN_IF_ERROR(ReadGang(past.getColumn(7).getString(), &job));
      Resources each{past.getColumn(1).getInt64(), past.getColumn(2).getInt64(),
                     past.getColumn(3).getInt64()};
      each.gpu_memory_bytes = job.resources.gpu_memory_bytes;
      snapshot.past.push_back({past.getColumn(0).getString(),
                               control::ProjectOf(job),
                               each * control::RanksOf(job),
                               {past.getColumn(4).getInt64()},
                               {past.getColumn(5).getInt64()}});
    }
    snapshot.last_sequence = max_sequence_;
    snapshot.last_body =
        database_->execAndGet("SELECT ifnull(max(number), 0) FROM bodies").getInt64();
    SQLite::Statement nodes(
        *database_,
        "SELECT id, endpoint, info, cpu_millis, memory_bytes, gpu_millis, devices, "
        "registered_at, jobs_completed, cordoned, draining, cordon_reason, "
        "extra FROM nodes ORDER BY id");
    while (nodes.executeStep()) {
      Node node;
      node.id.value = nodes.getColumn(0).getString();
      node.endpoint = nodes.getColumn(1).getString();
      node.info = ReadBytes(nodes.getColumn(2));
      node.capacity.cpu_millis = nodes.getColumn(3).getInt64();
      node.capacity.memory_bytes = nodes.getColumn(4).getInt64();
      const int64_t gpu_millis = nodes.getColumn(5).getInt64();
      Result<std::vector<int32_t>> devices = ReadDevices(nodes.getColumn(6).getString());
      if (!devices.ok()) {
        return Damaged(path_, "node '" + node.id.value + "': " + devices.status().message());
      }
      node.devices = std::move(*devices);
      node.registered_at.ms = nodes.getColumn(7).getInt64();
      node.jobs_completed = nodes.getColumn(8).getInt64();
      node.cordoned = nodes.getColumn(9).getInt() != 0;
      node.draining = nodes.getColumn(10).getInt() != 0;
      node.cordon_reason = nodes.getColumn(11).getString();
      if (Status extra = ReadExtra(nodes.getColumn(12).getString(), &node); !extra.ok())
        return Damaged(path_, "node '" + node.id.value + "': " + extra.message());
      if (node.capacity.gpus->empty()) {  // written by a release that knew how many there are
        node.capacity.AddGpus(gpu_millis / kWholeGpu, 0);
      } else {
        node.capacity.gpu_millis = gpu_millis;
      }
      snapshot.nodes.push_back(std::move(node));
    }
    snapshot.first_event = trimmed_below_;
    snapshot.last_event =
        database_->execAndGet("SELECT ifnull(max(number), 0) FROM events").getInt64();
    SQLite::Statement cancellations(
        *database_, "SELECT number, jobs, cause, reason, actor FROM cancellations ORDER BY number");
    while (cancellations.executeStep()) {
      control::Cancellation& one = snapshot.cancellations.emplace_back();
      one.number = cancellations.getColumn(0).getInt64();
      auto jobs_of = ReadSequences(cancellations.getColumn(1).getString());
      if (!jobs_of.ok()) return Damaged(path_, jobs_of.status().message());
      one.jobs = std::move(*jobs_of);
      one.cause = static_cast<control::Cause>(cancellations.getColumn(2).getInt());
      one.reason = cancellations.getColumn(3).getString();
      one.actor = cancellations.getColumn(4).getString();
    }
    SQLite::Statement removed(*database_, "SELECT id, sequence, attempt FROM removed");
    while (removed.executeStep()) {
      snapshot.removed.push_back({{removed.getColumn(0).getString()},
                                  removed.getColumn(1).getInt64(),
                                  removed.getColumn(2).getInt()});
    }
    return snapshot;
  }

  const std::string path_;
  UniqueFd lock_;  // released after the database is closed
  std::unique_ptr<SQLite::Database> database_;
  const int64_t checkpoint_pages_;
  int64_t log_pages_ = 0;  // after the last commit; 0: it has been seen to
  bool broken_ = false;
  int64_t max_sequence_ =
      database_->execAndGet("SELECT ifnull(max(sequence), 0) FROM jobs").getInt64();
  // Events with a smaller number may have been deleted; of the last commit that was made.
  int64_t trimmed_below_ =
      database_->execAndGet("SELECT ifnull(max(below), 1) FROM trimmed").getInt64();

  SQLite::Statement begin_{*database_, "BEGIN IMMEDIATE"};
  SQLite::Statement commit_{*database_, "COMMIT"};
  SQLite::Statement put_body_{
      *database_, "INSERT OR REPLACE INTO bodies (number, sha256, config) VALUES (?1, ?2, ?3)"};
  SQLite::Statement insert_job_{*database_, InsertJobSql("INSERT OR IGNORE")};
  SQLite::Statement replace_job_{*database_, InsertJobSql("INSERT")};
  SQLite::Statement update_job_{*database_, UpdateJobSql()};
  SQLite::Statement delete_job_{*database_, "DELETE FROM jobs WHERE id = ?1"};
  SQLite::Statement delete_members_{*database_,
                                    "DELETE FROM jobs WHERE member_of = ?1 AND member_of > 0"};
  SQLite::Statement delete_body_{
      *database_,
      "DELETE FROM bodies WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE body = ?1)"};
  SQLite::Statement find_ended_{
      *database_, "SELECT " + JobColumns() + " FROM jobs WHERE id = ?1 AND state >= 5"};
  SQLite::Statement put_node_{*database_,
                              "INSERT OR REPLACE INTO nodes (id, endpoint, "
                              "info, cpu_millis, memory_bytes, "
                              "gpu_millis, devices, registered_at, jobs_completed, "
                              "cordoned, draining, cordon_reason, extra) "
                              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"};
  SQLite::Statement put_event_{*database_,
                               "INSERT OR REPLACE INTO events (number, at, kind, sequence, job, "
                               "node, attempt, from_state, to_state, cause, message, actor) "
                               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"};
  SQLite::Statement delete_events_{*database_, "DELETE FROM events WHERE number < ?1"};
  SQLite::Statement put_trimmed_{*database_,
                                 "INSERT OR REPLACE INTO trimmed (one, below) VALUES (1, ?1)"};
  SQLite::Statement delete_node_{*database_, "DELETE FROM nodes WHERE id = ?1"};
  SQLite::Statement put_cancellation_{
      *database_,
      "INSERT OR REPLACE INTO cancellations (number, jobs, cause, reason, actor) "
      "VALUES (?1, ?2, ?3, ?4, ?5)"};
  SQLite::Statement delete_cancellation_{*database_, "DELETE FROM cancellations WHERE number = ?1"};
  SQLite::Statement put_removed_{
      *database_, "INSERT OR REPLACE INTO removed (id, sequence, attempt) VALUES (?1, ?2, ?3)"};
  SQLite::Statement delete_removed_{*database_, "DELETE FROM removed WHERE id = ?1"};
};

// Reads the database file or its log from end to end; with `rewrite`, writes each byte back where
// it was and syncs. Throws SQLite::Exception.
void GoThrough(SQLite::Database& database, int which, bool rewrite) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(database.getHandle(), "main", which, &file);
  if (file == nullptr || file->pMethods == nullptr) return;
  auto check = [](int result) {
    if (result != SQLITE_OK) throw SQLite::Exception(sqlite3_errstr(result), result);
  };
  sqlite3_int64 size = 0;
  check(file->pMethods->xFileSize(file, &size));
  // Never a page by itself, whose checksum would be looked at: the log may have a newer one. SQLite
  // does not write more than 128 KiB at once.
  std::vector<char> chunk(rewrite ? 1 << 16 : 3 * 1024);
  for (sqlite3_int64 at = 0; at < size;) {
    int count = static_cast<int>(std::min<sqlite3_int64>(size - at, std::ssize(chunk)));
    check(file->pMethods->xRead(file, chunk.data(), count, at));
    if (rewrite) check(file->pMethods->xWrite(file, chunk.data(), count, at));
    at += count;
  }
  if (rewrite) check(file->pMethods->xSync(file, SQLITE_SYNC_NORMAL));
}

// Otherwise closing copies the log into the file and deletes it.
void KeepLogOnClose(SQLite::Database& database, bool on) {
  sqlite3_db_config(database.getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on ? 1 : 0, nullptr);
}

// Whether the log ends in a commit that is cut short; DATA_LOSS when it is damaged. Throws
// SQLite::Exception.
Result<bool> CheckLogOf(SQLite::Database& database, const std::string& path, bool power_stayed) {
  // The log is looked for with the first read.
  database.execAndGet("SELECT count(*) FROM sqlite_schema");
  if (database.execAndGet("PRAGMA journal_mode").getString() != "wal") return false;
  sqlite3_file *log = nullptr, *file = nullptr;
  sqlite3_file_control(database.getHandle(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  sqlite3_file_control(database.getHandle(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (log == nullptr || log->pMethods == nullptr) return false;
  auto cut_short = CheckLog(log, file, power_stayed);
  if (cut_short.status().code() == Code::kDataLoss)
    return Damaged(path, cut_short.status().message());
  if (!cut_short.ok()) return Internal("'" + path + "': " + cut_short.status().message());
  return cut_short;
}

// Throws SQLite::Exception.
Status CheckSchema(SQLite::Database& database, const std::string& path) {
  const auto newest = static_cast<int64_t>(Migrations().size());
  ASSIGN_OR_RETURN(int64_t version, SchemaVersion(database, path, newest));
  if (version == newest) return OkStatus();
  return FailedPrecondition("'" + path + "' has schema version " + std::to_string(version) +
                                ", and this program reads version " + std::to_string(newest),
                            "start a server on it, which brings it to that version");
}

// Throws SQLite::Exception.
Status SetUp(SQLite::Database& database, const std::string& path, const SqliteOptions& options,
             bool power_stayed) {
  ReserveChecksums(database);
  // Until it is known to be sound nothing is changed, also not by closing it.
  KeepLogOnClose(database, true);
  // Exclusive from the first read on: no other program sees or touches the
  // file, and no shared memory is needed.
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  // As FULL, and the folder is synced when a rollback journal is deleted: the one that makes a new
  // file use the log must not come back after a power failure.
  database.exec("PRAGMA synchronous = EXTRA");
  database.exec("PRAGMA cell_size_check = ON");
  ASSIGN_OR_RETURN(bool cut_short, CheckLogOf(database, path, power_stayed));
  ASSIGN_OR_RETURN(int64_t version,
                   SchemaVersion(database, path, static_cast<int64_t>(options.migrations.size())));
  // To its end, where it is committed; execAndGet stops at the first row and says nothing of that.
  std::string mode;
  for (SQLite::Statement pragma(database, "PRAGMA journal_mode = WAL"); pragma.executeStep();)
    mode = pragma.getColumn(0).getString();
  if (mode != "wal") {
    return FailedPrecondition(
        "'" + path + "' cannot use a write-ahead log (journal mode is '" + mode + "')",
        "put it on a local file system");
  }
  database.exec("PRAGMA temp_store = MEMORY");
  database.exec("PRAGMA cache_size = -32768");            // KiB
  database.exec("PRAGMA journal_size_limit = 67108864");  // bytes kept after a
                                                          // larger transaction
  if (options.max_pages > 0) {
    database.execAndGet("PRAGMA max_page_count = " + std::to_string(options.max_pages));
  }
  if (version > 0) {
    auto check = [&database] {
      return std::string(database.execAndGet("PRAGMA quick_check(1)").getString());
    };
    std::string sound = check();
    if (sound != "ok") {
      // The check counts an I/O error as damage, but a disk that cannot be read is another matter.
      GoThrough(database, SQLITE_FCNTL_FILE_POINTER, false);
      sound = check();
      if (sound != "ok") return Damaged(path, sound);
    }
    // An earlier process may have ended between a write to the log and its sync, or because that
    // sync failed. What it wrote can be read, so we go on from it, but it is not on the disk, and
    // after a failed sync no later one would put it there.
    GoThrough(database, SQLITE_FCNTL_JOURNAL_POINTER, true);
  }
  if (cut_short) {
    spdlog::warn("'{}': its log ends in a commit that was not completed; nothing of it is used",
                 path);
    // The log begins anew, so that no later look at it takes the rest for something else.
    int result = sqlite3_wal_checkpoint_v2(database.getHandle(), "main", SQLITE_CHECKPOINT_TRUNCATE,
                                           nullptr, nullptr);
    if (result != SQLITE_OK) throw SQLite::Exception(database.getHandle(), result);
  }
  KeepLogOnClose(database, false);
  return Migrate(database, path, options.migrations);
}

class SqliteBackup final : public Backup {
 public:
  SqliteBackup(SQLite::Database& from, const std::string& path)
      : path_(path), to_(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 0, ChecksumVfs("")) {
    SetChecksums(to_, HasChecksums(from));
    // A copy that was not completed is never used.
    to_.exec("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -1024");
    backup_.emplace(to_, from);
  }
  Result<bool> Step(int pages) override {
    try {
      int result = backup_->executeStep(pages);
      if (result == SQLITE_DONE) return true;
      if (result == SQLITE_OK) return false;
      return Internal("'" + path_ + "': " + sqlite3_errstr(result));
    } catch (const SQLite::Exception& e) {
      return ErrorStatus(path_, e, sqlite3_system_errno(to_.getHandle()));
    }
  }

 private:
  const std::string path_;
  SQLite::Database to_;
  std::optional<SQLite::Backup> backup_;  // gone before both databases
};

}  // namespace

Result<std::unique_ptr<SQLite::Database>> OpenToRead(const std::string& path) {
  std::error_code error;
  bool has_log = std::filesystem::file_size(path + "-wal", error) > 0 && !error;
  std::string uri = "file:";
  for (char c : path) {
    if (c == '%' || c == '?' || c == '#') {
      uri += c == '%' ? "%25" : c == '?' ? "%3f" : "%23";
    } else {
      uri += c;
    }
  }
  // Without a log nothing of the file can change. With one it is read as a server would, which
  // needs the lock for writing.
  auto database = std::make_unique<SQLite::Database>(
      has_log ? path : uri + "?immutable=1",
      has_log ? SQLite::OPEN_READWRITE : SQLite::OPEN_READONLY | SQLite::OPEN_URI, 0,
      ChecksumVfs(""));
  KeepLogOnClose(*database, true);
  database->exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON");
  database->exec("PRAGMA cell_size_check = ON");
  auto log = CheckLogOf(*database, path, PowerStayed(path));
  if (!log.ok()) return log.status();
  return database;
}

std::unique_ptr<Backup> BeginBackup(SQLite::Database& database, const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  return std::make_unique<SqliteBackup>(database, path);
}

Result<std::unique_ptr<JobStore>> OpenSqliteStore(const std::string& path,
                                                  const SqliteOptions& options) {
  const bool power_stayed = options.vfs.empty() && PowerStayed(path);
  const int64_t wrong_before = WrongChecksumsRead();
  UniqueFd lock;
  if (options.read_only) {
    ASSIGN_OR_RETURN(lock, LockToRead(path));
  } else if (options.vfs.empty()) {
    ASSIGN_OR_RETURN(lock, LockStore(path));
    if (::access((path + ".incoming").c_str(), F_OK) == 0) {
      return FailedPrecondition("a restore into '" + path + "' was not finished",
                                "run `cyxwiz-central-server restore` again, with --replace");
    }
    // Created here, so that only its owner can read it; SQLite takes an empty
    // file for an empty database.
    UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file) return FileError("cannot open '" + path + "'", errno, path);
  }

  std::unique_ptr<SQLite::Database> database;
  try {
    if (options.read_only) {
      ASSIGN_OR_RETURN(database, OpenToRead(path));
      RETURN_IF_ERROR(CheckSchema(*database, path));
    } else {
      database = std::make_unique<SQLite::Database>(
          path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 0, ChecksumVfs(options.vfs));
      RETURN_IF_ERROR(SetUp(*database, path, options, power_stayed));
      if (lock) WriteHolder(lock.get(), ReadSmall(kBootId));
    }
    return std::unique_ptr<JobStore>(
        std::make_unique<SqliteStore>(path, std::move(lock), std::move(database), options));
  } catch (const SQLite::Exception& e) {
    int error = database ? sqlite3_system_errno(database->getHandle()) : 0;
    // SQLite forgets why it could not read a page of the schema.
    const bool is_damaged =
        (e.getErrorCode() & 0xff) == SQLITE_IOERR && WrongChecksumsRead() > wrong_before;
    return ErrorStatus(path, is_damaged ? SQLite::Exception(e.what(), SQLITE_IOERR_DATA) : e,
                       error);
  }
}

Result<std::unique_ptr<JobStore>> OpenSqliteStore(const std::string& path) {
  return OpenSqliteStore(path, SqliteOptions());
}

}  // namespace cyxwiz::store
