// A node whose executor returns at once: it accepts every attempt and reports its completion, so
// that what is measured is the path of a job through server and wire alone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "cyxwiz/protocol/node.grpc.pb.h"

namespace cyxwiz::bench {

// Any number of threads. Ends with its destructor.
class FakeNode {
 public:
  // Registers at `server` with room for `parallel` jobs of one core. Throws std::runtime_error.
  FakeNode(const std::string& server, int parallel);
  ~FakeNode();

  // Blocks until the server has acknowledged the completion of `count` jobs; false after `seconds`.
  bool WaitForCompletions(int64_t count, double seconds);
  int64_t errors();

 private:
  class Service;
  void Complete(const protocol::AssignJobRequest& assignment);
  void HeartbeatLoop();

  std::string id_;
  protocol::NodeInfo info_;
  std::unique_ptr<protocol::NodeService::Stub> server_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> listener_;
  int heartbeat_interval_ms_ = 1000;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::pair<std::string, int32_t>> active_;  // guarded by mutex_
  int64_t completed_ = 0, errors_ = 0;                // guarded by mutex_
  int64_t in_flight_ = 0;                             // reports under way; guarded by mutex_
  bool stopping_ = false;                             // guarded by mutex_
  std::thread heartbeats_;
};

}  // namespace cyxwiz::bench
