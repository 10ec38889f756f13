// Who follows events: hands each follower what the store has and then what happens, in order and
// without a gap.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "central/core.h"
#include "cyxwiz/protocol/control.pb.h"

namespace cyxwiz::central {

// One follower's side. Any thread.
class EventStream : public std::enable_shared_from_this<EventStream> {
 public:
  using OnEvent = std::function<bool(const protocol::Event&)>;  // false: not now, see Resume
  using OnEnd = std::function<void(Status)>;

  // More waiting events than this end the stream with RESOURCE_EXHAUSTED: the follower asks again
  // from where it stands.
  static constexpr size_t kMostWaiting = 10'000;

  // on_begin: with Start; may be empty.
  EventStream(OnEvent on_event, OnEnd on_end, std::function<void()> on_begin = nullptr)
      : on_event_(std::move(on_event)),
        on_end_(std::move(on_end)),
        on_begin_(std::move(on_begin)) {}

  // Reads what is stored, page by page as the follower takes it, and then follows. Call once, after
  // the stream is in the hub: what was offered before counts too.
  void Start(Core* core, control::EventQuery query);
  // Core thread.
  void Offer(const control::Event& event);
  void End(Status status);
  void Resume();
  // No callback after this has returned. May be called from within a callback.
  void Close();

 private:
  void ReadMore();
  void OnPage(Result<std::vector<control::Event>> page);
  bool Wants(const control::Event& event) const;
  void Drain();

  std::recursive_mutex mutex_;  // a callback may call Resume or Close
  control::EventQuery query_;   // `after` moves on
  OnEvent on_event_;
  OnEnd on_end_;
  std::function<void()> on_begin_;
  Core* core_ = nullptr;
  std::deque<protocol::Event> waiting_;  // what the follower gets next
  std::deque<control::Event> live_;      // happened while stored ones are still read
  bool reading_ = false, caught_up_ = false;
  Status end_;
  bool ending_ = false, closed_ = false, draining_ = false;
};

class EventHub {
 public:
  explicit EventHub(size_t most_streams) : most_(most_streams) {}

  // RESOURCE_EXHAUSTED when there are too many streams; UNAVAILABLE after CloseAll.
  Status Add(const std::shared_ptr<EventStream>& stream);
  void Remove(const std::shared_ptr<EventStream>& stream);
  // Core thread.
  void Publish(const control::Event& event);
  void CloseAll(const Status& status);

 private:
  const size_t most_;
  std::atomic<size_t> size_ = 0;
  std::mutex mutex_;
  bool closed_ = false;
  std::unordered_set<std::shared_ptr<EventStream>> streams_;
};

}  // namespace cyxwiz::central
