#include "central/log_relay.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>

#include "central/convert.h"
#include "cyxwiz/protocol/log.grpc.pb.h"

namespace cyxwiz::central {
namespace {

// One reading: asks the core where the log is, then the candidates one after the other. Lives until
// the last call that knows it has ended; Close cuts it off from its reader.
class Reading : public std::enable_shared_from_this<Reading> {
 public:
  Reading(Core* core, NodeChannels* channels, protocol::ReadLogRequest request,
          LogRelay::OnChunk on_chunk, LogRelay::OnEnd on_end)
      : core_(core),
        channels_(channels),
        request_(std::move(request)),
        on_chunk_(std::move(on_chunk)),
        on_end_(std::move(on_end)) {}

  void Start() {
    if (request_.attempt() < 0 || request_.offset() < 0 || request_.rank() < 0)
      return End(InvalidArgument("attempt, offset and rank must not be negative"));
    core_->Post(control::GetJob{.job = {request_.job_id()}},
                [self = shared_from_this()](control::Reply reply) {
                  if (!reply.status.ok()) return self->End(reply.status);
                  self->OnJob(std::get<control::JobReply>(reply.content).view.job);
                });
  }

  void Resume() {
    std::lock_guard lock(mutex_);
    if (call_ != nullptr) call_->Resume();
  }

  // No callback after it has returned.
  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    if (call_ != nullptr) call_->Cancel();
  }

 private:
  // The stream from one node. Deletes itself in OnDone.
  class Call : public grpc::ClientReadReactor<protocol::LogChunk> {
   public:
    Call(std::shared_ptr<Reading> reading, const std::shared_ptr<grpc::Channel>& channel)
        : reading_(std::move(reading)), stub_(protocol::JobLogService::NewStub(channel)) {
      stub_->async()->ReadLog(&context_, &reading_->request_, this);
      AddHold();  // for StartRead outside of reactions, until the reading side has ended
      StartRead(&chunk_);
      StartCall();
    }
    void Cancel() {
      context_.TryCancel();
      Resume();  // a reading that waits must see the end
    }
    // Under the reading's mutex, as all that touches waiting_.
    void Resume() {
      if (std::exchange(waiting_, false)) StartRead(&chunk_);
    }
    void OnReadDone(bool ok) override {
      std::lock_guard lock(reading_->mutex_);
      if (!ok) return RemoveHold();
      if (reading_->Take(chunk_)) {
        StartRead(&chunk_);
      } else {
        waiting_ = true;
        if (reading_->closed_) Resume();
      }
    }
    void OnDone(const grpc::Status& status) override {
      // Deleted when the reading no longer knows it: Close and Resume may come at any time.
      std::unique_ptr<Call> self(this);
      reading_->OnCallDone(FromGrpc(status));
    }

   private:
    std::shared_ptr<Reading> reading_;
    std::unique_ptr<protocol::JobLogService::Stub> stub_;
    grpc::ClientContext context_;
    protocol::LogChunk chunk_;
    bool waiting_ = false;
  };

  void OnJob(const control::Job& job) {
    if (job.node.empty()) {
      return End(
          FailedPrecondition("job '" + job.id.value + "' has not started: there is no log yet",
                             "see why with 'cyxwiz status " + job.id.value + "'"));
    }
    if (request_.attempt() == 0) request_.set_attempt(job.attempt);
    if (request_.attempt() > job.attempt) {
      return End(NotFound("job '" + job.id.value + "' has no attempt " +
                          std::to_string(request_.attempt()) + ": the last one is " +
                          std::to_string(job.attempt)));
    }
    bool last = request_.attempt() == job.attempt;
    if (last && request_.rank() == 0 && job.gang == nullptr) tail_ = *job.log_tail;
    NodeId keeper = job.node;
    if (const int32_t rank = request_.rank(); rank > 0) {
      const auto ranks = job.gang == nullptr ? 1 : std::ssize(job.gang->ranks);
      if (rank >= ranks) {
        return End(NotFound("job '" + job.id.value + "' has no rank " + std::to_string(rank) +
                            ": its last attempt had " + std::to_string(ranks)));
      }
      if (!last) {
        return End(FailedPrecondition("where rank " + std::to_string(rank) + " of attempt " +
                                          std::to_string(request_.attempt()) +
                                          " ran is not remembered",
                                      "only of the last attempt, " + std::to_string(job.attempt)));
      }
      keeper = job.gang->ranks[static_cast<size_t>(rank)].node;
    }
    core_->Post(control::ListNodes{},
                [self = shared_from_this(), node = std::move(keeper), last](control::Reply reply) {
                  if (!reply.status.ok()) return self->End(reply.status);
                  self->OnNodes(std::get<control::NodesReply>(reply.content).nodes, node, last);
                });
  }

