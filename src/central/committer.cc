#include "central/committer.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "base/failpoint.h"
#include "base/logging.h"

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

constexpr int kRetriesBeforeOpenOutcome = 5;

void SetReplyTo(Command& command, control::ReplyTo to) {
  std::visit(
      [to](auto& c) {
        if constexpr (requires { c.reply_to; }) c.reply_to = to;
      },
      command);
}

// What control takes for granted.
Status CheckReferences(const control::Snapshot& snapshot) {
  auto not_sound = [](const control::Job& job, const std::string& what) {
    return DataLoss("job '" + job.id.value + "' (" + JobStateName(job.state) + ") " + what,
                    "see all that is wrong with `cyxwiz-central-server check`, and go back to a "
                    "backup with `cyxwiz-central-server restore`");
  };
  std::set<int64_t> bodies;
  for (const control::PutBody& body : snapshot.bodies) bodies.insert(body.number);
  std::set<NodeId> nodes;
  for (const control::Node& node : snapshot.nodes) nodes.insert(node.id);
  for (const control::Job& job : snapshot.jobs) {
    if (bodies.count(job.body) == 0) return not_sound(job, "has no specification");
    for (const NodeId& node : control::NodesWith(job)) {
      if (nodes.count(node) == 0)
        return not_sound(job, "is held by node '" + node.value + "', which is not there");
    }
  }
  return OkStatus();
}

}  // namespace

Status DiskFullStatus() {
  return ResourceExhausted("the disk of the server is full: no new job or change can be stored",
                           "free some space below the server's data folder; it goes on by itself");
}

Committer::Committer(store::JobStore* store, Reserve* reserve, Options options)
    : options_(options),
      store_(store),
      reserve_(reserve),
      recorder_(options.control, options.journal, CYXWIZ_VERSION) {}

Status Committer::Load(Now now) {
  auto snapshot = store_->Load();
  if (!snapshot.ok()) return snapshot.status();
  RETURN_IF_ERROR(CheckReferences(*snapshot));
  recorder_.Load(std::move(*snapshot), now);
  counters_ = control().counters();
  Status reserved = reserve_->MakeFirst();
  if (reserved.code() == Code::kResourceExhausted) {
    spdlog::error("{}: new jobs are refused until space returns", reserved.message());
    disk_ = Disk::kLow;
    retry_at_ = now.monotonic + options_.retry_commit;
  } else if (!reserved.ok()) {
    return reserved;
  }
  return OkStatus();
}

Status Committer::Step(std::vector<Item> items, Now now) {
  if (disk_ != Disk::kFine && now.monotonic >= retry_at_) RETURN_IF_ERROR(TryDiskAgain(now));
  if (disk_ != Disk::kFull) return Work(items, now);
  for (Item& item : items) HandleFrozen(item, now);
  return OkStatus();
}

MonotonicTime Committer::NextDeadline() const {
  // While frozen, control's deadlines stand still.
  MonotonicTime deadline = MonotonicTime::Never();
  if (disk_ != Disk::kFull) {
    deadline = control().NextDeadline();
    if (deadline != MonotonicTime::Never()) deadline = deadline + clock_lag_;
  }
  return disk_ == Disk::kFine ? deadline : std::min(deadline, retry_at_);
}

control::Counters Committer::counters() const {
  std::lock_guard lock(counters_mutex_);
  return counters_;
}

void Committer::AnswerAll(const Status& status) {
  for (Item& item : std::exchange(held_, {})) Answer(item, status);
  for (auto& [to, on_reply] : std::exchange(waiting_, {}))
    on_reply(Reply{.to = to, .status = status});
}

void Committer::Answer(Item& item, Status status, decltype(Reply::content) content) {
  if (item.on_reply)
    item.on_reply(Reply{.status = std::move(status), .content = std::move(content)});
}

Now Committer::ControlTime(Now now) const {
  now.monotonic = now.monotonic - clock_lag_;
  return now;
}

Status Committer::Work(std::vector<Item>& items, Now now) {
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
  recorder_.Apply(commands_, ControlTime(now), &output_);
  RETURN_IF_ERROR(Commit(now));
  if (disk_ != Disk::kFull) Send();
  return OkStatus();
}

// The command, ready for control, with its reply awaited.
Command Committer::Register(Item& item) {
  if (item.on_reply) {
    SetReplyTo(item.command, next_reply_);
    waiting_.emplace(next_reply_, std::move(item.on_reply));
    ++next_reply_;
  }
  return std::move(item.command);
}

