// Server-sent events (the HTML standard's text/event-stream). A job's updates:
//
//   id: 1                        counts from 1; "final" on the last, after which the stream ends
//   event: update
//   data: {JobUpdateStream as JSON}
//
// What happens to jobs and nodes:
//
//   id: 4711                     the event's number: as Last-Event-ID where to go on from
//   event: event
//   data: {Event as JSON}
//
// Both:
//
//   event: error                 the stream cannot go on
//   data: {problem details}
//
//   : heartbeat                  when nothing has happened for a while
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "central/api.h"
#include "central/http_server.h"

namespace cyxwiz::central {

// Follows the job and answers `exchange`: with the stream once there is a first update, or with the
// error.
void FollowJobUpdates(Api* api, const std::string& job_id, const std::string& path,
                      const std::shared_ptr<HttpExchange>& exchange);
// Likewise the events that `request` asks for; the stream begins as soon as the request has been
// found to be right.
void FollowEventHistory(Api* api, const protocol::ListEventsRequest& request,
                        const std::string& path, const std::shared_ptr<HttpExchange>& exchange);

// Between the Api's follower (any thread) and one HTTP connection (its thread). Holds at most
// kMostWaiting messages: when the client does not read, the follower is told to wait.
template <typename Message>
class MessageEvents : public BodySource {
 public:
  static constexpr size_t kMostWaiting = 8;
  // One message as a server-sent event. Called by the connection's thread, in order.
  using Write = std::function<std::string(const Message&)>;
  // on_begin: the stream may begin before its first message.
  using Follow = std::function<std::unique_ptr<Api::Follower>(
      std::function<bool(const Message&)> on_message, std::function<void(Status)> on_end,
      std::function<void()> on_begin)>;

  static void Begin(const std::string& path, const std::shared_ptr<HttpExchange>& exchange,
                    Write write, const Follow& follow);

  MessageEvents(std::string path, std::shared_ptr<HttpExchange> exchange, Write write)
      : path_(std::move(path)), exchange_(std::move(exchange)), write_(std::move(write)) {}

  void OnWake(std::function<void()> wake) override;
  std::optional<std::string> Next() override;
  std::string Heartbeat() override { return ": heartbeat\n\n"; }

 private:
  void OnBegin();
  bool OnMessage(const Message& message);
  void OnEnd(Status status);

  const std::string path_;
  const std::shared_ptr<HttpExchange> exchange_;
  const Write write_;
  std::mutex mutex_;
  std::deque<Message> waiting_;
  std::function<void()> wake_;
  Status end_;
  bool started_ = false, ended_ = false, full_ = false;
  // Last, so that it is destroyed first: no callback runs afterwards.
  std::unique_ptr<Api::Follower> follower_;
};

}  // namespace cyxwiz::central
