// gRPC channels to nodes, one an endpoint, kept open.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace cyxwiz::central {

// Any thread.
class NodeChannels {
 public:
  std::shared_ptr<grpc::Channel> Get(const std::string& endpoint);
  // A node has come (back) there: connect now rather than with the first call or after a backoff.
  void Connect(const std::string& endpoint);
  // No node is there any more. Calls in flight go on.
  void Remove(const std::string& endpoint);
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace cyxwiz::central
