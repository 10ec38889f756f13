// The state of the control core and the steps that change it, each in the file that its section
// below names. Only control's own sources see this.
//
// A command is taken by its Apply. Steps change entries through SetState, MarkChanged and Touch, so
// that Finish finds what must be stored and told at the end of the batch.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/bodies.h"
#include "control/checkpoint_files.h"
#include "control/control.h"
#include "control/ended_counts.h"
#include "control/entries.h"
#include "control/job_index.h"
#include "control/removed_jobs.h"
#include "control/timers.h"
#include "scheduler/fleet.h"
#include "scheduler/forecast.h"
#include "scheduler/preemption.h"
#include "scheduler/quotas.h"
#include "scheduler/scheduler.h"
#include "scheduler/shares.h"

namespace cyxwiz::control {

// A broken invariant is a bug of this program: going on would write it to disk.
void Require(bool holds, const char* what);

// Whether an attempt's failure with this cause may be the node's fault rather than the job's.
bool MayBeTheNodes(Cause cause);

inline int64_t Milliseconds(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

// How much a question may cost.
struct PlanBounds {
  int64_t most_counted = 0;  // of those ahead; beyond it no place is told
  int64_t most_ahead = 0;    // beyond it no start is forecast
  size_t most_steps = 0;     // of the forecast
};

struct Control::State {
  explicit State(Options o)
      : options(std::move(o)),
        shares(options.share_half_life, options.share_weights),
        quotas(options.quotas),
        left_at_once(options.cancelled_at_once) {}

  Options options;
  std::unordered_map<JobId, std::unique_ptr<JobEntry>> jobs;
  std::unordered_map<int64_t, JobEntry*> by_sequence;
  std::map<NodeId, NodeEntry> nodes;
  Bodies bodies;
  RemovedJobs removed;
  JobIndex index;                                          // of the jobs in memory
  EndedCounts ended_counts;                                // of the others
  std::unordered_map<int64_t, std::set<int64_t>> members;  // in memory, by their array's sequence
  std::set<int64_t> removed_lately;   // sequences of jobs that the archive may still have
  std::map<LineKey, LineJobs> lines;  // jobs that may be scheduled now
  scheduler::Fleet fleet;             // `nodes`, as the scheduler sees them
  scheduler::Shares shares;
  scheduler::Quotas quotas;
  std::array<int64_t, 4> placed_by_class = {};  // attempts on nodes
  // Since when others have passed by jobs that went before them and could not start: sequences of
  // jobs for which no node is kept; not many.
  std::map<int64_t, MonotonicTime> overtaken;
  MonotonicTime next_hold;  // no further node is kept before
  MassLoss mass_loss;
  std::set<int64_t> held_back;  // sequences of queued jobs that wait for its end
  // Of jobs that have not ended: sequences of those that wait for them, and whether any end will
  // do.
  std::unordered_map<JobId, std::map<int64_t, bool>> dependents;
  std::map<int64_t, int32_t> waking;                   // which have so many fewer to wait for
  std::map<int64_t, CancellationEntry> cancellations;  // by number: in this order
  // Of options.cancelled_at_once, at this time; none while there is more to do, until its timer.
  int64_t left_at_once;
  bool goes_on = false;  // that timer is armed
  Timers timers;
  std::set<int64_t> unflushed;  // sequences of jobs with progressed
  bool flush_armed = false;
  int64_t next_sequence = 1;  // of jobs and events alike
  int64_t first_event = 1;    // the oldest number that the store may hold
  CheckpointFiles checkpoint_files;
  Average epoch_seconds;  // of jobs with any body
  Counters counters;

  // Of the batch in work:
  Now now;
  Output* output = nullptr;
  bool reschedule = false;
  std::vector<JobEntry*> touched;
  std::vector<Record> removals;  // what deletes and remembers removed jobs
  std::vector<NodeEntry*> changed_nodes;
  std::vector<Event> events;
  std::vector<JobId> ended;  // whose dependents have not been looked at
  std::vector<int64_t> fresh_cancellations;
  std::string actor;  // of the command or timer in work
  struct PendingReply {
    ReplyTo to;
    JobId job;
    bool is_submit, existed;
  };
  std::vector<PendingReply> pending;
  std::map<LineKey, std::vector<scheduler::Reason>> explained;
  int64_t outlook_looks = 0;  // that outlooks have cost

  JobEntry* Find(const JobId& id) {
    auto found = jobs.find(id);
    return found == jobs.end() ? nullptr : found->second.get();
  }
  NodeEntry* FindNode(const NodeId& id) {
    auto found = nodes.find(id);
    return found == nodes.end() ? nullptr : &found->second;
  }
  Duration Since(UnixTime time) const { return std::chrono::milliseconds(now.unix.ms - time.ms); }

  // ---- control.cc: what is due
  void Apply(Tick&) {}
  void Fire(const Timer& timer);

  // ---- load.cc
  void Load(Snapshot snapshot);

  // ---- save.cc: the state as bytes
  // All that is not in memory once more elsewhere: a member that is added above is added there too.
  auto Fields();
  void Save(std::string* out);
  // False: what is there does not fit together.
  bool Restore(std::string_view text);
  bool RestoreJobs(std::vector<std::unique_ptr<JobEntry>> entries);
  bool IsWhole() const;

  // ---- batch.cc: what a batch has changed, and who must be told
  void Answer(ReplyTo to, Status status, decltype(Reply::content) content = std::monostate());
  void Touch(JobEntry& entry);
  void MarkChanged(JobEntry& entry);
  void MarkChanged(NodeEntry& node);
  Event& Tell(EventKind kind, std::string message);
  Event& Tell(const Job& job, EventKind kind, std::string message);
  void Tell(const NodeEntry& node, EventKind kind, std::string message);
  void SetState(JobEntry& entry, JobState to, std::string message);
  void FlushProgress();
  void Finish();

  // ---- memory.cc: which jobs are in memory
  JobEntry& Insert(std::unique_ptr<JobEntry> entry);
  // True: it was the last one in memory with its body.
  bool Erase(JobEntry& entry);
  // Of a job that has ended: it leaves memory after a while.
  void ArmForget(JobEntry& entry, Duration after);
  void Forget(const Timer& timer);
  // The job's entry. One that has left memory comes back for a moment. NOT_FOUND: there is none.
  Result<JobEntry*> Recall(const JobId& id);

  // ---- arrays.cc
  void ChangeArray(JobEntry& array, const std::function<void(Array&)>& change);
  // The next one becomes a job; the caller places it.
  JobEntry& StartMember(JobEntry& array);
  // One has come to its end.
  void EndMember(const JobEntry& member);
  // Lets it go on, or end after its last member.
  void SettleArray(JobEntry& array);
  // No more members are started.
  void StopArray(JobEntry& array, const std::string& message);
  std::vector<JobEntry*> LiveMembers(const JobEntry& array);
  // live: those of its members that are cancelled with it.
  void CancelArray(JobEntry& array, const std::string& reason, const std::vector<JobEntry*>& live);
  // That have not ended, oldest first; of the filter only user and type count.
  std::vector<JobEntry*> ArraysWithMembers(const JobFilter& filter);
  // Cancels the members that are in one of the states: those that have not started are where their
  // array is. Returns what was cancelled or is being: the array alone when it is all of it.
  std::vector<JobEntry*> CancelMembers(JobEntry& array, const std::vector<JobState>& states,
                                       const std::string& reason);
  void PauseArray(JobEntry& array);
  Status ResumeArray(JobEntry& array);
  // Of one that is removed.
  void EraseMembers(const JobEntry& array);
  // A member that has not become a job; nullopt: there is none of this id.
  std::optional<JobView> ViewUnstarted(const JobId& id);
  // As Recall, for who wants to change the job. FAILED_PRECONDITION: it is such a member.
  Result<JobEntry*> RecallStarted(const JobId& id);
  void ListMembers(ListJobs& c);

  // ---- submit.cc
  void Apply(SubmitJob& c);
  // Accepts a job whose id is new, or says why not.
  Status Submit(SubmitJob& c);
  // The job that was accepted when this one was submitted before; nullptr: its id is free.
  // ALREADY_EXISTS: another job has it.
  Result<JobEntry*> FindSame(const Job& job, const JobBody& body, bool fresh_id);
  Status CheckRoomInQueue() const;
  // What is asked of a job beside room.
  Status CheckSubmission(const Job& job, bool fresh_id);
  // Whether no id of an array's member means two jobs.
  Status CheckArrayId(const Job& job, bool fresh_id);
  Status CheckTerms(const Job& job);
  void Apply(RetryJob& c);

  // ---- operate.cc: what clients do to jobs
  void Apply(CancelJob& c);
  // Of a job that has not ended.
  void Cancel(JobEntry& entry, const std::string& reason);
  // It was to be cancelled, and nothing of it runs any more.
  void EndCancelled(JobEntry& entry);
  // Of a job that has not ended and is not being cancelled.
  void Pause(JobEntry& entry);
  void Apply(PauseJob& c);
  void Apply(ResumeJob& c);
  void ChangePriority(JobEntry& entry, int32_t priority);
  void Apply(SetPriority& c);
  void Apply(RemoveJob& c);

  // ---- cancellations.cc: what takes more than one batch
  void Apply(CancelJobs& c);
  // Whether all of it can be done in this batch.
  bool FitsNow(const Cancellation& cancellation) const;
  // counts: of what has been cancelled with it already.
  void BeginCancellation(Cancellation cancellation, bool at_once, ReplyTo reply_to = 0,
                         CancelJobsReply counts = {});
  // None of its jobs starts any more.
  void Doom(const Cancellation& cancellation);
  bool IsDoomed(const JobEntry& entry) const;
  void CancelOne(const Cancellation& cancellation, int64_t sequence, CancelJobsReply* counts);
  // Goes on with the first cancellation, as far as this batch may.
  void CancelNext();
  // All that follows from jobs that have ended, and what is left to do, as far as this batch may.
  void GoOn();
  void StoreCancellations();
  void LoadCancellations(std::vector<Cancellation> stored);

  // ---- read.cc: jobs and nodes as clients see them
  // All jobs of a line wait for the same; asked once a batch.
  const std::vector<scheduler::Reason>& Explained(const Job& job);
  // Puts the quota that holds jobs of the line back before the other reasons, if one does.
  void AddQuotaReason(const LineKey& line, std::vector<scheduler::Reason>* reasons) const;
  JobView View(const JobEntry& entry);
  NodeView View(const NodeEntry& entry) const;
  void Apply(GetJob& c);
  void Apply(ListJobs& c);
  void Apply(FindJobs& c);
  void Apply(GetNode& c);
  void Apply(ListNodes& c);
  void Apply(CountWaiting& c);
  // Counts the queued jobs that are in no line by what they wait for. Looks at no more than so many
  // jobs that wait for others.
  void CountNotDue(int64_t most_looks, std::map<std::string, int64_t>* counts) const;

  // ---- due.cc: queued jobs that are in no line
  enum class NotDue { kIsDue, kCancelling, kDependency, kArrayParallel, kMassLoss, kBackoff };
  // Of a queued job, or one that is only thought of.
  NotDue NotDueOf(const JobEntry& entry) const;
  // nullopt: it is due.
  std::optional<scheduler::Reason> NotDueReason(const JobEntry& entry) const;
  // The least that would have to change for it to be due; empty: it is.
  std::string ChangeToBeDue(const JobEntry& entry) const;
  // nullopt: it is not known when.
  std::optional<Duration> DueIn(const JobEntry& entry) const;

  // ---- plan.cc: questions about the queue
  // The nodes, with those that are only supposed. FAILED_PRECONDITION: nothing is known of these.
  Result<scheduler::Fleet> SupposedFleet(const WhatIf& what_if) const;
  // How long a job with this body is expected to run.
  std::optional<Duration> ExpectedDuration(const JobEntry& entry) const;
  std::optional<Duration> Remaining(const JobEntry& entry) const;
  std::vector<scheduler::Running> RunningAttempts() const;
  // Puts the job, those that go before it and those for which room is kept in line. Returns how
  // many attempts go before it; when these are more than the bounds let, not all are in line.
  int64_t LineUp(const JobEntry& entry, int64_t members_before, const PlanBounds& bounds,
                 scheduler::Prospect* prospect) const;
  using KeepsNode = std::function<bool(const scheduler::NodeState&)>;
  std::string SmallestChange(const JobEntry& entry,
                             const std::vector<scheduler::NodeState>& of_nodes,
                             const KeepsNode& is_kept) const;
  // What becomes of a job that is queued, or would be. members_before: of an array, those before
  // the one that is meant which have not started.
  Status Plan(const JobEntry& entry, int64_t members_before, const WhatIf& what_if,
              const PlanBounds& bounds, PlanReply* reply);
  // Which attempts would make room for it; of one that is due.
  void PlanRoom(const Job& job, PlanReply* reply) const;
  // Where no start is known, but nodes are kept for it.
  void AddHold(const Job& job, PlanReply* reply) const;
  // nullopt: it is not queued, or it would cost too much.
  std::optional<Outlook> OutlookOf(const JobEntry& entry, int64_t members_before = 0);
  void Apply(PlanJob& c);
  void Apply(ExplainJob& c);

  // ---- queue.cc: who may be scheduled, and in which order
  void EnterLine(JobEntry& entry);
  void LeaveLine(const Job& job);
  bool IsInLine(const Job& job) const;
  bool WaitsInLine(int64_t sequence) const;
  void EndBackoff(const Timer& timer);
  // With what it has gained by waiting.
  int32_t EffectivePriority(const Job& job) const;
  // Jobs are served in this order.
  using Rank = std::tuple<bool, int32_t, scheduler::Share, int64_t>;
  // share and standing: of its line.
  Rank RankOf(const Job& job, const scheduler::Share& share, scheduler::Standing standing) const;
  Rank RankOf(const Job& job) const;
  // Whether more than so many could start, each of an array's members counted.
  bool MoreWaitThan(int64_t number, const LineJobs& line) const;
  // The oldest of a line for which no node is kept; nullptr: one is for each.
  const Job* NextWithoutHold(const LineKey& key, const LineJobs& line) const;
  // Of each line that no quota stops the oldest job for which no node is kept: those that go first,
  // not many.
  std::vector<Rank> Front() const;

  // ---- dependencies.cc
  // Before the job is told of: what it waits for.
  void StartWaiting(JobEntry& entry);
  void StopWaiting(JobEntry& entry);
  // How many jobs, those named twice twice, it comes after that have not ended.
  int32_t Awaited(const Job& job) const;
  // Jobs that waited for those which have ended may start soon, or never will.
  void WakeDependents();
  // One of those that have fewer to wait for.
  void WakeNext();
  std::string WaitMessage(const JobEntry& entry) const;
  // What must become of the jobs that it waits for.
  std::string AwaitedEnds(const JobEntry& entry) const;
  // When they are expected to have ended; nullopt: it is not known.
  std::optional<Duration> AwaitedIn(const JobEntry& entry) const;

  // ---- limits.cc
  // A limit of `whole` of which `used` is over. The clock may have jumped meanwhile: never longer
  // than the whole.
  void ArmLimit(const Job& job, TimerKind kind, Duration whole, Duration used, MonotonicTime* end);
  void DisarmLimit(const Job& job, TimerKind kind, MonotonicTime* end);
  // Of a job that has not ended.
  void ArmLimits(JobEntry& entry);
  // Of an attempt, from its assignment. After a restart that of one which runs is known no more: it
  // is counted from its start here, and exactly by its node.
  void ArmRunLimit(JobEntry& entry);
  // A limit of the job is reached: it ends, at once or when its processes have.
  void HitLimit(JobEntry& entry, Cause cause);
  void FailByLimit(JobEntry& entry, Cause cause);

  // ---- schedule.cc: attempts are given to nodes
  void Schedule();
  // One pass of the scheduler.
  void PlaceJobs();
  // Gives the node its rank of the attempt, which has just been placed.
  void Assign(JobEntry& entry, const NodeId& id, int32_t rank);
  // As the line sees them that waits for their ends.
  std::vector<scheduler::Occupant> Occupants(const NodeId& id, const LineKey& line) const;
  // Brings up to date what may go to nodes that are kept, or gives them up.
  void UpdateHolds();
  // Keeps some for the job that goes first of those that others have passed by for too long.
  void AddHold();
  std::optional<scheduler::Hold> PlanHold(const LineKey& line,
                                          const scheduler::Hold* present) const;
  // Whether so many more nodes may be kept.
  bool MayKeep(int32_t more) const;
  // Of a job in line. nullptr: no node is kept for it.
  const scheduler::Hold* HoldFor(const Job& job) const;
  // Jobs were placed, up to this rank: those that stood before it, and still wait, were passed by.
  void NoteOvertaken(const std::vector<Rank>& front, const Rank& last);

  // ---- preempt.cc: attempts make room for jobs of a higher class
  // For the lines whose jobs can start nowhere.
  void Preempt();
  // Attempts on a node that may end for a job of this class; with reclaims also those of the same
  // class that borrow. later: is set to when more may, if that is before.
  std::vector<scheduler::Victim> Victims(const NodeId& node, int32_t priority, bool reclaims,
                                         MonotonicTime* later) const;
  void MakeRoom(const Job& job, const scheduler::Preemption& preemption);
  // After a pass: those that have done their service, or nobody needs any more.
  void DropClaims();
  // At start: attempts that were to make room still are.
  void LoadClaims();
  // Where a gang had room without anybody's end is not stored: it claims nodes that have it now.
  void CompleteClaims();
  // nullptr: nobody makes room for the job's line.
  const scheduler::Claim* ClaimOf(const Job& job) const;
  // Of which some have ended.
  static scheduler::Preemption RoomOf(const scheduler::Claim& claim);
  std::vector<JobId> VictimsOf(const scheduler::Preemption& room) const;
  scheduler::Reason PreemptingReason(const scheduler::Claim& claim) const;
  // Who must still end; empty: nobody.
  std::string RoomToBeMade(const scheduler::Claim& claim) const;
  // Attempts of this class, each rank of a gang as one, are placed (+), or have ended (-).
  void CountPlaced(const Job& job, int64_t change);

  // ---- attempts.cc: how they go on and end
  // The job's entry when `attempt` on `node` is its current one, or a rank of that, else nullptr.
  JobEntry* Current(const AttemptId& attempt, const NodeId& node);
  std::string NotCurrent(const AttemptId& attempt, const NodeId& node);
  void Accept(JobEntry& entry, NodeEntry& node);
  // Whether the current attempt shall end before it is done.
  bool IsToStop(const JobEntry& entry) const;
  // Whether it shall write a checkpoint first; of an attempt that is to stop.
  bool IsToYield(const JobEntry& entry) const;
  // Whether a node that it is on is drained.
  bool IsDrained(const Job& job) const;
  std::string StopMessage(const JobEntry& entry) const;
  // To all nodes that it is on.
  void SendStop(const JobEntry& entry, const std::string& reason);
  // Gives back what the current attempt holds on the node.
  void Release(JobEntry& entry, NodeEntry& node);
  // The attempt is over.
  void EndAttempt(JobEntry& entry, const AttemptEnd& end);
  void Succeed(JobEntry& entry);
  // The job is tried again, or has failed too.
  void Fail(JobEntry& entry, const AttemptEnd& end);
  // It was not the job's failure: the job goes back into the queue, or ends if it was to end
  // anyhow.
  void Lose(JobEntry& entry, const AttemptEnd& end, const JobId& preempted_for);
  static AttemptEnd Lost(Cause cause, std::string why, Duration wait = {});
  // The node is gone with what ran there. Not held against the job when this server was gone too:
  // then more than the node has failed.
  // together: with most of the others.
  void LoseWithNode(JobEntry& entry, NodeEntry& node, const std::string& why,
                    bool together = false);
  // After so many failures in a row.
  Duration Backoff(int32_t failures) const;
  // Doubled at each failure, and then between three quarters and five quarters of that.
  Duration Backoff(const Job& job, int32_t failures) const;
  // Takes what an attempt reports; an older one than what is there is of no use.
  void Keep(JobEntry& entry, Checkpoint checkpoint);
  // Of an attempt that is not the current one.
  void Refuse(const Checkpoint& checkpoint);
  // What the job shows is where its next attempt begins.
  static void StepBack(Job& job);

  // ---- gang.cc: ranks of attempts
  RankEntry& RankEntryOn(JobEntry& entry, const NodeId& node);
  // Whether f is true of any that has not ended.
  template <typename F>
  static bool AnyLiveRank(JobEntry& entry, F f);
  static bool AllStarted(JobEntry& entry);
  // The ranks of a new attempt, all of them alike.
  static void BeginRanks(JobEntry& entry, const RankEntry& as);
  // The node has answered, or the rank is over: it is not waited for.
  void DisarmAssign(JobEntry& entry, const RankEntry& of);
  // The attempt's rank on this node has ended: with the last one the attempt has.
  void EndRank(JobEntry& entry, NodeEntry& node, AttemptEnd end);

  // ---- reports.cc: what nodes tell of attempts
  // The entry whose current attempt a report is of. nullptr: of no such one, and it is answered.
  template <typename Report>
  JobEntry* Reported(const Report& c);
  void Apply(ReportProgress& c);
  void Apply(ReportCompletion& c);
  // How the attempt, or its rank on the node, has ended by its report; what that says of the node.
  AttemptEnd Judge(JobEntry& entry, NodeEntry& node, ReportCompletion& c);
  // Of an attempt that succeeded.
  void TakeResult(JobEntry& entry, ReportCompletion& c);

  // ---- leases.cc: sessions and leases of nodes
  void Apply(RegisterNode& c);
  void Apply(Heartbeat& c);
  void Apply(AssignOutcome& c);
  void RenewLease(NodeEntry& node);
  void EndLease(const Timer& timer);
  // The node must register again before it is given anything; an AssignJob of the session that
  // ends here starts nothing any more.
  void EndSession(NodeEntry& node);
  // Whether the heartbeat counts.
  Status CheckSession(const Heartbeat& c);
  // Marks the attempts that a node says it runs as seen, and tells those it must stop.
  HeartbeatReply Claim(NodeEntry& node, const std::vector<AttemptId>& active);
  // The node may have taken the attempt all the same, now or when the call arrives late. Its next
  // heartbeat makes it register again: then it says what it runs, and a late call is void.
  void DoubtAssignment(JobEntry& entry, NodeEntry& node, const std::string& what);
  void EndAssign(const Timer& timer);

  // ---- mass_loss.cc: most nodes go at once
  // The node's lease is over: whether it went together with most of the others.
  void LookForMassLoss(const NodeEntry& node);
  // A node has come back.
  void FollowMassLoss();
  // Jobs that were held back may start.
  void EndMassLoss(const std::string& why);
  std::string MassLossMessage() const;

  // ---- nodes.cc: what the scheduler knows of nodes
  void PutIntoFleet(const NodeEntry& node);
  // Tells the scheduler what it must know of the node besides amounts.
  void UpdateFleet(const NodeEntry& node);
  // The node is given nothing for a while.
  void LetRest(NodeEntry& node, Duration time);
  void Apply(CordonNode& c);
  void SetCordon(NodeEntry& node, bool cordoned, bool drain, const std::string& reason);
  // Begins or ends a planned cordon when it is time, and comes back at the next such time.
  void FollowCordon(NodeEntry& node);
  void Apply(ForgetNode& c);
  // It is offline: in a while it is no longer known.
  void ArmForgetNode(NodeEntry& node);
  void ForgetLost(const Timer& timer);
  // Of one that is offline and has no attempts. It is gone afterwards.
  void Forget(NodeEntry& node, const std::string& why);

  // ---- quarantine.cc
  // An attempt failed on the node, perhaps by the node's fault. Unlike jobs that fail in a row tell
  // that it is; but when most nodes seem so, it is something else.
  void Suspect(NodeEntry& node, const JobEntry& entry, const std::string& what);
  void ArmProbe(const NodeEntry& node);
  void LetProbe(const Timer& timer);
  void ReleaseNode(NodeEntry& node, const std::string& why);
};

}  // namespace cyxwiz::control
