// What comes into the control core and what goes out of it: commands of clients, nodes and time,
// the replies to them, and what is to be done besides.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "control/records.h"
#include "scheduler/scheduler.h"

namespace cyxwiz::control {

// Identifies who waits for the reply to a command; chosen by the caller, 0 when nobody does.
using ReplyTo = uint64_t;

// Changes to the fleet that are only supposed.
struct WhatIf {
  int32_t more_nodes = 0;  // like the largest one that is known, but for `resources`
  Resources resources;     // of each of these nodes; what is 0 is as of the largest known
};

// ---- Commands
// --------------------------------------------------------------------------------------------

struct SubmitJob {
  ReplyTo reply_to = 0;
  Job job;  // id (chosen by client or caller), name, user, type, priority, resources, ...
  std::shared_ptr<const JobBody> body;
  bool fresh_id = false;  // the caller has just made it: no other job has it
};
// actor, of all that clients ask for: who asks (actors.h).
struct CancelJob {
  ReplyTo reply_to = 0;
  JobId job;
  std::string reason;
  std::string actor;
};
// Many jobs in one transaction, after every submit that came before; see CancelJob. None of them
// starts once it is stored; it is answered when all of them are cancelled. RESOURCE_EXHAUSTED while
// too many such are being carried out.
struct CancelJobs {
  ReplyTo reply_to = 0;
  JobFilter filter;
  std::string reason;
  std::string actor;
};
// A queued job leaves the queue until it is resumed; a running one writes a checkpoint first.
struct PauseJob {
  ReplyTo reply_to = 0;
  JobId job;
  std::string actor;
};
struct ResumeJob {
  ReplyTo reply_to = 0;
  JobId job;
  std::string actor;
};
struct SetPriority {
  ReplyTo reply_to = 0;
  JobId job;
  int32_t priority = 1;
  std::string actor;
};
// A failed or cancelled job again, as a new job; final states never change.
struct RetryJob {
  ReplyTo reply_to = 0;
  JobId job;
  JobId new_job;
  std::string actor;
};
struct RemoveJob {
  ReplyTo reply_to = 0;
  JobId job;
  std::string actor;
};  // DeleteJob on the wire; final jobs only
struct GetJob {
  ReplyTo reply_to = 0;
  JobId job;
};
struct ListJobs {
  ReplyTo reply_to = 0;
  int32_t page_size = 100;
  int64_t after_sequence = INT64_MAX;  // newest first; jobs with a smaller sequence than this
  JobFilter filter;
};
// Jobs that have not ended and whose configuration holds this text.
struct FindJobs {
  ReplyTo reply_to = 0;
  std::string text;
};
struct GetNode {
  ReplyTo reply_to = 0;
  NodeId node;
};
struct ListNodes {
  ReplyTo reply_to = 0;
};
// How many queued jobs wait for what.
struct CountWaiting {
  ReplyTo reply_to = 0;
};
// A cordoned node keeps its attempts and gets no new ones. drain: its attempts go back to the
// queue.
struct CordonNode {
  ReplyTo reply_to = 0;
  NodeId node;
  bool cordoned = true;
  bool drain = false;
  std::string reason;
  UnixTime from, until;  // when it begins and ends; 0: now, and when somebody ends it
  std::string actor;
};
// A node that is offline and has no attempts is no longer known.
struct ForgetNode {
  ReplyTo reply_to = 0;
  NodeId node;
  std::string actor;
};
// What would become of this job if it were submitted now, or why that would be refused; changes
// nothing.
struct PlanJob {
  ReplyTo reply_to = 0;
  Job job;  // as of SubmitJob
  std::shared_ptr<const JobBody> body;
  bool fresh_id = false;
  WhatIf what_if;
};
// Everything about a job's waiting: reasons, place in the queue, expected start.
struct ExplainJob {
  ReplyTo reply_to = 0;
  JobId job;
  WhatIf what_if;
};

struct RegisterNode {
  ReplyTo reply_to = 0;
  Node node;                      // id: as the node remembers it, or fresh from the caller
  std::vector<AttemptId> active;  // attempts it still runs
  std::string session;  // new session token of this registration; earlier ones stop working
  // When it was sent, in the node's own count: of two registrations from the same boot of its
  // machine the one with the smaller number is older, and refused when it arrives later. 0: not
  // known.
  std::string boot;
  int64_t number = 0;
};
struct Heartbeat {
  ReplyTo reply_to = 0;
  NodeId node;
  std::string session;  // empty: not checked (a caller that speaks only the old wire)
  std::vector<AttemptId> active;
  Resources available;
  std::string info;         // serialised NodeInfo of the heartbeat; empty: unchanged
  std::vector<JobId> kept;  // jobs of which the node keeps checkpoints
  // The data sets and weights that it keeps; nullopt: as told before.
  std::optional<std::vector<ContentKey>> data;
};
// Outcome of an AssignJob call to a node.
struct AssignOutcome {
  AttemptId attempt;
  NodeId node;
  // kUnreachable: nobody knows whether the node has taken it. The job stays with the node until the
  // node says so itself, by registering again, or its lease ends.
  enum class Kind { kAccepted, kRejected, kUnreachable } kind = Kind::kAccepted;
  std::string message;
};
struct ReportProgress {
  ReplyTo reply_to = 0;
  NodeId node;
  AttemptId attempt;  // attempt 0: the current one
  double progress = 0;
  int32_t epoch = 0;
  std::map<std::string, double> metrics;
  Checkpoint checkpoint;              // uploaded since the last report; its files are stored
  std::optional<Checkpoint> resumed;  // where it went on: epoch and step only
};
struct ReportCompletion {
  ReplyTo reply_to = 0;
  NodeId node;
  AttemptId attempt;  // attempt 0: the current one
  enum class Outcome { kSucceeded, kFailed, kCancelled } outcome = Outcome::kSucceeded;
  Cause cause = Cause::kNone;
  ErrorInfo error;
  std::vector<Artifact> artifacts;
  std::map<std::string, double> metrics;
  double compute_seconds = 0;
  Checkpoint checkpoint;  // as in ReportProgress
  LogTail log_tail;
};
// Time has passed; also given when nothing else is due so that deadlines fire.
struct Tick {};

using Command = std::variant<SubmitJob, CancelJob, CancelJobs, PauseJob, ResumeJob, SetPriority,
                             RetryJob, RemoveJob, GetJob, ListJobs, FindJobs, ExplainJob, PlanJob,
                             GetNode, ListNodes, CountWaiting, CordonNode, RegisterNode, Heartbeat,
                             AssignOutcome, ReportProgress, ReportCompletion, ForgetNode, Tick>;

// ---- Replies and effects
// ---------------------------------------------------------------------------------

// A node as clients see it.
struct NodeView {
  Node node;
  bool online = false;
  UnixTime last_heartbeat;
  Resources available;
  std::vector<AttemptId> attempts;
};
// When a queued job may start.
struct Outlook {
  std::string smallest_change;    // that would start it now; empty: none is known
  int64_t queue_position = 0;     // 1: it is next; 0: not known
  std::optional<UnixTime> start;  // estimated; absent: not known
};
struct JobView {
  Job job;
  std::shared_ptr<const JobBody> body;
  std::string node_endpoint;               // of job.node while it is Assigned or Running
  std::vector<scheduler::Reason> reasons;  // while Queued: everything that holds it back
  // While Queued, in replies about this job alone, where it costs little enough.
  std::optional<Outlook> outlook;
};

struct SubmitReply {
  std::shared_ptr<const JobView> view;  // never null
  bool existed = false;
};  // existed: same id and body were accepted before
struct JobReply {
  JobView view;
};  // GetJob, CancelJob, PauseJob, ResumeJob, SetPriority; RetryJob: the new job
struct CancelJobsReply {
  int64_t cancelled = 0;   // ended at once
  int64_t cancelling = 0;  // end with their processes
};
// The answer of PlanJob and ExplainJob, computed by the scheduler's own code on a copy.
struct PlanReply {
  JobView view;  // of ExplainJob; of PlanJob when the same job was accepted before
  std::vector<scheduler::Reason>
      reasons;                  // all that keeps it from starting now; empty: nothing does
  std::string smallest_change;  // that would start it now; empty: none is known
  // 1: it is next; 0: it does not wait. Of arrays before it each member counts that may start now.
  int64_t queue_position = 0;
  int64_t jobs_queued = 0;                  // in the same way
  NodeId node;                              // where it would start now; empty: nowhere
  std::optional<UnixTime> estimated_start;  // absent: not known
  std::string estimate_basis;               // how the estimate was made, or why there is none
  std::vector<JobId> preempts;              // jobs that would make room for it now, or do so
  std::vector<NodeId> preempts_on;          // where
  bool could_ever_run = true;
};
struct RemoveReply {};  // RemoveJob, ForgetNode
struct ListReply {
  std::vector<JobView> jobs;
  int64_t next_after_sequence = 0 /* 0: last page */;
  int64_t total = 0;
};
struct FoundReply {
  std::vector<JobId> jobs;
};
struct NodeReply {
  NodeView view;
};
struct NodesReply {
  std::vector<NodeView> nodes;
};
struct WaitingReply {
  // By the code of a reason; a job counts for each of its reasons, an array once. One that is not
  // due counts for that alone. NOT_EXAMINED: asking for it would have taken too long.
  std::map<std::string, int64_t> jobs;
};
struct RegisterReply {
  NodeId node;
  std::vector<AttemptId> stop;
};
struct HeartbeatReply {
  std::vector<AttemptId> stop;   // attempts the node shall stop
  std::vector<AttemptId> yield;  // attempts that shall write a checkpoint and end
  std::vector<JobId> drop;       // of the kept ones: nobody will go on from them
};
struct ReportReply {
  bool continue_job = true;
  std::string message;
  bool yield = false;  // with continue_job false: it shall write a checkpoint first
};

// Exactly one for each command that has a reply_to: the Status, and when ok the content.
struct Reply {
  ReplyTo to = 0;
  Status status;
  std::variant<std::monostate, SubmitReply, JobReply, RemoveReply, ListReply, FoundReply, NodeReply,
               NodesReply, WaitingReply, RegisterReply, HeartbeatReply, ReportReply,
               CancelJobsReply, PlanReply>
      content;
};
// Call AssignJob on the node and give the result back as AssignOutcome. The token is made by the
// caller. The node must take it only while `session` is the one of its last registration: so a call
// that was late starts nothing once the node has registered again.
struct AssignEffect {
  AttemptId attempt;
  // Of a gang: which of how many ranks, and host:port at which rank 0 meets the others.
  int32_t rank = 0, ranks = 1;
  std::string rendezvous;
  NodeId node;
  std::string endpoint;
  std::string session;
  std::vector<GpuPart> gpus;  // of the node, that it got
  Job job;
  std::shared_ptr<const JobBody> body;
};
// Tell the node to stop an attempt now (heartbeats repeat it, so this may be lost).
struct StopEffect {
  AttemptId attempt;
  NodeId node;
  std::string endpoint;
  std::string reason;
  bool yield = false;  // it shall write a checkpoint first
};
// Nobody calls there any more: close the connection.
struct CloseEffect {
  NodeId node;  // that is no longer known; empty: it has another endpoint now
  std::string endpoint;
};
// No job goes on from these files any more: delete them.
struct ReleaseEffect {
  std::vector<std::string> sha256;
};
// The job changed: tell those who follow it.
struct UpdateEffect {
  std::shared_ptr<const JobView> view;  // never null
  bool removed = false;
};
// Something happened: tell those who follow events. In order of their numbers.
struct EventEffect {
  Event event;
};
using Effect = std::variant<Reply, AssignEffect, StopEffect, ReleaseEffect, UpdateEffect,
                            EventEffect, CloseEffect>;

}  // namespace cyxwiz::control
