// A job's updates as server-sent events (the HTML standard's text/event-stream):
//
//   id: 1                        counts from 1; "final" on the last, after which the stream ends
//   event: update
//   data: {JobUpdateStream as JSON}
//
//   event: error                 the stream cannot go on
//   data: {problem details}
//
//   : heartbeat                  when nothing has changed for a while
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "central/api.h"
#include "central/http_server.h"

namespace cyxwiz::central {

// Between the Api's follower (any thread) and one HTTP connection (its thread). Holds at most
// kMostWaiting updates: when the client does not read, the follower is told to wait and skips
// intermediate progress.
class JobEvents : public BodySource {
 public:
  static constexpr size_t kMostWaiting = 8;

  // Follows the job and answers `exchange`: with the stream once there is a first update, or with
  // the error.
  static void Begin(Api* api, const std::string& job_id, const std::string& path,
                    const std::shared_ptr<HttpExchange>& exchange);

  JobEvents(std::string path, std::shared_ptr<HttpExchange> exchange)
      : path_(std::move(path)), exchange_(std::move(exchange)) {}

  void OnWake(std::function<void()> wake) override;
  std::optional<std::string> Next() override;
  std::string Heartbeat() override { return ": heartbeat\n\n"; }

 private:
  bool OnUpdate(const protocol::JobUpdateStream& update);
  void OnEnd(Status status);

  const std::string path_;
  const std::shared_ptr<HttpExchange> exchange_;
  std::mutex mutex_;
  std::deque<protocol::JobUpdateStream> waiting_;
  std::function<void()> wake_;
  Status end_;
  bool started_ = false, ended_ = false, full_ = false;
  int64_t sent_ = 0;
  // Last, so that it is destroyed first: no callback runs afterwards.
  std::unique_ptr<Api::Follower> follower_;
};

}  // namespace cyxwiz::central
