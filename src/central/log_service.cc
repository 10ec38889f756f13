// JobLogService of the server: relays the log from the node that keeps it.
#include <grpcpp/grpcpp.h>

#include <mutex>
#include <optional>

#include "central/convert.h"
#include "central/services.h"
#include "cyxwiz/protocol/log.grpc.pb.h"

namespace cyxwiz::central {
namespace {

// One ReadLog call: one chunk is in the client's direction at a time.
class LogReactor final : public grpc::ServerWriteReactor<protocol::LogChunk> {
 public:
  static LogReactor* Start(LogRelay* relay, const protocol::ReadLogRequest& request) {
    auto reactor = std::shared_ptr<LogReactor>(new LogReactor());
    reactor->self_ = reactor;
    auto reader = relay->Start(
        request, [r = reactor.get()](const auto& chunk) { return r->Take(chunk); },
        [r = reactor.get()](Status status) { r->End(std::move(status)); });
    reactor->Attach(std::move(reader));
    return reactor.get();
  }

  void OnWriteDone(bool ok) override {
    LogRelay::Reader* reader;
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok && !end_) end_ = Status(Code::kCancelled, "the client is gone");
      if (end_) return FinishOnce();
      reader = reader_.get();
      if (reader == nullptr) resume_ = true;
    }
    if (reader != nullptr) reader->Resume();
  }

  void OnCancel() override { End(Status(Code::kCancelled, "cancelled by the client")); }

  void OnDone() override {
    auto last = std::move(self_);  // deleted here, which cancels the call to the node
  }

 private:
  LogReactor() = default;

  void Attach(std::unique_ptr<LogRelay::Reader> reader) {
    bool resume;
    {
      std::lock_guard lock(mutex_);
      reader_ = std::move(reader);
      resume = std::exchange(resume_, false);
    }
    if (resume) reader_->Resume();
  }

  bool Take(const protocol::LogChunk& chunk) {
    std::lock_guard lock(mutex_);
    if (end_) return false;
    current_ = chunk;
    writing_ = true;
    StartWrite(&current_);
    return false;  // no more until it is written
  }

  void End(Status status) {
    std::lock_guard lock(mutex_);
    if (!end_) end_ = std::move(status);
    if (!writing_) FinishOnce();
  }

  void FinishOnce() {  // with mutex_
    if (!std::exchange(finished_, true)) Finish(ToGrpc(*end_));
  }

  std::shared_ptr<LogReactor> self_;
  std::mutex mutex_;
  protocol::LogChunk current_;
  bool writing_ = false, finished_ = false, resume_ = false;
  std::optional<Status> end_;
  std::unique_ptr<LogRelay::Reader> reader_;  // last: gone before what its callbacks use
};

class LogServiceImpl final : public protocol::JobLogService::CallbackService {
 public:
  explicit LogServiceImpl(LogRelay* relay) : relay_(relay) {}

  grpc::ServerWriteReactor<protocol::LogChunk>* ReadLog(
      grpc::CallbackServerContext*, const protocol::ReadLogRequest* request) override {
    return LogReactor::Start(relay_, *request);
  }

 private:
  LogRelay* const relay_;
};

}  // namespace

NamedService MakeLogService(const ServiceParts& parts) {
  return {std::make_unique<LogServiceImpl>(parts.logs),
          protocol::JobLogService::service_full_name()};
}

}  // namespace cyxwiz::central
