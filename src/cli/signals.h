// Signals as something to wait for: a descriptor that becomes readable.
#pragma once

#include <initializer_list>
#include <vector>

#include "base/file.h"

namespace cyxwiz::cli {

// While it lives, the signals given are caught and their numbers queue up behind fd(). At most one
// lives at a time. Any thread may receive the signal; Take is for one thread.
class SignalQueue {
 public:
  explicit SignalQueue(std::initializer_list<int> signals);
  ~SignalQueue();  // restores what was there before
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  int fd() const { return read_.get(); }
  // The signals that came since the last call; empty when none did.
  std::vector<int> Take();

 private:
  struct Restore;
  UniqueFd read_, write_;
  std::vector<Restore> restore_;
};

}  // namespace cyxwiz::cli
