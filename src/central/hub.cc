#include "central/hub.h"

#include <algorithm>

#include "central/convert.h"

namespace cyxwiz::central {

void UpdateStream::Start(Update present, bool final) {
  std::lock_guard lock(mutex_);
  if (started_ || ending_) return;
  started_ = true;
  Push(std::move(present), final);
}

void UpdateStream::Offer(Update update, bool final) {
  std::lock_guard lock(mutex_);
  if (started_ && !ending_) Push(std::move(update), final);
}

void UpdateStream::Push(Update update, bool final) {
  auto same_state = [](const protocol::JobStatus& a, const protocol::JobStatus& b) {
    return a.state() == b.state() && a.attempt() == b.attempt();
  };
  // The front may be in the follower's hands (draining): only what lies behind it is replaced.
  if (!waiting_.empty() && !draining_ && same_state(waiting_.back()->status(), update->status())) {
    waiting_.back() = std::move(update);
  } else if (waiting_.size() >= kMostWaiting) {
    ending_ = true;
    end_ = ResourceExhausted("the follower is too slow: " + std::to_string(kMostWaiting) +
                             " updates wait for it");
  } else {
    waiting_.push_back(std::move(update));
  }
  if (final) ending_ = true;
  Drain();
}

void UpdateStream::End(Status status) {
  std::lock_guard lock(mutex_);
  if (ending_) return;
  ending_ = true;
  end_ = std::move(status);
  Drain();
}

void UpdateStream::Resume() {
  std::lock_guard lock(mutex_);
  Drain();
}

void UpdateStream::Drain() {
  if (draining_) return;  // called from within a callback
  draining_ = true;
  while (!closed_ && !waiting_.empty()) {
    Update next = waiting_.front();
    if (!on_update_(*next)) break;
    waiting_.pop_front();
  }
  draining_ = false;
  if (!closed_ && waiting_.empty() && ending_) {
    closed_ = true;
    on_end_(end_);
  }
}

void UpdateStream::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

Status StreamHub::Add(const std::string& job_id, const std::shared_ptr<UpdateStream>& stream) {
  std::lock_guard lock(mutex_);
  if (closed_) return Unavailable("the server is stopping", "follow again in a moment");
  if (size_ >= most_) {
    return ResourceExhausted(
        "too many streams: at most " + std::to_string(most_) + " followers at once",
        "ask for the job's status now and then instead");
  }
  streams_[job_id].push_back(stream);
  ++size_;
  return OkStatus();
}

void StreamHub::Remove(const std::string& job_id, const std::shared_ptr<UpdateStream>& stream) {
  std::lock_guard lock(mutex_);
  auto found = streams_.find(job_id);
  if (found == streams_.end()) return;
  size_ -= std::erase(found->second, stream);
  if (found->second.empty()) streams_.erase(found);
}

UpdateStream::Update StreamHub::ToUpdate(const control::JobView& view) {
  auto update = std::make_shared<protocol::JobUpdateStream>();
  update->set_job_id(view.job.id.value);
  ToJobStatus(view, update->mutable_status());
  *update->mutable_live_metrics() = update->status().metrics();
  update->set_log_message(view.job.message);
  return update;
}

void StreamHub::Publish(const control::UpdateEffect& update) {
  if (size_ == 0) return;
  std::vector<std::shared_ptr<UpdateStream>> followers;
  {
    std::lock_guard lock(mutex_);
    auto found = streams_.find(update.view->job.id.value);
    if (found == streams_.end()) return;
    followers = found->second;
  }
  if (update.removed) {
    for (auto& follower : followers)
      follower->End(NotFound("job '" + update.view->job.id.value + "' was deleted"));
    return;
  }
  UpdateStream::Update message = ToUpdate(*update.view);
  bool final = control::IsFinal(update.view->job.state);
  for (auto& follower : followers) follower->Offer(message, final);
}

void StreamHub::CloseAll(const Status& status) {
  std::vector<std::shared_ptr<UpdateStream>> all;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    for (auto& [id, streams] : streams_) all.insert(all.end(), streams.begin(), streams.end());
  }
  for (auto& stream : all) stream->End(status);
}

}  // namespace cyxwiz::central
