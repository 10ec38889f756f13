#include "central/core.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/logging.h"
#include "central/disk_reserve.h"

namespace cyxwiz::central {
namespace {

constexpr int kExitStoreFailed = 70;   // EX_SOFTWARE
constexpr int kBackupPagesAStep = 64;  // well below a millisecond

Status StoppingStatus() { return Unavailable("the server is stopping", "try again in a moment"); }

control::Options WithArchive(control::Options options, control::Archive* archive) {
  options.archive = archive;
  return options;
}

double SecondsBetween(MonotonicTime from, MonotonicTime to) {
  return std::chrono::duration<double>(to - from).count();
}

// Measures the parts of each batch; does nothing without an observer. On the core's thread.
class BatchWatch final : public CommitObserver {
 public:
  BatchWatch(const CoreClock& clock, CoreObserver* observer) : clock_(clock), observer_(observer) {}

  void Begin(const std::vector<MonotonicTime>& posted, MonotonicTime now) {
    if (observer_ == nullptr) return;
    for (MonotonicTime at : posted) observer_->OnTaken(SecondsBetween(at, now));
    since_ = now;
    applied_ = false;
  }
  void End() {
    if (observer_ != nullptr && !applied_) Applied();
  }
  void OnCommitBegins() override {
    if (observer_ != nullptr) Applied();
  }
  void OnCommitEnded() override {
    if (observer_ == nullptr) return;
    const MonotonicTime now = clock_.Read().monotonic;
    observer_->OnCommitted(SecondsBetween(since_, now));
    since_ = now;
  }

 private:
  void Applied() {
    const MonotonicTime now = clock_.Read().monotonic;
    if (!std::exchange(applied_, true)) observer_->OnApplied(SecondsBetween(since_, now));
    since_ = now;
  }

  const CoreClock& clock_;
  CoreObserver* const observer_;
  MonotonicTime since_;
  bool applied_ = false;
};

class CoreImpl final : public Core {
 public:
  CoreImpl(std::unique_ptr<store::JobStore> store, Options options)
      : options_(options),
        store_(std::move(store)),
        reserve_(options.reserve_path, options.reserve_bytes),
        watch_(*options_.clock, options.observer),
        committer_(store_.get(), &reserve_,
                   {WithArchive(options.control, store_.get()), options.retry_commit,
                    options.journal, &watch_}) {}
  ~CoreImpl() override { Stop(); }

  Status Load() { return committer_.Load(options_.clock->Read()); }

  void SetSink(EffectSink* sink) override {
    committer_.SetSink(sink);
    thread_ = std::thread([this] { Run(); });
  }

  void Post(control::Command command, OnReply on_reply) override {
    Status refused;
    const MonotonicTime now =
        options_.observer == nullptr ? MonotonicTime() : options_.clock->Read().monotonic;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) {
        refused = StoppingStatus();
      } else if (queue_.size() >= options_.max_queued_commands && on_reply) {
        refused = ResourceExhausted(
            "the server is overloaded: " + std::to_string(queue_.size()) + " commands wait",
            "try again in a moment");
      } else {
        queue_.push_back({std::move(command), std::move(on_reply)});
        posted_.push_back(now);
        if (queue_.size() > 1) return;  // the core has been woken already
      }
    }
    if (refused.ok()) {
      wake_.notify_one();
    } else if (on_reply) {
      on_reply(control::Reply{.status = std::move(refused)});
    }
  }

