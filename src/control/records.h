// What the control core remembers of jobs, attempts and nodes, and what the store keeps: plain
// values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/content_key.h"
#include "base/ids.h"
#include "base/labels.h"
#include "base/rare.h"
#include "base/resources.h"

namespace cyxwiz::control {

enum class JobState {
  kQueued = 1,
  kAssigned = 2,
  kRunning = 3,
  kPaused = 4,
  kSucceeded = 5,
  kFailed = 6,
  kCancelled = 7
};
inline bool IsFinal(JobState s) {
  return s == JobState::kSucceeded || s == JobState::kFailed || s == JobState::kCancelled;
}
const char* JobStateName(JobState state);  // "Queued"

// Numbers of the wire's FailureCause.
enum class Cause {
  kNone = 0,
  kUserError = 1,
  kDataUnavailable = 2,
  kOutOfMemory = 3,
  kOutOfGpuMemory = 4,
  kRunnerCrashed = 5,
  kNodeLost = 6,
  kNodeRejected = 7,
  kCancelled = 8,
  kInternal = 9,
  kDiverged = 10,
  kNodeDrained = 11,
  kPreempted = 12,
  kTimeLimit = 13,
  kQueueTimeLimit = 14,
  kDeadline = 15,
  kDependencyFailed = 16,
  kKillsNodes = 17,
  kPeerLost = 18,
};
const char* CauseName(Cause cause);  // "node lost"

// The immutable body of a job, shared by all jobs that were submitted with the same one. `config`
// is the serialised wire JobConfig without job_id, name and user; the core does not look into it.
struct JobBody {
  std::string
      sha256;  // of config, raw 32 bytes: equal ones are kept once where they meet in memory
  std::string config;
};

// Of one job: further metrics are dropped.
inline constexpr size_t kMaxMetrics = 256;
inline constexpr size_t kMaxMetricNameBytes = 128;

struct Artifact {
  std::string name, sha256;  // sha256 in hex
  int64_t size = 0;
  bool operator==(const Artifact&) const = default;
};

// A state of training from which a job goes on. The core looks only at epoch and step.
struct Checkpoint {
  std::string name;
  int32_t epoch = 0;            // in work, from 1
  int64_t step = 0;             // done
  std::vector<Artifact> files;  // empty: there is none

  bool exists() const { return !files.empty(); }
  bool operator==(const Checkpoint&) const = default;
};

struct ErrorInfo {
  int32_t code = 0;  // gRPC code numbers
  std::string message;
  std::string details;
  bool operator==(const ErrorInfo&) const = default;
};

// What ends a job though it is not done; 0: no limit.
struct Limits {
  Duration run = {};             // of one attempt, from its assignment
  Duration queue = {};           // from acceptance to the first start
  UnixTime deadline;             // by which it must have ended
  int64_t log_bytes = 0;         // of one attempt's log; the node sees to it
  int64_t checkpoint_bytes = 0;  // of one checkpoint; a larger one is not kept
  bool operator==(const Limits&) const = default;
};

// Another job that must have ended before this one starts.
struct Dependency {
  JobId job;
  bool any_end = false;  // false: it must have succeeded
  bool operator==(const Dependency&) const = default;
};

// What few jobs have; it never changes.
struct Terms {
  Limits limits;
  std::vector<Dependency> after;
  Labels labels;  // that a node must have
  std::string project;
  int32_t nodes = 1;      // at once; more than one make the job a gang, with a rank on each
  int32_t min_nodes = 0;  // with which it makes do; 0: with no fewer
  int32_t processes = 1;  // ranks on each node
  bool operator==(const Terms&) const = default;
};

// The last lines of an attempt's log, which its node told with its end; the rest is there.
struct LogTail {
  int64_t offset = 0;  // of the first byte in the log
  std::string text;
  bool operator==(const LogTail&) const = default;
};

// How an attempt has ended. Of a gang's attempt it is known before all of its ranks have.
struct AttemptEnd {
  enum class Kind { kNone, kSucceeded, kFailed, kLost } kind = Kind::kNone;
  Cause cause = Cause::kNone;
  ErrorInfo error;         // kFailed and kLost: why
  Duration wait = {};      // kLost: before the next try
  bool took_node = false;  // kLost: its node went while it ran
  bool with_most = false;  // kLost: together with most of the others
  bool yields = false;     // of a gang: the ranks that are left still write a checkpoint
  LogTail log_tail;        // of a gang: of the rank that decided it
  bool operator==(const AttemptEnd&) const = default;
};

// Of the current or last attempt of a job that was on several nodes at once.
inline constexpr int32_t kMaxRanks = 64;
struct Gang {
  struct Rank {
    NodeId node;                // no two are on the same
    bool ended = false;         // it holds nothing there any more
    std::vector<GpuPart> gpus;  // that it got there
    bool operator==(const Rank&) const = default;
  };
  std::vector<Rank> ranks;  // by number; the first is on the job's node
  // Once it is known: the ranks that are left shall end, and then the attempt has ended so.
  AttemptEnd end;
  bool operator==(const Gang&) const = default;
};

// What makes a job an array: it stands for many that are alike, its members, numbered from 0.
inline constexpr int64_t kMaxArraySize = 1'000'000;
inline constexpr size_t kMaxArrayIdBytes = 120;  // of the array's id, so that members have one
struct Array {
  int64_t size = 0;
  int64_t max_parallel = 0;  // members that run or wait to be tried again; 0: no limit
  int64_t started = 0;       // members below this have become jobs
  int64_t succeeded = 0, failed = 0, cancelled = 0;
  AttemptNumber base_attempt = 0;  // members count attempts from here
  bool operator==(const Array&) const = default;

