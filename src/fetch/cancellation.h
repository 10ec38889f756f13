// Ends what goes on elsewhere for one who has lost interest.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "base/clock.h"

namespace cyxwiz::fetch {

// Any number of threads.
class Cancellation {
 public:
  void Cancel() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (auto& [waiter, wake] : wakes_) wake();
    changed_.notify_all();
  }
  bool cancelled() const {
    std::lock_guard lock(mutex_);
    return cancelled_;
  }
  // False when it was cancelled before the time had passed.
  bool Sleep(Duration time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, [this] { return cancelled_; });
  }

  // Has Cancel call `wake`, under its lock, while this lives.
  class Waiter {
   public:
    Waiter(Cancellation* cancellation, std::function<void()> wake) : cancellation_(*cancellation) {
      std::lock_guard lock(cancellation_.mutex_);
      cancellation_.wakes_[this] = std::move(wake);
    }
    ~Waiter() {
      std::lock_guard lock(cancellation_.mutex_);
      cancellation_.wakes_.erase(this);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

   private:
    Cancellation& cancellation_;
  };

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
  std::map<const Waiter*, std::function<void()>> wakes_;
};

}  // namespace cyxwiz::fetch