  void ReadEvents(control::EventQuery query, OnEvents on_page) override {
    Status refused;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) {
        refused = StoppingStatus();
      } else if (reads_.size() >= options_.max_queued_commands) {
        refused = ResourceExhausted("the server is overloaded: " + std::to_string(reads_.size()) +
                                        " readings of events wait",
                                    "try again in a moment");
      } else {
        reads_.push_back({std::move(query), std::move(on_page)});
      }
    }
    if (!refused.ok()) return on_page(std::move(refused));
    wake_.notify_one();
  }

  void BackUp(std::string path, std::function<void(Status)> on_done) override {
    Status refused;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) {
        refused = StoppingStatus();
      } else if (backing_up_) {
        refused = ResourceExhausted("another backup is being made", "try again when it is done");
      } else {
        backing_up_ = true;
        backup_path_ = std::move(path);
        on_backup_ = std::move(on_done);
      }
    }
    if (!refused.ok()) return on_done(std::move(refused));
    wake_.notify_one();
  }

  control::Counters counters() const override { return committer_.counters(); }
  std::vector<std::string> loaded_checkpoint_files() const override {
    return committer_.checkpoint_files();
  }

  Status Ready() const override {
    if (stopped_) return StoppingStatus();
    return committer_.disk() == Committer::Disk::kFine ? OkStatus() : DiskFullStatus();
  }

  void Stop() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
    stopped_ = true;
    std::vector<Committer::Item> left;
    std::vector<Reading> left_readings;
    {
      std::lock_guard lock(mutex_);
      left.swap(queue_);
      left_readings.swap(reads_);
    }
    EndBackup(StoppingStatus());
    for (Reading& reading : left_readings) reading.on_page(StoppingStatus());
    for (Committer::Item& item : left) Committer::Answer(item, StoppingStatus());
    committer_.AnswerAll(StoppingStatus());
  }

 private:
  struct Reading {
    control::EventQuery query;
    OnEvents on_page;
  };

  void Run() {
    std::vector<Committer::Item> items;
    std::vector<MonotonicTime> posted;
    while (WaitForWork(&items, &posted)) {
      const Now now = options_.clock->Read();
      watch_.Begin(posted, now.monotonic);
      Status status = committer_.Step(std::exchange(items, {}), now);
      watch_.End();
      posted.clear();
      if (!status.ok()) {
        // Memory is ahead of the disk; whatever ran on would be a lie.
        spdlog::critical("storing failed, the server ends itself: {}", status.ToString());
        _exit(kExitStoreFailed);
      }
      std::vector<Reading> readings;
      {
        std::lock_guard lock(mutex_);
        readings.swap(reads_);
      }
      for (Reading& reading : readings) reading.on_page(store_->Events(reading.query));
      StepBackup();
    }
  }

  void StepBackup() {
    {
      std::lock_guard lock(mutex_);
      if (!backing_up_) return;
    }
    if (backup_ == nullptr) {
      auto begun = store_->BeginBackup(backup_path_);
      if (!begun.ok()) return EndBackup(begun.status());
      backup_ = std::move(*begun);
    }
    Result<bool> complete = backup_->Step(kBackupPagesAStep);
    if (!complete.ok() || *complete) EndBackup(complete.status());
  }

  // Does nothing when none is being made. On the core thread, or once that has ended.
  void EndBackup(const Status& status) {
    backup_.reset();
    std::function<void(Status)> on_done;
    {
      std::lock_guard lock(mutex_);
      if (!std::exchange(backing_up_, false)) return;
      on_done = std::exchange(on_backup_, nullptr);
    }
    on_done(status);
  }

  // False when the core shall stop.
  bool WaitForWork(std::vector<Committer::Item>* items, std::vector<MonotonicTime>* posted) {
    MonotonicTime deadline = committer_.NextDeadline();
    std::unique_lock lock(mutex_);
    options_.clock->Wait(lock, wake_, deadline, [this] {
      return stopping_ || backing_up_ || !queue_.empty() || !reads_.empty();
    });
    if (stopping_) return false;  // Stop answers what waits
    items->swap(queue_);
    posted->swap(posted_);
    return true;
  }

  const Options options_;
  std::unique_ptr<store::JobStore> store_;
  DiskReserve reserve_;
  BatchWatch watch_;
  Committer committer_;  // the core thread's, and Stop's once that has ended
  std::thread thread_;

  std::unique_ptr<store::Backup> backup_;  // as the committer

  std::mutex mutex_;  // of all below but stopped_
  std::vector<Committer::Item> queue_;
  std::vector<MonotonicTime> posted_;  // when each of the queue was
  std::vector<Reading> reads_;
  bool backing_up_ = false;
  std::string backup_path_;  // not changed while backing_up_
  std::function<void(Status)> on_backup_;
  bool stopping_ = false;
  std::condition_variable wake_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace

void CoreClock::Wait(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
                     MonotonicTime deadline, const std::function<bool()>& ready) {
  if (deadline == MonotonicTime::Never()) return wake.wait(lock, ready);
  wake.wait_until(
      lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline.ns)), ready);
}

Result<std::unique_ptr<Core>> Core::Start(std::unique_ptr<store::JobStore> store, Options options) {
  auto core = std::make_unique<CoreImpl>(std::move(store), std::move(options));
  RETURN_IF_ERROR(core->Load());
  return std::unique_ptr<Core>(std::move(core));
}

}  // namespace cyxwiz::central