  int64_t ended() const { return succeeded + failed + cancelled; }
  int64_t alive() const { return started - ended(); }
  // How many may start now.
  int64_t room() const {
    int64_t left = size - started;
    return max_parallel == 0 ? left : std::min(left, std::max<int64_t>(max_parallel - alive(), 0));
  }
};
// Of a job that is a member.
struct Member {
  JobId array;
  int64_t array_sequence = 0;
  int64_t number = 0;
  bool operator==(const Member&) const = default;
};
inline JobId MemberId(const JobId& array, int64_t number) {
  return {array.value + "." + std::to_string(number)};
}
// The array whose member this may be, by its id; empty when it can be of none.
inline JobId ArrayIdOf(const JobId& member) {
  size_t dot = member.value.rfind('.');
  return {dot == std::string::npos ? "" : member.value.substr(0, dot)};
}

// A job's changing part. Small: it is rewritten at every transition, and there may be a million of
// them in memory; what few have is boxed.
struct Job {
  int64_t sequence = 0;  // order of acceptance, unique, only grows
  JobId id;
  std::string name, user;
  int32_t type = 1;      // wire numbers of JobType
  int32_t priority = 1;  // wire numbers: 0 low .. 3 critical
  int64_t body = 0;      // number of its JobBody
  Resources resources;
  int32_t device = 0;  // wire DeviceType; 0 any
  int32_t max_retries = 2;
  int32_t total_epochs = 0, current_epoch = 0;
  ContentKey data = 0;                   // what it reads of that which nodes keep
  std::shared_ptr<const Terms> terms;    // null: none
  std::shared_ptr<const Array> array;    // null: it is none
  std::shared_ptr<const Member> member;  // null: it is none
  std::shared_ptr<const Gang> gang;      // null: it was on one node at most

  JobState state = JobState::kQueued;
  Cause cause = Cause::kNone;
  std::string message;                        // why it is in this state, for a person
  UnixTime created_at, started_at, ended_at;  // 0 while it has not happened
  // When the current attempt was assigned and, once it runs, began to.
  UnixTime attempt_started_at;
  UnixTime not_before;              // backoff: not scheduled earlier
  AttemptNumber attempt = 0;        // current or last; of an earlier job before the first
  int32_t preemptions = 0;          // attempts that ended to make room for another job
  NodeId node;                      // of the current or last attempt, or its rank 0
  Rare<std::vector<GpuPart>> gpus;  // that it got there
  int32_t retries = 0;              // failures that counted against max_retries
  int32_t nodes_lost = 0;           // in a row, each while it ran this job
  Cause limit_hit = Cause::kNone;   // the attempt shall end, and the job fails with this
  bool cancel_requested = false;
  bool pause_requested = false;  // the attempt shall write a checkpoint and end
  Rare<std::string> cancel_reason;
  Rare<JobId> preempted_for;  // it shall write a checkpoint and end, to make room for this job;
                              // empty: it need not
  Rare<JobId> retry_of;       // the ended job that this one does again; empty: none
  Rare<ErrorInfo> error;
  Rare<LogTail> log_tail;  // once the attempt has ended

