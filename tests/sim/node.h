// A Server Node. Its decisions in time are the real ones (lease, ladder of stopping, book-keeping
// of resources, backoff); around them stands the protocol of NodeClient and JobExecutor without
// sockets, processes and files, in the same order and with the same names.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/backoff.h"
#include "node/capacity.h"
#include "node/lease.h"
#include "node/stop_ladder.h"
#include "sim/checker.h"
#include "sim/process.h"
#include "sim/server.h"

namespace cyxwiz::sim {

class World;

class Node {
 public:
  Node(World* world, int64_t number);
  ~Node();
  // The node whose address this is.
  static Node* At(World* world, const std::string& endpoint);

  Process* process() { return &process_; }
  const std::string& endpoint() const { return process_.name(); }
  const Resources& capacity() const { return capacity_total_; }

  void Start();
  // Its runners die with it.
  void Kill();
  // Attempts are stopped and reported, then it ends, and starts again `pause` later.
  void StopInOrder(Duration pause);
  // with_runners: the whole machine; else the runners go on.
  void Freeze(bool with_runners) {
    if (!process_.up() || process_.frozen()) return;
    frozen_with_runners_ = with_runners;
    process_.Freeze();
  }
  // What its runners had to say meanwhile arrives with all the rest.
  void Thaw();
  void CrashRunners();

  // Called in the process.
  void AssignJob(const Assignment& assignment, std::function<void(Result<bool>)> answer);
  void StopAttempt(const AttemptId& attempt, const std::string& reason);

  // Runners that execute now, but for those whom a frozen node cannot stop, until the instant after
  // it goes on.
  void AddExecutions(std::vector<Execution>* executions) const;
  bool idle() const;
  // By its own clock.
  bool has_lease() const;

 private:
  enum class State { kIdle, kRegistering, kRegistered };
  struct End {
    control::ReportCompletion::Outcome outcome = control::ReportCompletion::Outcome::kFailed;
    control::Cause cause = control::Cause::kNone;
    std::string message;
    std::string result;
  };
  struct Attempt;
  struct Report;
  using AttemptPtr = std::shared_ptr<Attempt>;

  // ---- As NodeClient
  void Register();
  void RegisterLater();
  void RegistrationAnswered();
  void OnRegistered(const Registered& registered, MonotonicTime sent_at);
  void AfterRegistration(std::function<void()> then);
  std::optional<std::vector<ContentKey>> KeptData();
  void Heartbeat();
  void HeartbeatAfter(Duration wait);
  void RenewLease(MonotonicTime sent_at);
  Report& ReportOf(const AttemptId& attempt);
  void Advance(const AttemptId& attempt);
  void RetryLater(const AttemptId& attempt);
  bool IsConfirmed(Report& report);
  void SendProgress(const AttemptId& attempt, Report& report);
  void SendCompletion(const AttemptId& attempt, Report& report);
  void Close(const AttemptId& attempt);
  std::vector<AttemptId> Active() const;
  template <typename Content, typename Command, typename Done>
  void CallServer(Command command, Duration timeout, Done done);

  // ---- As JobExecutor
  Status Check(const Assignment& assignment) const;
  Status Assign(const Assignment& assignment);
  void Launch(const AttemptPtr& attempt);
  bool StopHere(const AttemptId& attempt, const std::string& reason);
  void KillAll(const std::string& reason);
  void RunLadder(const AttemptPtr& attempt);
  void Finish(const AttemptPtr& attempt);
  void ContinueShutDown();
  void EndStop();

  // ---- The runner's side
  void RunnerAt(const AttemptPtr& attempt, Duration wait, std::function<void()> action);
  void RunnerWorks(const AttemptPtr& attempt);
  void RunnerExits(const AttemptPtr& attempt, std::optional<End> said, bool crashed);

  World* const world_;
  Random random_;
  Process process_;
  Resources capacity_total_;  // of the present run
  bool frozen_with_runners_ = false;
  MonotonicTime thawed_at_;
  NodeId id_;  // on the node's disk; empty before the first registration

  // Of the present run:
  std::string session_;
  State state_ = State::kIdle;
  bool stopping_ = false;
  Duration pause_ = Duration::zero();  // after stopping_
  std::vector<std::function<void()>> after_registration_;
  std::unique_ptr<Timer> register_timer_, heartbeat_timer_, lease_timer_;
  node::Backoff register_backoff_, heartbeat_backoff_;
  bool heartbeat_in_flight_ = false;
  Duration heartbeat_interval_, lease_duration_;
  node::Lease lease_;
  MonotonicTime last_acknowledged_;
  std::unique_ptr<node::Capacity> capacity_;
  std::map<AttemptId, AttemptPtr> attempts_;
  std::map<AttemptId, std::unique_ptr<Report>> reports_;
  std::deque<std::pair<AttemptId, int64_t>> acknowledged_;  // with the job's sequence
};

}  // namespace cyxwiz::sim
