#include "central/event_hub.h"

#include <utility>

#include "central/convert.h"

namespace cyxwiz::central {

void EventStream::Start(Core* core, control::EventQuery query) {
  std::lock_guard lock(mutex_);
  core_ = core;
  query_ = std::move(query);
  query_.limit = 500;
  if (on_begin_ && !closed_ && !ending_) on_begin_();
  ReadMore();
}

// With mutex_. One page is read at a time, when the follower has taken the one before.
void EventStream::ReadMore() {
  if (core_ == nullptr || reading_ || caught_up_ || ending_ || closed_ || !waiting_.empty()) return;
  reading_ = true;
  core_->ReadEvents(query_, [self = shared_from_this()](Result<std::vector<control::Event>> page) {
    self->OnPage(std::move(page));
  });
}

void EventStream::OnPage(Result<std::vector<control::Event>> page) {
  std::lock_guard lock(mutex_);
  reading_ = false;
  if (closed_ || ending_) return;
  if (!page.ok()) return End(page.status());
  for (const control::Event& event : *page) {
    waiting_.emplace_back();
    ToEvent(event, &waiting_.back());
    query_.after = event.number;
  }
  if (page->size() < query_.limit) {
    caught_up_ = true;
    for (const control::Event& event : std::exchange(live_, {})) {
      if (event.number <= query_.after || !Wants(event)) continue;
      waiting_.emplace_back();
      ToEvent(event, &waiting_.back());
      query_.after = event.number;
    }
  }
  Drain();
  ReadMore();
}

bool EventStream::Wants(const control::Event& event) const {
  if (query_.sequence != 0) return event.sequence == query_.sequence;
  return query_.node.empty() || event.node == query_.node;
}

void EventStream::Offer(const control::Event& event) {
  std::lock_guard lock(mutex_);
  if (closed_ || ending_ || (core_ != nullptr && !Wants(event))) return;
  if (waiting_.size() + live_.size() >= kMostWaiting) {
    return End(ResourceExhausted(
        "the follower is too slow: " + std::to_string(kMostWaiting) + " events wait for it",
        "follow again with the number of the last event as `after`"));
  }
  if (!caught_up_) {
    live_.push_back(event);
    return;
  }
  if (event.number <= query_.after) return;
  query_.after = event.number;
  waiting_.emplace_back();
  ToEvent(event, &waiting_.back());
  Drain();
}

void EventStream::End(Status status) {
  std::lock_guard lock(mutex_);
  if (ending_) return;
  ending_ = true;
  end_ = std::move(status);
  Drain();
}

void EventStream::Resume() {
  std::lock_guard lock(mutex_);
  Drain();
  ReadMore();
}

void EventStream::Drain() {
  if (draining_) return;  // called from within a callback
  draining_ = true;
  while (!closed_ && !waiting_.empty() && on_event_(waiting_.front())) waiting_.pop_front();
  draining_ = false;
  if (!closed_ && waiting_.empty() && ending_) {
    closed_ = true;
    on_end_(end_);
  }
}

void EventStream::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

Status EventHub::Add(const std::shared_ptr<EventStream>& stream) {
  std::lock_guard lock(mutex_);
  if (closed_) return Unavailable("the server is stopping", "follow again in a moment");
  if (streams_.size() >= most_) {
    return ResourceExhausted(
        "too many streams: at most " + std::to_string(most_) + " followers at once",
        "list the events now and then instead");
  }
  streams_.insert(stream);
  size_ = streams_.size();
  return OkStatus();
}

void EventHub::Remove(const std::shared_ptr<EventStream>& stream) {
  std::lock_guard lock(mutex_);
  streams_.erase(stream);
  size_ = streams_.size();
}

void EventHub::Publish(const control::Event& event) {
  if (size_ == 0) return;
  std::vector<std::shared_ptr<EventStream>> followers;
  {
    std::lock_guard lock(mutex_);
    followers.assign(streams_.begin(), streams_.end());
  }
  for (auto& follower : followers) follower->Offer(event);
}

void EventHub::CloseAll(const Status& status) {
  std::vector<std::shared_ptr<EventStream>> all;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    all.assign(streams_.begin(), streams_.end());
  }
  for (auto& stream : all) stream->End(status);
}

}  // namespace cyxwiz::central