// The batch is durable afterwards, or the committer is frozen.
Status Committer::Commit(Now now) {
  if (output_.records.empty()) return OkStatus();
  CYXWIZ_FAILPOINT("server.commit.before");
  Status status = CommitOutput();
  CYXWIZ_FAILPOINT("server.commit.after");
  if (status.code() == Code::kResourceExhausted && reserve_->GiveUp()) {
    spdlog::error("{}: new jobs are refused until space returns", status.message());
    disk_ = Disk::kLow;
    retry_at_ = now.monotonic + options_.retry_commit;
    status = CommitOutput();
  }
  if (status.code() != Code::kResourceExhausted) return status;
  spdlog::error("{}: the server stands still until space returns", status.message());
  Freeze(now);
  return OkStatus();
}

Status Committer::CommitOutput() {
  if (options_.observer != nullptr) options_.observer->OnCommitBegins();
  Status status = store_->Commit(output_.records);
  if (options_.observer != nullptr) options_.observer->OnCommitEnded();
  return status;
}

void Committer::Send() {
  {
    std::lock_guard lock(counters_mutex_);
    counters_ = control().counters();
  }
  for (control::Effect& effect : output_.effects) {
    std::visit(
        Overloaded{[this](Reply& reply) { Deliver(std::move(reply)); },
                   [this](control::AssignEffect& assign) { sink_->Assign(std::move(assign)); },
                   [this](control::StopEffect& stop) { sink_->Stop(std::move(stop)); },
                   [this](control::ReleaseEffect& files) { sink_->Release(std::move(files)); },
                   [this](control::CloseEffect& close) { sink_->Close(std::move(close)); },
                   [this](control::UpdateEffect& update) { sink_->Update(update); },
                   [this](control::EventEffect& event) { sink_->Tell(event.event); }},
        effect);
  }
  output_.records.clear();
  output_.effects.clear();
}

void Committer::Deliver(Reply reply) {
  auto found = waiting_.find(reply.to);
  if (found == waiting_.end()) return;  // was told that the outcome is open
  OnReply on_reply = std::move(found->second);
  waiting_.erase(found);
  CYXWIZ_FAILPOINT("server.reply.before");
  on_reply(std::move(reply));
  CYXWIZ_FAILPOINT("server.reply.after");
}

// ---- A full disk ----

void Committer::Freeze(Now now) {
  disk_ = Disk::kFull;
  frozen_at_ = now.monotonic;
  retry_at_ = frozen_at_ + options_.retry_commit;
  retries_ = 0;
  NoteUncommitted();
}

void Committer::NoteUncommitted() {
  for (const control::Record& record : output_.records) {
    if (auto* put = std::get_if<control::PutJob>(&record)) uncommitted_.insert(put->job.id);
    if (auto* gone = std::get_if<control::DeleteJob>(&record)) uncommitted_.insert(gone->id);
    node_uncommitted_ |= std::holds_alternative<control::PutNode>(record) ||
                         std::holds_alternative<control::DeleteNode>(record);
    cancellation_uncommitted_ |= std::holds_alternative<control::PutCancellation>(record);
  }
}

Status Committer::TryDiskAgain(Now now) {
  if (disk_ == Disk::kFull) {
    Status status = CommitOutput();
    if (status.code() == Code::kResourceExhausted) {
      if (++retries_ == kRetriesBeforeOpenOutcome) TellThatTheOutcomeIsOpen();
      retry_at_ = now.monotonic + options_.retry_commit;
      return OkStatus();
    }
    RETURN_IF_ERROR(status);
    clock_lag_ += now.monotonic - frozen_at_;
    uncommitted_.clear();
    node_uncommitted_ = cancellation_uncommitted_ = false;
    disk_ = Disk::kLow;
    spdlog::warn("the server goes on: what waited for space on the disk is stored");
    Send();
    // The nodes count their leases from these: so must the server, before any of them can end.
    std::vector<Item> held;
    for (auto& [node, beat] : std::exchange(beats_, {})) held.push_back({std::move(beat), {}});
    std::move(held_.begin(), held_.end(), std::back_inserter(held));
    held_.clear();
    RETURN_IF_ERROR(Work(held, now));
    if (disk_ == Disk::kFull) return OkStatus();
  }
  if (reserve_->MakeAgain()) {
    disk_ = Disk::kFine;
    spdlog::warn("there is space on the disk again: new jobs are taken");
  } else {
    retry_at_ = now.monotonic + options_.retry_commit;
  }
  return OkStatus();
}

