#include "sim/server.h"

#include <utility>

#include "history/replay.h"
#include "sim/checker.h"
#include "sim/node.h"
#include "sim/reach.h"
#include "sim/world.h"
#include "store/sqlite/sqlite_store.h"

namespace cyxwiz::sim {
namespace {

using central::Committer;
using control::Command;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kAssignDeadline = seconds(5);  // as the dispatcher's

const char* NameOf(const Command& command) {
  static constexpr const char* kNames[] = {
      "SubmitJob",      "CancelJob",        "CancelJobs",   "PauseJob",  "ResumeJob",
      "SetPriority",    "RetryJob",         "RemoveJob",    "GetJob",    "ListJobs",
      "FindJobs",       "ExplainJob",       "PlanJob",      "GetNode",   "ListNodes",
      "CountWaiting",   "CordonNode",       "RegisterNode", "Heartbeat", "AssignOutcome",
      "ReportProgress", "ReportCompletion", "ForgetNode",   "Tick"};
  static_assert(std::size(kNames) == std::variant_size_v<Command>);
  return kNames[command.index()];
}

// Whether the node itself said no, as opposed to not having been reached.
bool IsRefusal(Code code) {
  return code != Code::kUnavailable && code != Code::kDeadlineExceeded &&
         code != Code::kCancelled && code != Code::kUnknown;
}

}  // namespace

// Tells the checker what the store is asked and what it answers.
class Server::CheckedStore final : public store::JobStore {
 public:
  CheckedStore(std::unique_ptr<store::JobStore> store, Server* server)
      : store_(std::move(store)), server_(server), world_(server->world_) {}

  Result<control::Snapshot> Load() override {
    auto snapshot = store_->Load();
    if (!snapshot.ok()) return snapshot;
    auto events = store_->Events({.limit = 1'000'000});
    if (!events.ok()) return events.status();
    // All that is stored.
    control::Snapshot whole = *snapshot;
    auto ended = store_->ListEnded({}, INT64_MAX, SIZE_MAX);
    if (!ended.ok()) return ended.status();
    for (const control::Job& job : std::vector<control::Job>(*ended)) AddMembers(job, &*ended);
    for (const control::Job& job : snapshot->jobs) AddMembers(job, &*ended);
    for (const control::Job& job : *ended) {
      auto found = store_->FindEnded(job.id);
      if (!found.ok()) return found.status();
      if (!*found) Break("durability", job.id.value + " has ended, but is not found");
      whole.jobs.push_back((*found)->job);
      whole.bodies.push_back({job.body, (*found)->body});
    }
    world_->checker.Loaded(whole, *events);
    return snapshot;
  }
  void AddMembers(const control::Job& array, std::vector<control::Job>* jobs) {
    if (array.array == nullptr) return;
    auto members = store_->ListEnded({.array = array.sequence}, INT64_MAX, SIZE_MAX);
    if (members.ok()) jobs->insert(jobs->end(), members->begin(), members->end());
  }
  Result<bool> HasPrefix(const std::string& prefix) override { return store_->HasPrefix(prefix); }
  Result<std::optional<control::EndedJob>> FindEnded(const JobId& id) override {
    auto found = store_->FindEnded(id);
    if (found.ok() && *found) Reach(Place::kRecalled);
    return found;
  }
  Result<std::vector<control::Job>> ListEnded(const control::JobFilter& filter, int64_t before,
                                              size_t most) override {
    return store_->ListEnded(filter, before, most);
  }
  Result<std::vector<control::Event>> Events(const control::EventQuery& query) override {
    return store_->Events(query);
  }
  Status Commit(std::span<const control::Record> records) override {
    world_->checker.Committing(records);
    server_->committed_ = true;
    Status status = store_->Commit(records);
    if (world_->tracing()) {
      world_->Trace("store", "commit of " + std::to_string(records.size()) +
                                 " records: " + status.ToString());
      for (const control::Record& record : records) {
        if (auto* put = std::get_if<control::PutJob>(&record)) {
          world_->Trace("store", "  " + put->job.id.value + " " + JobStateName(put->job.state) +
                                     " attempt " + std::to_string(put->job.attempt) + " on " +
                                     put->job.node.value + " sequence " +
                                     std::to_string(put->job.sequence) + ": " + put->job.message);
          if (put->job.gang != nullptr) world_->Trace("store", "    " + Describe(*put->job.gang));
        }
        if (auto* gone = std::get_if<control::DeleteJob>(&record))
          world_->Trace("store", "  " + gone->id.value + " deleted");
      }
    }
    world_->checker.Committed(status);
    return status;
  }
  Result<std::unique_ptr<store::Backup>> BeginBackup(const std::string& path) override {
    return store_->BeginBackup(path);
  }

