// One call that streams what a follower is given, each message as soon as the client has taken the
// one before.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "central/api.h"
#include "central/convert.h"

namespace cyxwiz::central {

// `follow(on_message, on_end)` begins to follow and returns the Api::Follower (null when on_end was
// called at once).
template <typename Message>
class FollowReactor final : public grpc::ServerWriteReactor<Message> {
 public:
  template <typename Follow>
  static FollowReactor* Start(Follow follow) {
    auto reactor = std::shared_ptr<FollowReactor>(new FollowReactor());
    reactor->self_ = reactor;
    std::unique_ptr<Api::Follower> follower =
        follow([r = reactor.get()](const Message& message) { return r->Take(message); },
               [r = reactor.get()](Status status) { r->End(std::move(status)); });
    reactor->Attach(std::move(follower));
    // gRPC hands the call to the reactor after this, and OnDone comes only after that.
    return reactor.get();
  }

  void OnWriteDone(bool ok) override {
    Api::Follower* follower;
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok && !end_) end_ = Status(Code::kCancelled, "the client is gone");
      if (end_) return FinishOnce();
      follower = follower_.get();
      if (follower == nullptr) resume_ = true;
    }
    if (follower != nullptr) follower->Resume();
  }

  void OnCancel() override { End(Status(Code::kCancelled, "cancelled by the client")); }

  void OnDone() override {
    auto last = std::move(self_);  // deleted here, which ends the following
  }

 private:
  FollowReactor() = default;

  void Attach(std::unique_ptr<Api::Follower> follower) {
    bool resume;
    {
      std::lock_guard lock(mutex_);
      follower_ = std::move(follower);
      resume = std::exchange(resume_, false);
    }
    if (resume) follower_->Resume();
  }

  bool Take(const Message& message) {
    std::lock_guard lock(mutex_);
    if (writing_ || end_) return false;
    current_ = message;
    writing_ = true;
    this->StartWrite(&current_);
    return true;
  }

  void End(Status status) {
    std::lock_guard lock(mutex_);
    if (!end_) end_ = std::move(status);
    if (!writing_) FinishOnce();
  }

  void FinishOnce() {  // with mutex_
    if (!std::exchange(finished_, true)) this->Finish(ToGrpc(*end_));
  }

  std::shared_ptr<FollowReactor> self_;
  std::mutex mutex_;
  Message current_;
  bool writing_ = false, finished_ = false, resume_ = false;
  std::optional<Status> end_;
  std::unique_ptr<Api::Follower> follower_;  // last: gone before what its callbacks use
};

}  // namespace cyxwiz::central
