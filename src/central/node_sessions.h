// The session token of each node's last registration.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "base/ids.h"

namespace cyxwiz::central {

// Any thread.
class NodeSessions {
 public:
  void Set(const NodeId& node, std::string session) {
    std::lock_guard lock(mutex_);
    sessions_[node] = std::move(session);
  }
  // It is no longer known.
  void Remove(const NodeId& node) {
    std::lock_guard lock(mutex_);
    sessions_.erase(node);
  }
  // Whether `session` may speak for `node`. True for a node that has not registered with this run
  // of the server: its heartbeat is what tells it to register again.
  bool Allows(const NodeId& node, const std::string& session) const {
    std::lock_guard lock(mutex_);
    auto found = sessions_.find(node);
    return found == sessions_.end() || found->second == session;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<NodeId, std::string> sessions_;
};

}  // namespace cyxwiz::central
