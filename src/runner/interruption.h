// Ends an attempt that is asked to end while it does what does not look: reading data, scaling it,
// writing it. Nothing of that is kept, so there is nothing to wait for.
#pragma once

#include <functional>
#include <thread>

#include "base/file.h"
#include "base/status.h"
#include "runner/engine.h"
#include "runner/protocol.h"

namespace cyxwiz::runner {

// As long as it lives, a thread of its own listens to the node and, once the attempt is asked to
// end, says the last line and ends the process. Nobody else uses the channel meanwhile.
class Interruption {
 public:
  // asked: looks at the channel without waiting. Both outlive it.
  Interruption(Channel* channel, std::function<Directive()> asked);
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

 private:
  void Listen();

  Channel* const channel_;
  const std::function<Directive()> asked_;
  UniqueFd over_;  // an eventfd: readable once it is
  std::thread thread_;
};

}  // namespace cyxwiz::runner
