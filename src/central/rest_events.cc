#include "central/rest_events.h"

#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "wire/json.h"

namespace cyxwiz::central {
namespace {

bool IsFinal(protocol::JobState state) {
  return state == protocol::JOB_STATE_SUCCEEDED || state == protocol::JOB_STATE_FAILED ||
         state == protocol::JOB_STATE_CANCELLED;
}

template <typename Message>
std::string ToText(const std::string& id, const char* name, const Message& message) {
  return "id: " + id + "\nevent: " + name + "\ndata: " + wire::ToJsonText(message) + "\n\n";
}

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

template <typename Message>
void MessageEvents<Message>::Begin(const std::string& path,
                                   const std::shared_ptr<HttpExchange>& exchange, Write write,
                                   const Follow& follow) {
  auto events = std::make_shared<MessageEvents>(path, exchange, std::move(write));
  exchange->Attach(events);
  MessageEvents* raw = events.get();  // outlives its follower
  events->follower_ =
      follow([raw](const Message& message) { return raw->OnMessage(message); },
             [raw](Status status) { raw->OnEnd(std::move(status)); }, [raw] { raw->OnBegin(); });
}

template <typename Message>
void MessageEvents<Message>::OnBegin() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(started_, true)) return;
  }
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.is_stream = true;
  exchange_->Respond(std::move(response));
}

template <typename Message>
bool MessageEvents<Message>::OnMessage(const Message& message) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMostWaiting) {
      full_ = true;
      return false;
    }
    waiting_.push_back(message);
    if (wake_) wake_();
  }
  OnBegin();
  return true;
}

template <typename Message>
void MessageEvents<Message>::OnEnd(Status status) {
  bool answer = false;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    end_ = status;
    answer = !started_;
    started_ = true;
    if (wake_) wake_();
  }
  if (!answer) return;
  if (status.ok()) status = Unavailable("the server is stopping");
  exchange_->Respond(ProblemResponse(status, path_));
}

template <typename Message>
void MessageEvents<Message>::OnWake(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

template <typename Message>
std::optional<std::string> MessageEvents<Message>::Next() {
  Message message;
  bool resume = false;
  {
    std::lock_guard lock(mutex_);
    if (waiting_.empty()) {
      if (!ended_) return "";
      if (end_.ok()) return std::nullopt;
      std::string event = "event: error\ndata: " + ProblemResponse(end_, path_).body + "\n\n";
      end_ = OkStatus();
      return event;
    }
    message = std::move(waiting_.front());
    waiting_.pop_front();
    resume = full_ && waiting_.size() <= kMostWaiting / 2;
    if (resume) full_ = false;
  }
  // Not under the lock: it may call OnMessage.
  if (resume) follower_->Resume();
  return write_(message);
}

}  // namespace

void FollowJobUpdates(Api* api, const std::string& job_id, const std::string& path,
                      const std::shared_ptr<HttpExchange>& exchange) {
  auto write = [sent = int64_t{0}](const protocol::JobUpdateStream& update) mutable {
    ++sent;
    return ToText(IsFinal(update.status().state()) ? "final" : std::to_string(sent), "update",
                  update);
  };
  MessageEvents<protocol::JobUpdateStream>::Begin(
      path, exchange, write, [&](auto on_update, auto on_end, auto /*on_begin*/) {
        return api->Follow(job_id, std::move(on_update), std::move(on_end));
      });
}

void FollowEventHistory(Api* api, const protocol::ListEventsRequest& request,
                        const std::string& path, const std::shared_ptr<HttpExchange>& exchange) {
  auto write = [](const protocol::Event& event) {
    return ToText(std::to_string(event.number()), "event", event);
  };
  MessageEvents<protocol::Event>::Begin(
      path, exchange, write, [&](auto on_event, auto on_end, auto on_begin) {
        return api->FollowEvents(request, std::move(on_event), std::move(on_end),
                                 std::move(on_begin));
      });
}

}  // namespace cyxwiz::central
