// Who follows which job: takes the core's updates and hands them to followers, each at its own
// pace.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "control/control.h"
#include "cyxwiz/protocol/job.pb.h"

namespace cyxwiz::central {

// One follower's side. Any thread. While it cannot take more, updates wait: one that differs from
// the last waiting one in progress alone replaces it; a change of state always has its own place.
class UpdateStream {
 public:
  using Update = std::shared_ptr<const protocol::JobUpdateStream>;
  using OnUpdate = std::function<bool(const protocol::JobUpdateStream&)>;
  using OnEnd = std::function<void(Status)>;

  // More waiting changes of state than this end the stream with RESOURCE_EXHAUSTED.
  static constexpr size_t kMostWaiting = 1000;

  UpdateStream(OnUpdate on_update, OnEnd on_end)
      : on_update_(std::move(on_update)), on_end_(std::move(on_end)) {}

  // The present state, from which on updates count; those offered earlier are ignored (they are
  // older).
  void Start(Update present, bool final);
  void Offer(Update update, bool final);
  // Ends after what waits has been taken; further updates are ignored.
  void End(Status status);
  void Resume();
  // No callback after this has returned. May be called from within a callback.
  void Close();

 private:
  void Push(Update update, bool final);
  void Drain();

  // Recursive: a callback may call Resume or Close.
  std::recursive_mutex mutex_;
  OnUpdate on_update_;
  OnEnd on_end_;
  std::deque<Update> waiting_;
  Status end_;
  bool started_ = false, ending_ = false, closed_ = false, draining_ = false;
};

class StreamHub {
 public:
  explicit StreamHub(size_t most_streams) : most_(most_streams) {}

  // RESOURCE_EXHAUSTED when there are too many streams; UNAVAILABLE after CloseAll.
  Status Add(const std::string& job_id, const std::shared_ptr<UpdateStream>& stream);
  void Remove(const std::string& job_id, const std::shared_ptr<UpdateStream>& stream);
  // Core thread.
  void Publish(const control::UpdateEffect& update);
  // Ends every stream, and those that come later.
  void CloseAll(const Status& status);
  size_t size() const { return size_; }

  static UpdateStream::Update ToUpdate(const control::JobView& view);

 private:
  const size_t most_;
  std::atomic<size_t> size_ = 0;
  std::mutex mutex_;
  bool closed_ = false;
  std::unordered_map<std::string, std::vector<std::shared_ptr<UpdateStream>>> streams_;
};

}  // namespace cyxwiz::central
