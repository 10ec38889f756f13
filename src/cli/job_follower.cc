#include "cli/job_follower.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace cyxwiz::cli {

bool IsFinal(protocol::JobState state) {
  return state == protocol::JOB_STATE_SUCCEEDED || state == protocol::JOB_STATE_FAILED ||
         state == protocol::JOB_STATE_CANCELLED;
}

JobFollower::JobFollower(Client* client, std::string job_id, Duration patience)
    : client_(client),
      job_id_(std::move(job_id)),
      patience_(patience),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

JobFollower::~JobFollower() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (context_) context_->TryCancel();
  }
  stopping_changed_.notify_all();
  thread_.join();
}

void JobFollower::Push(Event event) {
  std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  uint64_t one = 1;
  // Fails only when the counter is full: readable already.
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

std::vector<JobFollower::Event> JobFollower::Take() {
  std::lock_guard lock(mutex_);
  uint64_t count;
  [[maybe_unused]] ssize_t n = ::read(wake_.get(), &count, sizeof count);
  return std::exchange(events_, {});
}

std::vector<JobFollower::Event> JobFollower::Wait() {
  pollfd descriptor{wake_.get(), POLLIN, 0};
  std::vector<Event> events;
  while ((events = Take()).empty()) ::poll(&descriptor, 1, -1);
  return events;
}

void JobFollower::Run() {
  MonotonicTime lost_at = MonotonicTime::Never();
  Duration pause = std::chrono::milliseconds(100);
  bool ended = false;
  for (;;) {
    grpc::ClientContext context;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      context_ = &context;
    }
    protocol::GetJobStatusRequest request;
    request.set_job_id(job_id_);
    auto reader = client_->jobs().StreamJobUpdates(&context, request);
    Event event;
    while (reader->Read(&event.update)) {
      lost_at = MonotonicTime::Never();
      pause = std::chrono::milliseconds(100);
      ended = IsFinal(event.update.status().state());
      Push(event);
    }
    Status status = FromGrpc(reader->Finish());
    {
      std::lock_guard lock(mutex_);
      context_ = nullptr;
      if (stopping_) return;
    }
    // A server that stops ends its streams in good order; only a final state is the end of the job.
    bool gone = (status.ok() && !ended) || status.code() == Code::kUnavailable ||
                status.code() == Code::kCancelled || status.code() == Code::kUnknown;
    if (ended || !gone) {
      Push({Event::Kind::kEnd, {}, ended ? OkStatus() : status});
      return;
    }
    MonotonicTime now = ReadClocks().monotonic;
    if (lost_at == MonotonicTime::Never()) {
      lost_at = now;
      Push({Event::Kind::kLost, {}, status});
    } else if (now - lost_at > patience_) {
      Push({Event::Kind::kEnd,
            {},
            Unavailable("the server at " + client_->server() + " went away and did not come back",
                        "the job goes on when the server does: look again with 'cyxwiz watch " +
                            job_id_ + "'")});
      return;
    }
    std::unique_lock lock(mutex_);
    stopping_changed_.wait_for(lock, pause, [this] { return stopping_; });
    pause = std::min<Duration>(pause * 2, std::chrono::seconds(2));
  }
}

}  // namespace cyxwiz::cli
