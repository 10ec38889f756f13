// The node's own view of the lease on its attempts. The server counts from when it received a
// heartbeat; the node counts from when it sent the last one that was acknowledged, and gives up
// after 8/10 of the lease: so its runners are gone before the server may hand their jobs on,
// whatever the network did.
#pragma once

#include "base/clock.h"

namespace cyxwiz::node {

// Pure: time comes in. One thread.
class Lease {
 public:
  // A heartbeat or registration that was sent at `sent_at` has been acknowledged.
  void Renew(MonotonicTime sent_at, Duration lease) {
    // Answers may overtake each other; the newest sending counts.
    if (sent_at < sent_at_) return;
    sent_at_ = sent_at;
    deadline_ = sent_at + lease / 10 * 8;
  }
  // When the attempts must be stopped; Never() while no lease is held.
  MonotonicTime deadline() const { return deadline_; }
  bool Expired(MonotonicTime now) const { return now >= deadline_; }
  // Called once the attempts have been stopped.
  void Lose() { deadline_ = MonotonicTime::Never(); }

 private:
  MonotonicTime sent_at_;
  MonotonicTime deadline_ = MonotonicTime::Never();
};

}  // namespace cyxwiz::node