void Committer::TellThatTheOutcomeIsOpen() {
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
void Committer::HandleFrozen(Item& item, Now now) {
  auto refuse = [&item](auto&) { Answer(item, DiskFullStatus()); };
  auto refuse_node = [&item](auto&) {
    Answer(item, Unavailable("the disk of the server is full", "try again in a moment"));
  };
  auto read = [this, &item, now](auto&) { ReadFrozen(item, now); };
  auto beat = [this, &item](control::Heartbeat& c) {
    if (Status current = control().CheckSession(c); !current.ok()) return Answer(item, current);
    Answer(item, OkStatus(), control::HeartbeatReply{});
    beats_.insert_or_assign(c.node.value, std::move(c));
  };
  std::visit(Overloaded{[&](control::SubmitJob& c) { refuse(c); },
                        [&](control::CancelJob& c) { refuse(c); },
                        [&](control::CancelJobs& c) { refuse(c); },
                        [&](control::PauseJob& c) { refuse(c); },
                        [&](control::ResumeJob& c) { refuse(c); },
                        [&](control::SetPriority& c) { refuse(c); },
                        [&](control::RetryJob& c) { refuse(c); },
                        [&](control::CordonNode& c) { refuse(c); },
                        [&](control::ForgetNode& c) { refuse(c); },
                        [&](control::RemoveJob& c) { refuse(c); },
                        [&](control::GetJob& c) { read(c); },
                        [&](control::ListJobs& c) { read(c); },
                        [&](control::FindJobs& c) { read(c); },
                        [&](control::GetNode& c) { read(c); },
                        [&](control::ListNodes& c) { read(c); },
                        [&](control::CountWaiting& c) { read(c); },
                        [&](control::ExplainJob& c) { read(c); },
                        [&](control::PlanJob& c) { read(c); },
                        [&](control::RegisterNode& c) { refuse_node(c); },
                        [&](control::ReportCompletion& c) { refuse_node(c); },
                        [&](control::Heartbeat& c) { beat(c); },
                        [&](control::ReportProgress&) {
                          Answer(item, OkStatus(), control::ReportReply{});
                        },
                        [&](control::AssignOutcome&) { held_.push_back(std::move(item)); },
                        [](control::Tick&) {}},
             item.command);
}

void Committer::ReadFrozen(Item& item, Now now) {
  Command command = Register(item);
  control::Output output;
  // The time of the batch that could not be committed: no deadline can have come since, so a read
  // changes nothing.
  now.monotonic = frozen_at_ - clock_lag_;
  recorder_.Apply({&command, 1}, now, &output);
  for (control::Effect& effect : output.effects) {
    Reply& reply = std::get<Reply>(effect);
    if (IsDurable(command, reply)) {
      Deliver(std::move(reply));
    } else {
      Deliver(Reply{.to = reply.to,
                    .status = Unavailable("the disk of the server is full and this answer rests "
                                          "on something that could not be stored yet",
                                          "free some space below the server's data folder")});
    }
  }
}

// Whether the reply to a read would be the same after a crash. What is *not* in it counts too: a
// job whose deletion waits, or one that left the states asked for.
bool Committer::IsDurable(const Command& read, const Reply& reply) const {
  const bool of_nodes = std::holds_alternative<control::GetNode>(read) ||
                        std::holds_alternative<control::ListNodes>(read);
  if (cancellation_uncommitted_ && !of_nodes) return false;
  if (auto* get = std::get_if<control::GetJob>(&read)) {
    // Of a member that has not started its array tells.
    return !uncommitted_.contains(get->job) && !uncommitted_.contains(control::ArrayIdOf(get->job));
  }
  if (std::holds_alternative<control::ListJobs>(read) ||
      std::holds_alternative<control::FindJobs>(read) ||
      std::holds_alternative<control::ExplainJob>(read) ||
      std::holds_alternative<control::PlanJob>(read) ||
      std::holds_alternative<control::CountWaiting>(read)) {
    return uncommitted_.empty();
  }
  // Nor are attempts in it that have ended, or a node that is new.
  if (std::holds_alternative<control::NodeReply>(reply.content) ||
      std::holds_alternative<control::NodesReply>(reply.content)) {
    return uncommitted_.empty() && !node_uncommitted_;
  }
  return true;
}

}  // namespace cyxwiz::central