  void OnNodes(const std::vector<control::NodeView>& nodes, const NodeId& node, bool last) {
    for (const control::NodeView& view : nodes) {
      if (!view.online || (last && view.node.id != node)) continue;
      if (view.node.id == node) {
        candidates_.push_front(view.node.endpoint);
      } else {
        candidates_.push_back(view.node.endpoint);
      }
    }
    if (candidates_.empty()) {
      return EndWithTail(Unavailable(
          last ? "node '" + node.value + "', which keeps the log, is offline" : "no node is online",
          "read the log when it is back"));
    }
    TryNext();
  }

  void TryNext() {
    std::string endpoint = candidates_.front();
    candidates_.pop_front();
    std::lock_guard lock(mutex_);
    if (closed_) return;
    call_ = new Call(shared_from_this(), channels_->Get(endpoint));
  }

  // Under mutex_. False when no further chunk is wanted for now.
  bool Take(const protocol::LogChunk& chunk) {
    if (closed_) return false;
    took_some_ = true;
    return on_chunk_(chunk);
  }

  void OnCallDone(Status status) {
    bool again;
    {
      std::lock_guard lock(mutex_);
      call_ = nullptr;
      again = status.code() == Code::kNotFound && !took_some_ && !candidates_.empty() && !closed_;
    }
    if (again) {
      TryNext();
    } else if (status.code() == Code::kUnavailable && !took_some_) {
      EndWithTail(Unavailable("the node that keeps the log does not answer: " + status.message(),
                              "read the log when it is back"));
    } else {
      End(std::move(status));
    }
  }

  // The log is out of reach: what the server has kept of it, if anything.
  void EndWithTail(Status status) {
    if (tail_.text.empty()) return End(std::move(status));
    protocol::LogChunk chunk;
    const int64_t offset = std::max(request_.offset(), tail_.offset);
    chunk.set_attempt(request_.attempt());
    chunk.set_offset(offset);
    chunk.set_dropped(offset - request_.offset());
    chunk.set_kept_by_server(true);
    const auto passed = std::min(static_cast<size_t>(offset - tail_.offset), tail_.text.size());
    chunk.set_data(tail_.text.substr(passed));
    std::lock_guard lock(mutex_);
    if (closed_) return;
    on_chunk_(chunk);
    End(OkStatus());
  }

  void End(Status status) {
    std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
    on_end_(std::move(status));
  }

  Core* const core_;
  NodeChannels* const channels_;
  protocol::ReadLogRequest request_;
  const LogRelay::OnChunk on_chunk_;
  const LogRelay::OnEnd on_end_;
  std::deque<std::string> candidates_;
  control::LogTail tail_;

  // Recursive: a callback may call Resume or Close.
  std::recursive_mutex mutex_;
  Call* call_ = nullptr;
  bool took_some_ = false;
  bool closed_ = false;
};

class ReaderImpl final : public LogRelay::Reader {
 public:
  explicit ReaderImpl(std::shared_ptr<Reading> reading) : reading_(std::move(reading)) {}
  ~ReaderImpl() override { reading_->Close(); }
  void Resume() override { reading_->Resume(); }

 private:
  std::shared_ptr<Reading> reading_;
};

}  // namespace

std::unique_ptr<LogRelay::Reader> LogRelay::Start(const protocol::ReadLogRequest& request,
                                                  OnChunk on_chunk, OnEnd on_end) {
  auto reading =
      std::make_shared<Reading>(core_, channels_, request, std::move(on_chunk), std::move(on_end));
  reading->Start();
  return std::make_unique<ReaderImpl>(std::move(reading));
}

}  // namespace cyxwiz::central