 private:
  std::unique_ptr<store::JobStore> store_;
  Server* const server_;
  World* const world_;
};

class Server::Sink final : public central::EffectSink {
 public:
  explicit Sink(Server* server) : server_(server) {}
  void Assign(control::AssignEffect effect) override {
    server_->world_->checker.Assigned(effect);
    server_->outbox_.push_back(
        [server = server_, effect = std::move(effect)] { server->Assign(effect); });
  }
  void Stop(control::StopEffect effect) override {
    server_->outbox_.push_back(
        [server = server_, effect = std::move(effect)] { server->Stop(effect); });
  }
  void Update(const control::UpdateEffect&) override {}
  void Tell(const control::Event& event) override {
    World* world = server_->world_;
    world->checker.Told(event);
    if (event.kind == control::EventKind::kNodeLost)
      world->checker.CheckLost(event.node, Node::At(world, event.node.value)->has_lease());
  }

 private:
  Server* const server_;
};

// What was written down of this run, in memory. Segments are short, so that many a state is saved
// and gone on from.
class Server::History final : public history::Journal {
 public:
  History(uint64_t seed, int run) : random_(seed * 1000 + static_cast<uint64_t>(run)) {}

  bool WantsStart(Now) override { return left_ == 0; }
  void Begin(std::string start) override {
    segments.push_back(std::move(start));
    left_ = random_.Chance(0.3) ? random_.Between(1, 10) : random_.Between(50, 500);
  }
  bool Append(std::string_view frames) override {
    segments.back() += frames;
    --left_;
    return true;
  }

  std::vector<std::string> segments;

