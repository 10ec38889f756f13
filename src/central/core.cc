#include "central/core.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <type_traits>
#include <unordered_map>

#include "base/logging.h"
#include "central/disk_reserve.h"

namespace cyxwiz::central {
namespace {

using control::Command;
using control::Reply;

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

constexpr int kExitStoreFailed = 70;  // EX_SOFTWARE
constexpr int kRetriesBeforeOpenOutcome = 5;

Status StoppingStatus() { return Unavailable("the server is stopping", "try again in a moment"); }
Status DiskFullStatus() {
  return ResourceExhausted("the disk of the server is full: no new job or change can be stored",
                           "free some space below the server's data folder; it goes on by itself");
}

void SetReplyTo(Command& command, control::ReplyTo to) {
  std::visit(
      [to](auto& c) {
        if constexpr (requires { c.reply_to; }) c.reply_to = to;
      },
      command);
}

class CoreImpl final : public Core {
 public:
  CoreImpl(std::unique_ptr<store::JobStore> store, Options options)
      : options_(options),
        store_(std::move(store)),
        control_(options.control),
        reserve_(options.reserve_path, options.reserve_bytes) {}
  ~CoreImpl() override { Stop(); }

  Status Load() {
    auto snapshot = store_->Load();
    if (!snapshot.ok()) return snapshot.status();
    control_.Load(std::move(*snapshot), options_.clock->Read());
    counters_ = control_.counters();
    Status reserved = reserve_.MakeFirst();
    if (reserved.code() == Code::kResourceExhausted) {
      spdlog::error("{}: new jobs are refused until space returns", reserved.message());
      disk_ = Disk::kLow;
      retry_at_ = options_.clock->Read().monotonic + options_.retry_commit;
    } else if (!reserved.ok()) {
      return reserved;
    }
    return OkStatus();
  }

  void SetSink(EffectSink* sink) override {
    sink_ = sink;
    thread_ = std::thread([this] { Run(); });
  }

  void Post(Command command, OnReply on_reply) override {
    Status refused;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) {
        refused = StoppingStatus();
      } else if (queue_.size() >= options_.max_queued_commands && on_reply) {
        refused = ResourceExhausted(
            "the server is overloaded: " + std::to_string(queue_.size()) + " commands wait",
            "try again in a moment");
      } else {
        queue_.push_back({std::move(command), std::move(on_reply)});
        if (queue_.size() > 1) return;  // the core has been woken already
      }
    }
    if (refused.ok()) {
      wake_.notify_one();
    } else if (on_reply) {
      on_reply(Reply{.status = std::move(refused)});
    }
  }

