#include "sim/node.h"

#include <algorithm>
#include <utility>

#include "sim/reach.h"
#include "sim/world.h"

namespace cyxwiz::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Outcome = control::ReportCompletion::Outcome;

constexpr Duration kCallTimeout = seconds(10);

bool MayPass(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied:
    case Code::kFailedPrecondition:
    case Code::kOutOfRange:
    case Code::kUnimplemented:
      return false;
    default:
      return true;
  }
}
bool IsAboutSession(Code code) { return code == Code::kNotFound || code == Code::kUnauthenticated; }

std::string KeyOf(const AttemptId& id) { return id.job.value + "/" + std::to_string(id.attempt); }

}  // namespace

struct Node::Attempt {
  Attempt(Process* process, Assignment a) : assignment(std::move(a)), ladder_timer(process) {}
  Assignment assignment;
  bool executes = false;  // its process is there
  bool exited = false;
  bool ended = false;
  bool ignores_stop = false, ignores_term = false;
  std::optional<std::string> stop_reason;
  std::optional<End> said;  // the runner's last message
  bool crashed = false;
  node::StopLadder ladder;
  Timer ladder_timer;
  Duration work, worked = Duration::zero();
  End planned;
};

struct Node::Report {
  explicit Report(Process* process) : backoff(milliseconds(100), seconds(10)), timer(process) {}
  std::optional<double> progress;  // newest that was not sent
  bool in_flight = false, waiting = false;
  node::Backoff backoff;
  Timer timer;
  std::optional<End> end;
  std::optional<MonotonicTime> refused_at;
};

