#include "central/rest_events.h"

#include "wire/json.h"

namespace cyxwiz::central {
namespace {

bool IsFinal(protocol::JobState state) {
  return state == protocol::JOB_STATE_SUCCEEDED || state == protocol::JOB_STATE_FAILED ||
         state == protocol::JOB_STATE_CANCELLED;
}

}  // namespace

void JobEvents::Begin(Api* api, const std::string& job_id, const std::string& path,
                      const std::shared_ptr<HttpExchange>& exchange) {
  auto events = std::make_shared<JobEvents>(path, exchange);
  exchange->Attach(events);
  JobEvents* raw = events.get();  // outlives its follower
  events->follower_ = api->Follow(
      job_id, [raw](const protocol::JobUpdateStream& update) { return raw->OnUpdate(update); },
      [raw](Status status) { raw->OnEnd(std::move(status)); });
}

bool JobEvents::OnUpdate(const protocol::JobUpdateStream& update) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMostWaiting) {
      full_ = true;
      return false;
    }
    waiting_.push_back(update);
    if (wake_) wake_();
    if (started_) return true;
    started_ = true;
  }
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.is_stream = true;
  exchange_->Respond(std::move(response));
  return true;
}

void JobEvents::OnEnd(Status status) {
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

void JobEvents::OnWake(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

std::optional<std::string> JobEvents::Next() {
  protocol::JobUpdateStream update;
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
    update = std::move(waiting_.front());
    waiting_.pop_front();
    resume = full_ && waiting_.size() <= kMostWaiting / 2;
    if (resume) full_ = false;
  }
  // Not under the lock: it may call OnUpdate.
  if (resume) follower_->Resume();
  std::string id = IsFinal(update.status().state()) ? "final" : std::to_string(++sent_);
  return "id: " + id + "\nevent: update\ndata: " + wire::ToJsonText(update) + "\n\n";
}

}  // namespace cyxwiz::central