  // The last report; lost at most one second's worth by a crash of the server.
  double progress = 0;  // and current_epoch
  Rare<std::map<std::string, double>> metrics;

  // Result
  Rare<std::vector<Artifact>> artifacts;  // "weights.safetensors" first
  double compute_seconds = 0;

  // The newest one that has been reported; none once the job has ended.
  Rare<Checkpoint> checkpoint;
};

// The nodes that the current attempt is on, in the order of its ranks: those on which one has not
// ended. None when there is no attempt.
std::vector<NodeId> NodesWith(const Job& job);
// What its attempt, or a rank of it, holds of this node.
Resources HeldOn(const Job& job, const NodeId& node);
// The number of the rank that is, or was, on the node; -1: none. A job that is no gang has rank 0.
int32_t RankOn(const Job& job, const NodeId& node);
// How many ranks its current or last attempt has.
int32_t RanksOf(const Job& job);
const std::string& ProjectOf(const Job& job);  // empty: none

// Which jobs are meant.
struct JobFilter {
  std::string user;              // empty: all
  int32_t type = 0;              // 0: all
  std::vector<JobState> states;  // empty: all
  std::string project;           // empty: all; only for CancelJobs
  JobId array_id;                // the members of this array, and only states count; empty: members
                                 // are left out
  int64_t array = 0;             // its sequence: set by the core
};

// One thing that happened to a job or a node; what is told here never changes.
enum class EventKind {
  kSubmitted = 1,        // not stored: it is the job's own row (number: its sequence)
  kStateChanged = 2,     // from, to
  kCancelRequested = 3,  // of an attempt whose processes still end
  kPauseRequested = 4,   // of an attempt that still writes its checkpoint
  kPriorityChanged = 5,  // message: "normal to high"
  kRetried = 6,          // message: id of the new job
  kDeleted = 7,
  kNodeRegistered = 8,
  kNodeLost = 9,  // its lease ended
  kNodeCordoned = 10,
  kNodeUncordoned = 11,
  kNodeQuarantined = 12,
  kNodeReleased = 13,
  kNodeCordonPlanned = 15,
  kPreemptRequested = 14,  // of an attempt that still writes its checkpoint; message: for which job
  kMassLoss = 16,          // most nodes went silent at once; node: the first whose lease ended
  kMassLossOver = 17,      // of no node
  kNodeForgotten = 18,
};
const char* EventKindName(EventKind kind);  // "STATE_CHANGED"

struct Event {
  int64_t number = 0;  // unique, only grows; drawn from the same counter as the jobs' sequences
  UnixTime at;
  EventKind kind = EventKind::kStateChanged;
  int64_t sequence = 0;  // of the job; 0 for an event of a node
  JobId job;             // empty for an event of a node
  NodeId node;           // of the attempt, or the node itself
  AttemptNumber attempt = 0;
  JobState from = {}, to = {};  // kSubmitted and kStateChanged
  Cause cause = Cause::kNone;
  std::string message;  // one sentence, for a person
  std::string actor;    // who made it happen (actors.h)
};

// The kSubmitted event of a job.
Event SubmittedEvent(const Job& job);

// Which events to read: with number above `after`, oldest first, of one job or one node or of all.
struct EventQuery {
  int64_t after = 0;
  size_t limit = 100;
  int64_t sequence = 0;  // of a job; 0: any
  NodeId node;           // empty: any
};

struct Node {
  NodeId id;
  std::string endpoint;  // host:port of its NodeService
  std::string info;  // serialised wire NodeInfo as last registered; the core does not look into it
  Resources capacity;
  std::vector<int32_t> devices;  // wire DeviceType of each kind it has
  UnixTime registered_at;
  int64_t jobs_completed = 0;
  bool cordoned = false;  // gets no new attempts
  bool draining = false;  // those it has shall end; implies cordoned
  std::string cordon_reason;
  // A planned cordon begins and ends by itself; 0: it is not planned, or stays.
  UnixTime cordon_from, cordon_until;
  bool drain_then = false;  // once it begins
  Labels labels;
  // Gets no new attempts but now and then one to probe it.
  bool quarantined = false;
  std::string quarantine_reason;
  int32_t failed_probes = 0;
  // Ports of its host on which ranks 0 of gangs meet the others; 0: it takes no ranks.
  int32_t rendezvous_port = 0, rendezvous_ports = 0;  // the first, and how many
  UnixTime lost_at;                                   // since when it is offline; 0: not known
};

// What stays of a job that was deleted. Its id may be submitted again: the new job goes on counting
// attempts where the old one stopped, so that no late word of an old attempt is taken for one of
// the new job.
struct RemovedJob {
  JobId id;
  int64_t sequence = 0;
  AttemptNumber attempt = 0;  // the last one
};

// Jobs that are to be cancelled, more than one batch takes: durable as a whole, so that none of
// them starts from then on, also after a restart, though they are cancelled one after the other.
struct Cancellation {
  int64_t number = 0;         // unique, only grows; from the same counter as the jobs' sequences
  std::vector<int64_t> jobs;  // sequences of those that were meant then, in order
  Cause cause = Cause::kCancelled;  // or kDependencyFailed
  std::string reason;               // of who asked; of kDependencyFailed the jobs' message
  std::string actor;                // who asked
};

// One durable change. A batch of them is one transaction.
struct PutBody {
  int64_t number = 0;  // chosen by the core, unique, only grows
  std::shared_ptr<const JobBody> body;
};
// After one of its jobs: it goes unless another one that is stored has it.
struct DeleteBody {
  int64_t number = 0;
};
struct PutJob {
  Job job;
};  // insert or replace by id
struct DeleteJob {
  JobId id;
};
// Of the array with this sequence.
struct DeleteMembers {
  int64_t array = 0;
};
struct PutNode {
  Node node;
};
struct DeleteNode {
  NodeId id;
};
struct PutCancellation {
  std::shared_ptr<const Cancellation> cancellation;
};
struct DeleteCancellation {
  int64_t number = 0;
};
struct PutEvent {
  Event event;
};
// Every event with a smaller number.
struct DeleteEvents {
  int64_t below = 0;
};
struct PutRemoved {
  RemovedJob removed;
};  // insert or replace by id
struct DeleteRemoved {
  JobId id;
};
using Record = std::variant<PutBody, PutJob, DeleteJob, DeleteMembers, DeleteBody, PutNode,
                            PutEvent, DeleteEvents, PutRemoved, DeleteRemoved, DeleteNode,
                            PutCancellation, DeleteCancellation>;

// A job that has ended, and its body.
struct EndedJob {
  Job job;
  std::shared_ptr<const JobBody> body;
};
// What a job that has ended had of the fleet.
struct PastUse {
  std::string user, project;
  Resources resources;  // on all its nodes
  UnixTime started_at, ended_at;
};

// What is durable, as read at start: jobs that have ended stay where they are stored (Archive).
struct Snapshot {
  std::vector<Job> jobs;        // that have not ended, in order of sequence
  std::vector<PutBody> bodies;  // of these
  // How many have ended.
  struct Ended {
    std::string user;
    int32_t type = 0;
    JobState state = JobState::kSucceeded;
    int64_t jobs = 0;
    bool members = false;  // of arrays
  };
  std::vector<Ended> ended;
  std::vector<PastUse> past;  // of those that have ended lately
  std::vector<Node> nodes;
  int64_t last_sequence = 0, last_body = 0;  // the largest that are stored
  int64_t last_event = 0;                    // number of the newest event, 0: none
  int64_t first_event = 0;                   // events below this number have been deleted
  std::vector<RemovedJob> removed;
  std::vector<Cancellation> cancellations;  // by number
};

}  // namespace cyxwiz::control
