// A few threads for work that may block for a moment (files, data sets), off the threads of gRPC
// and of the control core.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cyxwiz::central {

// Any thread. The queue is bounded by its users: each stream or request has at most one task in it.
// One thread carries tasks out in order.
class WorkPool {
 public:
  explicit WorkPool(int threads);
  ~WorkPool();  // carries out what waits, then ends; no Post during or after it
  void Post(std::function<void()> task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cyxwiz::central