Node::Node(World* world, int64_t number)
    : world_(world),
      random_(world->plan.seed, "node" + std::to_string(number)),
      process_(&world->loop, "node" + std::to_string(number),
               {seconds(random_.Between(0, 100'000)),
                random_.Between(-world->plan.most_drift_ppm, world->plan.most_drift_ppm)}),
      capacity_total_(world->plan.nodes[static_cast<size_t>(number)]),
      register_backoff_(milliseconds(100), seconds(2)),
      heartbeat_backoff_(milliseconds(100), seconds(2)) {
  id_.value = process_.name();
}

Node::~Node() = default;

Node* Node::At(World* world, const std::string& endpoint) {
  for (const auto& node : world->nodes) {
    if (node->endpoint() == endpoint) return node.get();
  }
  Break("legal calls", "a call to '" + endpoint + "', where nobody is");
}

void Node::Start() {
  process_.Start();
  session_.clear();
  state_ = State::kIdle;
  stopping_ = heartbeat_in_flight_ = false;
  register_timer_ = std::make_unique<Timer>(&process_);
  heartbeat_timer_ = std::make_unique<Timer>(&process_);
  lease_timer_ = std::make_unique<Timer>(&process_);
  register_backoff_.Reset();
  heartbeat_backoff_.Reset();
  lease_ = {};
  last_acknowledged_ = {};
  // A machine may come back larger or smaller, but for the first, which holds every job.
  if (process_.run() > 1 && random_.Chance(0.3) && process_.name() != "node0") {
    capacity_total_ = {1000 * random_.Between(1, 6), capacity_total_.memory_bytes};
    for (int64_t i = random_.Below(4); i > 0; --i)
      capacity_total_.AddGpus(1, 1000 * random_.Between(0, 4));
  }
  capacity_ = std::make_unique<node::Capacity>(capacity_total_);
  if (world_->tracing()) world_->Trace(endpoint(), "starts");
  Register();
}

void Node::Kill() {
  if (!process_.up()) return;
  if (world_->tracing()) world_->Trace(endpoint(), "is killed");
  process_.Kill();
  frozen_with_runners_ = false;
  after_registration_.clear();
  for (auto& [id, attempt] : attempts_) attempt->executes = false;
  attempts_.clear();
  reports_.clear();
  acknowledged_.clear();
  world_->network.Ended(&process_);
}

void Node::StopInOrder(Duration pause) {
  if (!process_.up()) return;
  process_.Do(process_.run(), [this, pause] {
    if (world_->tracing()) world_->Trace(endpoint(), "is shut down");
    stopping_ = true;
    pause_ = pause;
    for (const AttemptId& id : Active()) StopHere(id, "the node was shut down");
    ContinueShutDown();
    // Whatever has not been taken by then is left.
    process_.After(seconds(5), [this] { EndStop(); });
  });
}

void Node::ContinueShutDown() {
  if (stopping_ && attempts_.empty()) process_.After(Duration::zero(), [this] { EndStop(); });
}

void Node::EndStop() {
  Kill();
  world_->loop.After(pause_, [this] {
    if (!process_.up()) Start();
  });
}

void Node::Thaw() {
  if (!process_.frozen()) return;
  if (world_->tracing()) world_->Trace(endpoint(), "goes on");
  frozen_with_runners_ = false;
  thawed_at_ = world_->loop.now();
  process_.Thaw();
}

// ---- As NodeClient

template <typename Content, typename Command, typename Done>
void Node::CallServer(Command command, Duration timeout, Done done) {
  Server* server = world_->server.get();
  world_->network.Call<Content>(
      &process_, server->process(), timeout,
      [server, command = std::move(command)](auto answer) {
        if constexpr (std::is_same_v<Command, control::RegisterNode>) {
          server->RegisterNode(command, std::move(answer));
        } else {
          server->Ask<Content>(command, std::move(answer));
        }
      },
      std::move(done));
}

void Node::Register() {
  if (stopping_ || state_ == State::kRegistering) return;
  state_ = State::kRegistering;
  session_.clear();
  heartbeat_timer_->Cancel();
  control::Node node{.id = id_, .endpoint = endpoint(), .capacity = capacity_total_};
  node.devices = {1};
  node.rendezvous_port = 29500;
  node.rendezvous_ports = 100;
  MonotonicTime sent_at = process_.now().monotonic;
  CallServer<Registered>(
      control::RegisterNode{.node = node, .active = Active(), .boot = "boot", .number = sent_at.ns},
      kCallTimeout, [this, sent_at](Result<Registered> answer) {
        if (answer.ok()) return OnRegistered(*answer, sent_at);
        RegisterLater();
        RegistrationAnswered();
      });
}

void Node::RegisterLater() {
  state_ = State::kIdle;
  register_timer_->After(register_backoff_.Next(random_.Unit()), [this] { Register(); });
}

void Node::OnRegistered(const Registered& registered, MonotonicTime sent_at) {
  state_ = State::kRegistered;
  id_ = registered.id;
  session_ = registered.session;
  heartbeat_interval_ = registered.heartbeat;
  lease_duration_ = registered.lease;
  RenewLease(sent_at);
  HeartbeatAfter(attempts_.empty() ? heartbeat_interval_ : Duration::zero());
  std::vector<AttemptId> ids;
  for (auto& [id, report] : reports_) ids.push_back(id);
  for (const AttemptId& id : ids) Advance(id);
  RegistrationAnswered();
}

void Node::AfterRegistration(std::function<void()> then) {
  if (state_ != State::kRegistering || stopping_) return then();
  after_registration_.push_back(std::move(then));
}

void Node::RegistrationAnswered() {
  for (auto& then : std::exchange(after_registration_, {})) then();
}

bool Node::has_lease() const {
  return lease_.deadline() != MonotonicTime::Never() && !lease_.Expired(process_.now().monotonic);
}

void Node::RenewLease(MonotonicTime sent_at) {
  lease_.Renew(sent_at, lease_duration_);
  last_acknowledged_ = std::max(last_acknowledged_, sent_at);
  lease_timer_->At(lease_.deadline(), [this] {
    if (!lease_.Expired(process_.now().monotonic)) return;
    lease_.Lose();
    for (const auto& [id, attempt] : attempts_) {
      if (!attempt->executes) continue;
      Reach(Place::kLeaseLost);
      if (thawed_at_ == world_->loop.now()) Reach(Place::kNodeWokeUp);
    }
    KillAll("lease lost: the node could not reach the server");
  });
}

void Node::HeartbeatAfter(Duration wait) {
  heartbeat_timer_->After(wait, [this] { Heartbeat(); });
}

// Now and then it has fetched something, or dropped it.
std::optional<std::vector<ContentKey>> Node::KeptData() {
  if (!random_.Chance(0.2)) return std::nullopt;
  std::vector<ContentKey> data;
  for (ContentKey key = 1; key <= 3; ++key) {
    if (random_.Chance(0.5)) data.push_back(key);
  }
  return data;
}

void Node::Heartbeat() {
  if (state_ != State::kRegistered || heartbeat_in_flight_) return;
  heartbeat_in_flight_ = true;
  Duration timeout = std::clamp<Duration>(lease_duration_ / 4, milliseconds(200), kCallTimeout);
  MonotonicTime sent_at = process_.now().monotonic;
  CallServer<control::HeartbeatReply>(
      control::Heartbeat{.node = id_, .session = session_, .active = Active(), .data = KeptData()},
      timeout, [this, sent_at, session = session_](Result<control::HeartbeatReply> answer) {
        heartbeat_in_flight_ = false;
        if (state_ != State::kRegistered) return;
        if (session != session_) return HeartbeatAfter(Duration::zero());
        if (!answer.ok()) {
          Code code = answer.status().code();
          if (IsAboutSession(code) || code == Code::kUnavailable) return RegisterLater();
          return HeartbeatAfter(heartbeat_backoff_.Next(random_.Unit()));
        }
        heartbeat_backoff_.Reset();
        register_backoff_.Reset();
        RenewLease(sent_at);
        for (const AttemptId& id : answer->stop) StopAttempt(id, "the server asked to stop it");
        for (const AttemptId& id : answer->yield) StopAttempt(id, "the server asked it to yield");
        HeartbeatAfter(heartbeat_interval_);
      });
}

Node::Report& Node::ReportOf(const AttemptId& attempt) {
  auto& report = reports_[attempt];
  if (!report) report = std::make_unique<Report>(&process_);
  return *report;
}

void Node::Advance(const AttemptId& attempt) {
  auto found = reports_.find(attempt);
  if (found == reports_.end()) return;
  Report& report = *found->second;
  if (report.in_flight || report.waiting) return;
  if (state_ != State::kRegistered) return;
  if (report.end) return SendCompletion(attempt, report);
  if (report.progress) SendProgress(attempt, report);
}

void Node::RetryLater(const AttemptId& attempt) {
  Report& report = ReportOf(attempt);
  report.waiting = true;
  report.timer.After(report.backoff.Next(random_.Unit()), [this, attempt] {
    auto found = reports_.find(attempt);
    if (found == reports_.end()) return;
    found->second->waiting = false;
    Advance(attempt);
  });
}

bool Node::IsConfirmed(Report& report) {
  if (report.refused_at && last_acknowledged_ > *report.refused_at) return true;
  if (!report.refused_at) report.refused_at = process_.now().monotonic;
  if (state_ == State::kRegistered) HeartbeatAfter(Duration::zero());
  return false;
}

void Node::SendProgress(const AttemptId& attempt, Report& report) {
  report.in_flight = true;
  double sent = *std::exchange(report.progress, std::nullopt);
  CallServer<control::ReportReply>(
      control::ReportProgress{.node = id_,
                              .attempt = attempt,
                              .progress = sent,
                              .epoch = static_cast<int32_t>(sent * 10),
                              .metrics = {{"loss", 1 - sent}}},
      kCallTimeout, [this, attempt, sent](Result<control::ReportReply> answer) {
        auto found = reports_.find(attempt);
        if (found == reports_.end()) return;
        Report& report = *found->second;
        report.in_flight = false;
        if (answer.ok()) {
          report.backoff.Reset();
          report.refused_at.reset();
          if (!answer->continue_job) StopAttempt(attempt, answer->message);
          return Advance(attempt);
        }
        if (report.end) return Advance(attempt);
        Code code = answer.status().code();
        bool refused = IsAboutSession(code) ? IsConfirmed(report) : !MayPass(code);
        if (refused) {
          StopAttempt(attempt, "the server does not accept its reports");
          return;
        }
        if (!report.progress) report.progress = sent;
        RetryLater(attempt);
      });
}

void Node::SendCompletion(const AttemptId& attempt, Report& report) {
  report.in_flight = true;
  const End& end = *report.end;
  control::ReportCompletion command{.node = id_, .attempt = attempt, .outcome = end.outcome};
  if (end.outcome == Outcome::kSucceeded) {
    if (!end.result.empty()) command.artifacts = {{"weights.safetensors", end.result, 1000}};
    command.compute_seconds = 1;
  } else {
    command.cause = end.cause;
    command.error = {13, end.message, ""};
  }
  command.log_tail = {attempt.attempt, LastLineOf(attempt)};
  CallServer<control::ReportReply>(
      std::move(command), kCallTimeout, [this, attempt](Result<control::ReportReply> answer) {
        auto found = reports_.find(attempt);
        if (found == reports_.end()) return;
        Report& report = *found->second;
        report.in_flight = false;
        if (answer.ok()) return Close(attempt);
        Code code = answer.status().code();
        bool refused = IsAboutSession(code) ? IsConfirmed(report) : !MayPass(code);
        if (!refused) return RetryLater(attempt);
        Close(attempt);
      });
}

void Node::Close(const AttemptId& attempt) {
  reports_.erase(attempt);
  auto found = attempts_.find(attempt);
  if (found != attempts_.end() && found->second->ended) {
    acknowledged_.emplace_back(attempt, found->second->assignment.job.sequence);
    if (acknowledged_.size() > 1024) acknowledged_.pop_front();
    attempts_.erase(found);
  }
  ContinueShutDown();
}

void Node::StopAttempt(const AttemptId& attempt, const std::string& reason) {
  StopHere(attempt, reason);
}

std::vector<AttemptId> Node::Active() const {
  std::vector<AttemptId> ids;
  for (const auto& [id, attempt] : attempts_) ids.push_back(id);
  return ids;
}

// ---- As JobExecutor

void Node::AssignJob(const Assignment& assignment, std::function<void(Result<bool>)> answer) {
  AfterRegistration([this, assignment, answer = std::move(answer)] {
    Status status = Check(assignment);
    if (status.ok()) status = Assign(assignment);
    if (world_->tracing()) {
      world_->Trace(endpoint(), "AssignJob " + KeyOf(assignment.attempt) + ": " +
                                    (status.ok() ? "accepted" : status.ToString()));
    }
    // A refusal goes in band, so its code is not mistaken for the call's.
    if (status.ok()) return answer(true);
    answer(
        Status(status.code() == Code::kUnavailable ? Code::kUnavailable : Code::kFailedPrecondition,
               status.message()));
  });
}

Status Node::Check(const Assignment& assignment) const {
  if (id_.empty()) return Unavailable("not registered");
  if (assignment.node != id_) return PermissionDenied("another node's token");
  if (assignment.token_expires <= process_.now().unix) return Unauthenticated("an expired token");
  if (assignment.session != session_) Reach(Place::kLateAssignment);
  if (assignment.session != session_) return Unavailable("given to an earlier registration");
  if (!has_lease()) return Unavailable("this node has lost touch with its Central Server");
  return OkStatus();
}

Status Node::Assign(const Assignment& assignment) {
  const AttemptId id = assignment.attempt;
  if (attempts_.count(id) > 0) return OkStatus();
  if (std::find(acknowledged_.begin(), acknowledged_.end(),
                std::pair(id, assignment.job.sequence)) != acknowledged_.end()) {
    return OkStatus();
  }
  // These two come in band, as a refusal.
  if (stopping_) return FailedPrecondition("the node is shutting down");
  std::vector<AttemptId> older;
  for (auto& [other, attempt] : attempts_) {
    if (other.job != id.job) continue;
    if (other.attempt > id.attempt) return FailedPrecondition("a newer attempt is here");
    older.push_back(other);
  }
  for (const AttemptId& other : older) StopHere(other, "a newer attempt has taken its place");
  RETURN_IF_ERROR(capacity_->Reserve(id, assignment.resources()));
  auto attempt = std::make_shared<Attempt>(&process_, assignment);
  attempts_[id] = attempt;
  const RunnerOptions& options = world_->plan.runner;
  // What a runner does depends on nothing but its attempt.
  Random random(world_->plan.seed,
                "runner" + KeyOf(id) + "#" + std::to_string(assignment.job.sequence) +
                    (assignment.rank > 0 ? "." + std::to_string(assignment.rank) : ""));
  attempt->work = random.Between(options.least, options.most);
  const bool in_gang = assignment.job.gang != nullptr;
  // Some ranks work on when others have long ended.
  if (in_gang && random.Chance(0.2)) attempt->work *= 8;
  attempt->ignores_stop = random.Chance(options.ignores_stop);
  attempt->ignores_term = random.Chance(options.ignores_term);
  if (random.Chance(options.crash)) {
    attempt->planned.outcome = Outcome::kCancelled;  // no last word
  } else if (random.Chance(options.fail)) {
    attempt->planned.outcome = Outcome::kFailed;
    attempt->planned.cause = static_cast<control::Cause>(random.Between(0, 10));
    if (attempt->planned.cause == control::Cause::kCancelled)  // who fails was not stopped
      attempt->planned.cause = control::Cause::kInternal;
    if (in_gang && random.Chance(0.3)) attempt->planned.cause = control::Cause::kPeerLost;
    attempt->planned.message = "failed";
  } else {
    attempt->planned.outcome = Outcome::kSucceeded;
  }
  process_.After(Duration::zero(), [this, attempt] { Launch(attempt); });
  return OkStatus();
}

void Node::Launch(const AttemptPtr& attempt) {
  if (attempt->stop_reason) {  // stopped before it began
    attempt->exited = true;
    return Finish(attempt);
  }
  process_.After(random_.Between(Duration(milliseconds(1)), Duration(milliseconds(50))),
                 [this, attempt] {
                   if (attempt->ended) return;
                   attempt->executes = true;
                   if (attempt->ladder.begun()) {  // there is nobody to ask yet
                     attempt->ladder.Kill(process_.now().monotonic);
                     return RunLadder(attempt);
                   }
                   RunnerWorks(attempt);
                 });
}

bool Node::StopHere(const AttemptId& id, const std::string& reason) {
  auto found = attempts_.find(id);
  if (found == attempts_.end() || found->second->ended) return false;
  AttemptPtr attempt = found->second;
  if (!attempt->stop_reason) attempt->stop_reason = reason;
  attempt->ladder.Begin(process_.now().monotonic);
  RunLadder(attempt);
  return true;
}

void Node::KillAll(const std::string& reason) {
  if (world_->tracing()) world_->Trace(endpoint(), "kills all: " + reason);
  std::vector<AttemptPtr> all;
  for (auto& [id, attempt] : attempts_) {
    if (!attempt->ended) all.push_back(attempt);
  }
  for (const AttemptPtr& attempt : all) {
    if (!attempt->stop_reason) attempt->stop_reason = reason;
    attempt->ladder.Kill(process_.now().monotonic);
    RunLadder(attempt);
  }
}

void Node::RunLadder(const AttemptPtr& attempt) {
  if (!attempt->executes) return;  // goes on when it is forked
  using Step = node::StopLadder::Step;
  for (;;) {
    Step step = attempt->ladder.Due(process_.now().monotonic);
    if (step == Step::kNone || attempt->exited) break;
    bool obeys = step == Step::kAsk         ? !attempt->ignores_stop
                 : step == Step::kTerminate ? !attempt->ignores_term
                                            : true;
    if (!obeys) continue;
    if (step == Step::kAsk) {
      // At the end of the batch in work.
      RunnerAt(attempt, random_.Between(Duration(milliseconds(1)), Duration(milliseconds(300))),
               [this, attempt] { RunnerExits(attempt, std::nullopt, false); });
    } else {
      Reach(Place::kKilledRunner);
      RunnerExits(attempt, std::nullopt, true);
    }
  }
  if (attempt->ladder.next_due() == MonotonicTime::Never() || attempt->exited) return;
  attempt->ladder_timer.At(attempt->ladder.next_due(), [this, attempt] {
    if (!attempt->ended) RunLadder(attempt);
  });
}

void Node::Finish(const AttemptPtr& attempt) {
  if (attempt->ended) return;
  const AttemptId id = attempt->assignment.attempt;
  attempt->ended = true;
  attempt->ladder_timer.Cancel();
  capacity_->Release(id);
  End end;
  if (attempt->stop_reason) {
    // Who was told to stop is stopped, whatever it still said.
    end = {Outcome::kCancelled, control::Cause::kCancelled, *attempt->stop_reason, ""};
  } else if (attempt->said) {
    end = *attempt->said;
  } else {
    end = {Outcome::kFailed, control::Cause::kRunnerCrashed, "the runner was ended", ""};
  }
  if (world_->tracing()) {
    world_->Trace(endpoint(), KeyOf(id) + " ended: " +
                                  (end.outcome == Outcome::kSucceeded ? end.result : end.message));
  }
  Report& report = ReportOf(id);
  report.progress.reset();
  report.end = end;
  report.waiting = false;
  report.timer.Cancel();
  report.backoff.Reset();
  Advance(id);
  ContinueShutDown();
}

// ---- The runner's side

// Runners go on while their node is frozen, unless the machine is.
void Node::RunnerAt(const AttemptPtr& attempt, Duration wait, std::function<void()> action) {
  world_->loop.After(wait, [this, attempt, action = std::move(action)] {
    if (!attempt->executes) return;
    if (frozen_with_runners_) {
      RunnerAt(attempt, milliseconds(10), action);
    } else {
      action();
    }
  });
}

void Node::RunnerWorks(const AttemptPtr& attempt) {
  Duration left = attempt->work - attempt->worked;
  if (left <= Duration::zero()) {
    std::optional<End> said = attempt->planned;
    const Assignment& a = attempt->assignment;
    if (said->outcome == Outcome::kCancelled) said.reset();
    if (said && said->outcome == Outcome::kSucceeded && a.rank == 0) {
      said->result = world_->checker.Result({a.attempt, a.node, a.resources(), a.job.sequence});
    }
    return RunnerExits(attempt, said, !said);
  }
  Duration step = std::min<Duration>(left, std::max<Duration>(attempt->work / 4, milliseconds(20)));
  RunnerAt(attempt, step, [this, attempt, step] {
    attempt->worked += step;
    double progress = static_cast<double>(attempt->worked.count()) /
                      static_cast<double>(std::max<int64_t>(1, attempt->work.count()));
    process_.Do(process_.run(), [this, attempt, progress] {
      if (attempt->ended) return;
      ReportOf(attempt->assignment.attempt).progress = progress;
      Advance(attempt->assignment.attempt);
    });
    RunnerWorks(attempt);
  });
}

void Node::RunnerExits(const AttemptPtr& attempt, std::optional<End> said, bool crashed) {
  if (!attempt->executes) return;
  attempt->executes = false;
  process_.Do(process_.run(), [this, attempt, said = std::move(said), crashed] {
    if (attempt->ended) return;
    attempt->exited = true;
    if (!attempt->said) attempt->said = said;
    attempt->crashed = crashed;
    Finish(attempt);
  });
}

void Node::CrashRunners() {
  std::vector<AttemptPtr> all;
  for (auto& [id, attempt] : attempts_) all.push_back(attempt);
  for (const AttemptPtr& attempt : all) RunnerExits(attempt, std::nullopt, true);
}

void Node::AddExecutions(std::vector<Execution>* executions) const {
  if (process_.frozen() || thawed_at_ == world_->loop.now()) return;
  for (const auto& [id, attempt] : attempts_) {
    const Assignment& a = attempt->assignment;
    if (attempt->executes) executions->push_back({id, a.node, a.resources(), a.job.sequence});
  }
}

bool Node::idle() const { return attempts_.empty(); }

}  // namespace cyxwiz::sim