  void ReadEvents(control::EventQuery query, OnEvents on_page) override {
    Status refused;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) {
        refused = StoppingStatus();
      } else if (reads_.size() >= options_.max_queued_commands) {
        refused = ResourceExhausted("the server is overloaded: " + std::to_string(reads_.size()) +
                                        " readings of events wait",
                                    "try again in a moment");
      } else {
        reads_.push_back({std::move(query), std::move(on_page)});
      }
    }
    if (!refused.ok()) return on_page(std::move(refused));
    wake_.notify_one();
  }

  control::Counters counters() const override {
    std::lock_guard lock(counters_mutex_);
    return counters_;
  }

  Status Ready() const override {
    if (stopped_) return StoppingStatus();
    return disk_ == Disk::kFine ? OkStatus() : DiskFullStatus();
  }

  void Stop() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
    stopped_ = true;
    std::vector<Item> left;
    std::vector<Reading> left_readings;
    {
      std::lock_guard lock(mutex_);
      left.swap(queue_);
      left_readings.swap(reads_);
    }
    for (Reading& reading : left_readings) reading.on_page(StoppingStatus());
    for (Item& item : left) Answer(item, StoppingStatus());
    for (auto& [to, on_reply] : std::exchange(waiting_, {}))
      on_reply(Reply{.to = to, .status = StoppingStatus()});
  }

 private:
  struct Item {
    Command command;
    OnReply on_reply;
  };
  struct Reading {
    control::EventQuery query;
    OnEvents on_page;
  };
  enum class Disk { kFine, kLow, kFull };

  // ---- The thread ----

  void Run() {
    std::vector<Item> items;
    while (WaitForWork(&items)) {
      if (disk_ != Disk::kFine && options_.clock->Read().monotonic >= retry_at_) TryDiskAgain();
      if (disk_ == Disk::kFull) {
        for (Item& item : items) HandleFrozen(item);
      } else {
        Work(items);
      }
      items.clear();
      std::vector<Reading> readings;
      {
        std::lock_guard lock(mutex_);
        readings.swap(reads_);
      }
      for (Reading& reading : readings) reading.on_page(store_->Events(reading.query));
    }
  }

  // False when the core shall stop.
  bool WaitForWork(std::vector<Item>* items) {
    // While frozen, control's deadlines stand still.
    MonotonicTime deadline = MonotonicTime::Never();
    if (disk_ != Disk::kFull) {
      deadline = control_.NextDeadline();
      if (deadline != MonotonicTime::Never()) deadline = deadline + clock_lag_;
    }
    if (disk_ != Disk::kFine) deadline = std::min(deadline, retry_at_);
    std::unique_lock lock(mutex_);
    options_.clock->Wait(lock, wake_, deadline, 
                          [this] { return stopping_ || !queue_.empty() || !reads_.empty(); });
    items->swap(queue_);
    if (!stopping_) return true;
    queue_.swap(*items);  // Stop answers them
    return false;
  }

  Now ControlNow() const {
    Now now = options_.clock->Read();
    now.monotonic = now.monotonic - clock_lag_;
    return now;
  }

  void Work(std::vector<Item>& items) {
    commands_.clear();
    for (Item& item : items) {
      if (disk_ == Disk::kLow && (std::holds_alternative<control::SubmitJob>(item.command) ||
                                  std::holds_alternative<control::RetryJob>(item.command))) {
        Answer(item, DiskFullStatus());
        continue;
      }
      commands_.push_back(Register(item));
    }
    output_.records.clear();
    output_.effects.clear();
    control_.Apply(commands_, ControlNow(), &output_);
    if (Commit()) Send();
  }

  // The command, ready for control, with its reply awaited.
  Command Register(Item& item) {
    if (item.on_reply) {
      SetReplyTo(item.command, next_reply_);
      waiting_.emplace(next_reply_, std::move(item.on_reply));
      ++next_reply_;
    }
    return std::move(item.command);
  }

  // True when the batch is durable; false when the core is frozen now.
  bool Commit() {
    if (output_.records.empty()) return true;
    Status status = store_->Commit(output_.records);
    if (status.code() == Code::kResourceExhausted && reserve_.GiveUp()) {
      spdlog::error("{}: new jobs are refused until space returns", status.message());
      disk_ = Disk::kLow;
      retry_at_ = options_.clock->Read().monotonic + options_.retry_commit;
      status = store_->Commit(output_.records);
    }
    if (status.ok()) return true;
    if (status.code() == Code::kResourceExhausted) {
      spdlog::error("{}: the server stands still until space returns", status.message());
      Freeze();
      return false;
    }
    // Memory is ahead of the disk; whatever ran on would be a lie.
    spdlog::critical("storing failed, the server ends itself: {}", status.ToString());
    _exit(kExitStoreFailed);
  }

  void Send() {
    {
      std::lock_guard lock(counters_mutex_);
      counters_ = control_.counters();
    }
    for (control::Effect& effect : output_.effects) SendEffect(effect);
    output_.records.clear();
    output_.effects.clear();
  }

  void SendEffect(control::Effect& effect) {
    std::visit(
        Overloaded{[this](Reply& reply) { Deliver(std::move(reply)); },
                   [this](control::AssignEffect& assign) { sink_->Assign(std::move(assign)); },
                   [this](control::StopEffect& stop) { sink_->Stop(std::move(stop)); },
                   [this](control::UpdateEffect& update) { sink_->Update(update); },
                   [this](control::EventEffect& event) { sink_->Tell(event.event); }},
        effect);
  }

  void Deliver(Reply reply) {
    auto found = waiting_.find(reply.to);
    if (found == waiting_.end()) return;  // was told that the outcome is open
    OnReply on_reply = std::move(found->second);
    waiting_.erase(found);
    on_reply(std::move(reply));
  }

  static void Answer(Item& item, Status status,
                     decltype(Reply::content) content = std::monostate()) {
    if (item.on_reply)
      item.on_reply(Reply{.status = std::move(status), .content = std::move(content)});
  }

  // ---- A full disk ----

  void Freeze() {
    disk_ = Disk::kFull;
    frozen_at_ = options_.clock->Read().monotonic;
    retry_at_ = frozen_at_ + options_.retry_commit;
    retries_ = 0;
    NoteUncommitted();
  }

  void NoteUncommitted() {
    for (const control::Record& record : output_.records) {
      if (auto* put = std::get_if<control::PutJob>(&record)) uncommitted_.insert(put->job.id);
      if (auto* gone = std::get_if<control::DeleteJob>(&record)) uncommitted_.insert(gone->id);
    }
  }

  void TryDiskAgain() {
    if (disk_ == Disk::kFull) {
      Status status = store_->Commit(output_.records);
      if (status.code() == Code::kResourceExhausted) {
        if (++retries_ == kRetriesBeforeOpenOutcome) TellThatTheOutcomeIsOpen();
        retry_at_ = options_.clock->Read().monotonic + options_.retry_commit;
        return;
      }
      if (!status.ok()) {
        spdlog::critical("storing failed, the server ends itself: {}", status.ToString());
        _exit(kExitStoreFailed);
      }
      clock_lag_ += options_.clock->Read().monotonic - frozen_at_;
      uncommitted_.clear();
      disk_ = Disk::kLow;
      spdlog::warn("the server goes on: what waited for space on the disk is stored");
      Send();
      std::vector<Item> held;
      held.swap(held_);
      Work(held);
      if (disk_ == Disk::kFull) return;
    }
    if (reserve_.MakeAgain()) {
      disk_ = Disk::kFine;
      spdlog::warn("there is space on the disk again: new jobs are taken");
    } else {
      retry_at_ = options_.clock->Read().monotonic + options_.retry_commit;
    }
  }

  void TellThatTheOutcomeIsOpen() {
    for (control::Effect& effect : output_.effects) {
      auto* reply = std::get_if<Reply>(&effect);
      if (reply == nullptr || !waiting_.contains(reply->to)) continue;
      Deliver(Reply{.to = reply->to,
                    .status = Unavailable("the disk of the server is full: whether this is carried "
                                          "out is decided when space returns",
                                          "free some space; asking again with the same job_id is "
                                          "safe")});
    }
  }

  // Answers a command without changing anything that would have to be stored.
  void HandleFrozen(Item& item) {
    auto refuse = [&item](auto&) { Answer(item, DiskFullStatus()); };
    auto refuse_node = [&item](auto&) {
      Answer(item, Unavailable("the disk of the server is full", "try again in a moment"));
    };
    auto read = [this, &item](auto&) { ReadFrozen(item); };
    std::visit(
        Overloaded{
            [&](control::SubmitJob& c) { refuse(c); }, [&](control::CancelJob& c) { refuse(c); },
            [&](control::CancelJobs& c) { refuse(c); }, [&](control::PauseJob& c) { refuse(c); },
            [&](control::ResumeJob& c) { refuse(c); }, [&](control::SetPriority& c) { refuse(c); },
            [&](control::RetryJob& c) { refuse(c); }, [&](control::CordonNode& c) { refuse(c); },
            [&](control::RemoveJob& c) { refuse(c); }, [&](control::GetJob& c) { read(c); },
            [&](control::ListJobs& c) { read(c); }, [&](control::GetNode& c) { read(c); },
            [&](control::ListNodes& c) { read(c); }, [&](control::ExplainJob& c) { read(c); },
            [&](control::PlanJob& c) { read(c); },
            [&](control::RegisterNode& c) { refuse_node(c); },
            [&](control::ReportCompletion& c) { refuse_node(c); },
            [&](control::Heartbeat&) { Answer(item, OkStatus(), control::HeartbeatReply{}); },
            [&](control::ReportProgress&) { Answer(item, OkStatus(), control::ReportReply{}); },
            [&](control::AssignOutcome&) { held_.push_back(std::move(item)); },
            [](control::Tick&) {}},
        item.command);
  }

  void ReadFrozen(Item& item) {
    Command command = Register(item);
    control::Output output;
    Now frozen = ControlNow();
    frozen.monotonic = frozen_at_ - clock_lag_;
    control_.Apply({&command, 1}, frozen, &output);
    // A deadline that came while the commit was tried has fired now: its changes join the batch
    // before the answer is looked at.
    output_.records.insert(output_.records.end(), std::make_move_iterator(output.records.begin()),
                           std::make_move_iterator(output.records.end()));
    NoteUncommitted();
    for (control::Effect& effect : output.effects) {
      auto* reply = std::get_if<Reply>(&effect);
      if (reply == nullptr) {
        output_.effects.push_back(std::move(effect));
      } else if (IsDurable(command, *reply)) {
        Deliver(std::move(*reply));
      } else {
        Deliver(Reply{.to = reply->to,
                      .status = Unavailable("the disk of the server is full and this answer rests "
                                            "on something that could not be stored yet",
                                            "free some space below the server's data folder")});
      }
    }
  }

  // Whether the reply to a read would be the same after a crash. What is *not* in it counts too: a
  // job whose deletion waits, or one that left the states asked for.
  bool IsDurable(const Command& read, const Reply& reply) const {
    if (auto* get = std::get_if<control::GetJob>(&read)) return !uncommitted_.contains(get->job);
    if (std::holds_alternative<control::ListJobs>(read) ||
        std::holds_alternative<control::ExplainJob>(read) ||
        std::holds_alternative<control::PlanJob>(read)) {
      return uncommitted_.empty();
    }
    auto attempts_durable = [this](const control::NodeView& node) {
      return std::none_of(node.attempts.begin(), node.attempts.end(),
                          [this](const AttemptId& a) { return uncommitted_.contains(a.job); });
    };
    if (auto* node = std::get_if<control::NodeReply>(&reply.content))
      return attempts_durable(node->view);
    if (auto* nodes = std::get_if<control::NodesReply>(&reply.content))
      return std::all_of(nodes->nodes.begin(), nodes->nodes.end(), attempts_durable);
    return true;
  }

  const Options options_;
  std::unique_ptr<store::JobStore> store_;
  EffectSink* sink_ = nullptr;
  std::thread thread_;

  std::mutex mutex_;  // of the three below
  std::vector<Item> queue_;
  std::vector<Reading> reads_;
  bool stopping_ = false;
  std::condition_variable wake_;
  std::atomic<bool> stopped_ = false;

  // Of the core thread (and of Stop once it has ended):
  control::Control control_;
  DiskReserve reserve_;
  std::vector<Command> commands_;
  control::Output output_;
  std::unordered_map<control::ReplyTo, OnReply> waiting_;
  control::ReplyTo next_reply_ = 1;
  std::atomic<Disk> disk_ = Disk::kFine;  // written by the core thread alone
  MonotonicTime retry_at_;                // while the disk is not fine
  // While frozen; output_ is then what could not be committed:
  MonotonicTime frozen_at_;
  int retries_ = 0;
  std::set<JobId> uncommitted_;
  std::vector<Item> held_;
  // How long the core has been frozen in all: control's clock is that much behind.
  Duration clock_lag_ = Duration::zero();

  mutable std::mutex counters_mutex_;
  control::Counters counters_;
};

}  // namespace

void CoreClock::Wait(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
                     MonotonicTime deadline, const std::function<bool()>& ready) {
  if (deadline == MonotonicTime::Never()) return wake.wait(lock, ready);
  wake.wait_until(
      lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline.ns)), ready);
}

Result<std::unique_ptr<Core>> Core::Start(std::unique_ptr<store::JobStore> store, Options options) {
  auto core = std::make_unique<CoreImpl>(std::move(store), std::move(options));
  RETURN_IF_ERROR(core->Load());
  return std::unique_ptr<Core>(std::move(core));
}

}  // namespace cyxwiz::central
