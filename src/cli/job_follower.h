// Follows one job over StreamJobUpdates, through restarts of the server.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "cli/client.h"

namespace cyxwiz::cli {

bool IsFinal(protocol::JobState state);

// Owns a thread that reads the stream; the methods are for one other thread.
class JobFollower {
 public:
  // How long a server that went away is waited for.
  static constexpr Duration kPatience = std::chrono::minutes(2);

  struct Event {
    enum class Kind {
      kUpdate,  // `update` is new
      kLost,    // the connection broke; it is being tried again (`status` says why)
      kEnd,     // nothing follows: ok after a final state, else why not
    } kind = Kind::kUpdate;
    protocol::JobUpdateStream update;
    Status status;
  };

  JobFollower(Client* client, std::string job_id, Duration patience = kPatience);
  ~JobFollower();  // ends the stream and the thread
  JobFollower(const JobFollower&) = delete;
  JobFollower& operator=(const JobFollower&) = delete;

  // Readable while events wait.
  int fd() const { return wake_.get(); }
  // The events that wait, in order; does not block.
  std::vector<Event> Take();
  // Blocks until there is an event.
  std::vector<Event> Wait();

 private:
  void Run();
  void Push(Event event);

  Client* client_;
  const std::string job_id_;
  const Duration patience_;
  UniqueFd wake_;  // eventfd

  std::mutex mutex_;
  std::condition_variable stopping_changed_;
  bool stopping_ = false;                   // guarded by mutex_
  grpc::ClientContext* context_ = nullptr;  // of the stream being read; guarded by mutex_
  std::vector<Event> events_;               // guarded by mutex_
  std::thread thread_;
};

}  // namespace cyxwiz::cli