 private:
  Random random_;
  int64_t left_ = 0;  // batches of the present segment
};

Server::Server(World* world)
    : world_(world),
      random_(world->plan.seed, "server"),
      process_(&world->loop, "server",
               {seconds(random_.Between(0, 100'000)),
                random_.Between(-world->plan.most_drift_ppm, world->plan.most_drift_ppm)}),
      timer_(&process_) {}

Server::~Server() { End(); }

void Server::Start() {
  process_.Start();
  process_.After(random_.Between(Duration(milliseconds(20)), Duration(milliseconds(500))),
                 [this] { Boot(); });
}

void Server::StartAgain(const char* why) {
  if (world_->disk.killed()) Reach(Place::kKilledInCommit);
  if (world_->tracing()) world_->Trace("server", why);
  Kill();
  if (world_->disk.power_fails()) world_->disk.LosePower();
  world_->loop.After(random_.Between(Duration(milliseconds(50)), Duration(seconds(1))), [this] {
    if (!process_.up()) Start();
  });
}

void Server::Boot() {
  world_->disk.StartProcess();
  store::SqliteOptions options;
  options.vfs = Disk::Vfs();
  options.checkpoint_pages = world_->plan.checkpoint_pages;
  auto store = store::OpenSqliteStore("jobs.db", options);
  if (!store.ok()) {
    if (store.status().code() == Code::kDataLoss) Break("durability", store.status().ToString());
    Reach(Place::kStartFailed);
    return StartAgain(store.status().message().c_str());
  }
  store_ = std::make_unique<CheckedStore>(std::move(*store), this);
  reserve_ = std::make_unique<SimReserve>(&world_->disk, world_->plan.reserve_bytes);
  sink_ = std::make_unique<Sink>(this);
  control::Options control = world_->plan.control;
  control.archive = store_.get();
  history_ = std::make_unique<History>(world_->plan.seed, process_.run());
  committer_ = std::make_unique<Committer>(
      store_.get(), reserve_.get(),
      Committer::Options{std::move(control), world_->plan.retry_commit, history_.get()});
  committer_->SetSink(sink_.get());
  Status loaded = committer_->Load(process_.now());
  if (!loaded.ok()) {
    if (loaded.code() == Code::kDataLoss) Break("durability", loaded.ToString());
    return StartAgain(loaded.message().c_str());
  }
  if (world_->tracing()) world_->Trace("server", "ready");
  world_->checker.Counted(committer_->counters());
  Wake(Duration::zero());
}

void Server::Kill() {
  CheckHistory();
  End();
}

void Server::CheckHistory() {
  if (committer_ == nullptr) return;
  std::string state;
  for (const std::string& segment : history_->segments) {
    auto replay = history::Replay::Open(segment);
    if (!replay.ok()) Break("history", replay.status().ToString());
    if ((*replay)->start().continues && (*replay)->start().state != state)
      Break("history", "a segment begins with another state than the one before leads to");
    while ((*replay)->next()) {
      control::Output output;
      if (Status same = (*replay)->Step(&output); !same.ok()) Break("history", same.ToString());
    }
    Reach(Place::kReplayed);
    state.clear();
    (*replay)->control().Save(&state);
  }
  std::string live;
  committer_->control().Save(&live);
  if (!history_->segments.empty() && state != live)
    Break("history", "the history leads to another state than the server was in");
}

void Server::End() {
  timer_.Cancel();
  process_.Kill();
  world_->network.Ended(&process_);
  world_->disk.KillProcess();
  queue_.clear();
  outbox_.clear();
  committer_.reset();
  history_.reset();
  store_.reset();
  reserve_.reset();
  busy_until_ = {};
  stood_still_ = Duration::zero();
}

void Server::StopInOrder() {
  if (!process_.up()) return;
  CheckHistory();
  committer_.reset();
  store_.reset();  // closes it
  StartAgain("stops in order");
}

void Server::FreezeFor(Duration length) {
  if (!process_.up() || process_.frozen()) return;
  process_.Freeze();
  world_->loop.After(length, [this, run = process_.run()] {
    if (process_.run() == run) process_.Thaw();
  });
}

void Server::Post(Command command, Committer::OnReply on_reply) {
  // Before it is ready there is no port to call.
  if (committer_ == nullptr) {
    if (on_reply) on_reply({.status = Unavailable("the server is starting")});
    return;
  }
  auto reply = [this, run = process_.run(), command,
                on_reply = std::move(on_reply)](control::Reply reply) {
    Code code = reply.status.code();
    if (reply.status.message().find("whether this is carried out") != std::string::npos)
      Reach(Place::kOutcomeOpen);
    if (reply.status.message().find("could not be stored yet") != std::string::npos)
      Reach(Place::kReadRefused);
    // What is stored stays as it is meanwhile.
    const bool full = committer_->disk() == Committer::Disk::kFull;
    const bool alone = batch_is_alone_ || full;
    bool decided =
        code == Code::kOk || code == Code::kNotFound || code == Code::kFailedPrecondition;
    if (full && reply.status.ok() && std::holds_alternative<control::Heartbeat>(command))
      Reach(Place::kBeatOnFullDisk);
    if (decided) world_->checker.Replied(command, reply, alone, full || (alone && !committed_));
    if (on_reply) {
      outbox_.push_back([on_reply, reply = std::move(reply)] { on_reply(reply); });
    }
  };
  if (queue_.empty()) Wake(random_.Between(Duration::zero(), Duration(milliseconds(2))));
  bool answered = !std::holds_alternative<control::AssignOutcome>(command);
  queue_.push_back({std::move(command), answered ? Committer::OnReply(reply) : nullptr});
}

void Server::Wake(Duration wait) {
  MonotonicTime at = std::max(process_.now().monotonic + wait, busy_until_);
  timer_.At(at, [this] { Work(); });
}

void Server::Work() {
  // What the commit before had to say has been held back until now.
  std::vector<Loop::Action> outbox;
  outbox.swap(outbox_);
  for (Loop::Action& action : outbox) action();
  if (committer_ == nullptr) return;

  std::vector<Committer::Item> items;
  size_t count = std::min(queue_.size(), static_cast<size_t>(world_->plan.max_batch));
  for (size_t i = 0; i < count; ++i) {
    if (world_->tracing()) world_->Trace("server", NameOf(queue_[i].command));
    if (auto* remove = std::get_if<control::RemoveJob>(&queue_[i].command))
      world_->checker.Removing(remove->job);
    items.push_back(std::move(queue_[i]));
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<long>(count));
  batch_is_alone_ = count <= 1 && committer_->disk() == Committer::Disk::kFine;
  committed_ = false;
  Committer::Disk before = committer_->disk();
  const MonotonicTime now = process_.now().monotonic;
  world_->checker.Begin((before == Committer::Disk::kFull ? full_since_ : now) - stood_still_);
  world_->disk.TakeFailedSync();
  Status status = committer_->Step(std::move(items), process_.now());
  // What it has not written the disk will not write any more, though the next sync succeeds.
  if (world_->disk.TakeFailedSync() && status.ok() && !world_->disk.killed())
    Break("failed syncs", "the server goes on after one");
  if (!status.ok() && !world_->disk.killed()) {
    Reach(Place::kStoreFailed);
    if (world_->disk.out_of_space()) Break("full disks", "the server ends: " + status.ToString());
  }
  if (committer_->disk() != before) {
    if (before == Committer::Disk::kFull) stood_still_ += now - full_since_;
    full_since_ = now;
    Reach(committer_->disk() == Committer::Disk::kFine  ? Place::kDiskFineAgain
          : committer_->disk() == Committer::Disk::kLow ? Place::kDiskLow
                                                        : Place::kDiskFull);
  }
  if (!status.ok() || world_->disk.killed()) {
    return StartAgain(world_->disk.killed() ? "killed within a commit" : "storing failed, it ends");
  }
  if (committer_->disk() != Committer::Disk::kFull) {
    world_->checker.Counted(committer_->counters());
    const control::Options& o = world_->plan.control;
    world_->checker.CheckDeadline(committer_->NextDeadline(),
                                  process_.now().monotonic + std::max(o.lease, o.assign_timeout));
  }
  busy_until_ = process_.now().monotonic;
  if (committed_)
    busy_until_ = busy_until_ + random_.Between(Duration::zero(), world_->plan.commit_time);
  MonotonicTime next = committer_->NextDeadline();
  if (!queue_.empty() || !outbox_.empty()) next = busy_until_;
  if (next != MonotonicTime::Never()) timer_.At(std::max(next, busy_until_), [this] { Work(); });
}

void Server::RegisterNode(control::RegisterNode command,
                          std::function<void(Result<Registered>)> done) {
  command.session = "session-" + std::to_string(++sessions_);
  Registered answer{{}, command.session, world_->plan.heartbeat, world_->plan.control.lease};
  Ask<control::RegisterReply>(
      std::move(command),
      [answer, done = std::move(done)](Result<control::RegisterReply> reply) mutable {
        if (!reply.ok()) return done(reply.status());
        answer.id = reply->node;
        done(answer);
      });
}

// ---- What the dispatcher does

void Server::Assign(control::AssignEffect effect) {
  Node* node = Node::At(world_, effect.endpoint);
  Assignment assignment{
      effect.attempt,
      effect.rank,
      effect.node,
      effect.session,
      effect.gpus,
      effect.job,
      {process_.now().unix.ms +
       std::chrono::duration_cast<milliseconds>(world_->plan.token_lifetime).count()}};
  world_->network.Call<bool>(
      &process_, node->process(), kAssignDeadline,
      [node, assignment](auto answer) { node->AssignJob(assignment, std::move(answer)); },
      [this, effect](Result<bool> answer) {
        control::AssignOutcome outcome{.attempt = effect.attempt, .node = effect.node};
        using Kind = control::AssignOutcome::Kind;
        if (!answer.ok()) {
          outcome.kind = IsRefusal(answer.status().code()) ? Kind::kRejected : Kind::kUnreachable;
          outcome.message = answer.status().message();
        }
        Post(std::move(outcome), nullptr);
      });
}

void Server::Stop(control::StopEffect effect) {
  Node* node = Node::At(world_, effect.endpoint);
  world_->network.Call<bool>(
      &process_, node->process(), kAssignDeadline,
      [node, effect](auto answer) {
        node->StopAttempt(effect.attempt, effect.reason);
        answer(true);
      },
      [](Result<bool>) {});
}

}  // namespace cyxwiz::sim
