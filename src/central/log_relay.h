// Reads an attempt's log from the node that keeps it, chunk by chunk, no faster than the reader
// takes it.
#pragma once

#include <functional>
#include <memory>

#include "base/status.h"
#include "central/api.h"
#include "central/core.h"
#include "central/node_channels.h"
#include "cyxwiz/protocol/log.pb.h"

namespace cyxwiz::central {

class LogRelay {
 public:
  // on_chunk returns false when it took the chunk but wants no more until Resume; on_end is called
  // once. Callbacks come on any thread, possibly before Start returns, one at a time, and not after
  // the Subscription's destructor has returned (which cancels the call to the node).
  class Reader : public Subscription {
   public:
    virtual void Resume() = 0;
  };
  using OnChunk = std::function<bool(const protocol::LogChunk&)>;
  using OnEnd = std::function<void(Status)>;

  LogRelay(Core* core, NodeChannels* channels) : core_(core), channels_(channels) {}

  // NOT_FOUND for an unknown job or attempt; FAILED_PRECONDITION before the first attempt;
  // UNAVAILABLE, naming it, when the node is offline. Only the node of the last attempt is
  // remembered: the log of an earlier one is looked for on every node that is online.
  std::unique_ptr<Reader> Start(const protocol::ReadLogRequest& request, OnChunk on_chunk,
                                OnEnd on_end);

 private:
  Core* const core_;
  NodeChannels* const channels_;
};

}  // namespace cyxwiz::central
