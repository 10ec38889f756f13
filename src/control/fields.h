// Of what the control core's values consist, for their form as bytes (base/binary.h): all that
// counts for a decision. Specifications and sessions stay out of it: of a body there is only the
// hash, of a session a short one, which tells equal ones from others.
#pragma once

#include <string>
#include <tuple>

#include "base/binary.h"
#include "control/commands.h"
#include "control/control.h"
#include "control/records.h"

namespace cyxwiz {

template <typename Tag>
auto Fields(StringId<Tag>& id) {
  return std::tie(id.value);
}
inline auto Fields(UnixTime& t) { return std::tie(t.ms); }
inline auto Fields(MonotonicTime& t) { return std::tie(t.ns); }
inline auto Fields(Now& n) { return std::tie(n.monotonic, n.unix); }
inline auto Fields(AttemptId& a) { return std::tie(a.job, a.attempt); }
inline auto Fields(NamedAmount& a) { return std::tie(a.name, a.amount); }
inline auto Fields(GpuPart& p) { return std::tie(p.index, p.millis, p.memory_bytes); }
inline auto Fields(Resources& r) {
  return std::tie(r.cpu_millis, r.memory_bytes, r.gpu_millis, r.disk_bytes, r.named,
                  r.gpu_memory_bytes, r.gpus);
}
static_assert(kNamesAllMembers<GpuPart> && kNamesAllMembers<Now> && kNamesAllMembers<AttemptId> &&
              kNamesAllMembers<Resources>);

}  // namespace cyxwiz

namespace cyxwiz::scheduler {

inline auto Fields(Request& r) {
  return std::tie(r.resources, r.device, r.labels, r.run_limit, r.nodes, r.min_nodes, r.processes);
}
inline auto Fields(LineKey& k) { return std::tie(k.priority, k.request, k.account, k.project); }
inline auto Fields(Quota& q) {
  return std::tie(q.cpu_millis, q.memory_bytes, q.gpu_millis, q.borrow);
}
static_assert(kNamesAllMembers<Request> && kNamesAllMembers<LineKey> && kNamesAllMembers<Quota>);

}  // namespace cyxwiz::scheduler

namespace cyxwiz::control {

// A hash of 64 bits, the same in every build.
uint64_t Hash(std::string_view text);

// A session, of which only a hash is written. What has been read is written as it is.
struct SessionField {
  std::string* session;
  void WriteTo(BinaryWriter* out) const;
  void ReadFrom(BinaryReader* in);
};

// ---- Records

inline auto Fields(JobBody& b) { return std::tie(b.sha256); }
inline auto Fields(Artifact& a) { return std::tie(a.name, a.sha256, a.size); }
inline auto Fields(Checkpoint& c) { return std::tie(c.name, c.epoch, c.step, c.files); }
inline auto Fields(ErrorInfo& e) { return std::tie(e.code, e.message, e.details); }
inline auto Fields(Limits& l) {
  return std::tie(l.run, l.queue, l.deadline, l.log_bytes, l.checkpoint_bytes);
}
inline auto Fields(Dependency& d) { return std::tie(d.job, d.any_end); }
inline auto Fields(Terms& t) {
  return std::tie(t.limits, t.after, t.labels, t.project, t.nodes, t.min_nodes, t.processes);
}
inline auto Fields(LogTail& t) { return std::tie(t.offset, t.text); }
inline auto Fields(AttemptEnd& e) {
  return std::tie(e.kind, e.cause, e.error, e.wait, e.took_node, e.with_most, e.yields, e.log_tail);
}
inline auto Fields(Gang::Rank& r) { return std::tie(r.node, r.ended, r.gpus); }
inline auto Fields(Gang& g) { return std::tie(g.ranks, g.end); }
inline auto Fields(Array& a) {
  return std::tie(a.size, a.max_parallel, a.started, a.succeeded, a.failed, a.cancelled,
                  a.base_attempt);
}
inline auto Fields(Member& m) { return std::tie(m.array, m.array_sequence, m.number); }
inline auto Fields(Job& j) {
  return std::tie(
      j.sequence, j.id, j.name, j.user, j.type, j.priority, j.body, j.resources, j.device,
      j.max_retries, j.total_epochs, j.data, j.terms, j.array, j.member, j.gang, j.state, j.message,
      j.created_at, j.started_at, j.ended_at, j.attempt_started_at, j.not_before, j.attempt, j.node,
      j.gpus, j.retries, j.nodes_lost, j.limit_hit, j.cancel_requested, j.cancel_reason,
      j.pause_requested, j.preempted_for, j.preemptions, j.retry_of, j.cause, j.error, j.log_tail,
      j.progress, j.current_epoch, j.metrics, j.artifacts, j.compute_seconds, j.checkpoint);
}
inline auto Fields(Event& e) {
  return std::tie(e.number, e.at, e.kind, e.sequence, e.job, e.node, e.attempt, e.from, e.to,
                  e.cause, e.message, e.actor);
}
inline auto Fields(Node& n) {
  return std::tie(n.id, n.endpoint, n.info, n.capacity, n.devices, n.registered_at,
                  n.jobs_completed, n.cordoned, n.draining, n.cordon_reason, n.cordon_from,
                  n.cordon_until, n.drain_then, n.labels, n.quarantined, n.quarantine_reason,
                  n.failed_probes, n.rendezvous_port, n.rendezvous_ports, n.lost_at);
}
inline auto Fields(Cancellation& c) {
  return std::tie(c.number, c.jobs, c.cause, c.reason, c.actor);
}
inline auto Fields(RemovedJob& r) { return std::tie(r.id, r.sequence, r.attempt); }
inline auto Fields(PutBody& r) { return std::tie(r.number, r.body); }
inline auto Fields(DeleteBody& r) { return std::tie(r.number); }
inline auto Fields(PutJob& r) { return std::tie(r.job); }
inline auto Fields(DeleteJob& r) { return std::tie(r.id); }
inline auto Fields(DeleteMembers& r) { return std::tie(r.array); }
inline auto Fields(PutNode& r) { return std::tie(r.node); }
inline auto Fields(PutEvent& r) { return std::tie(r.event); }
inline auto Fields(DeleteEvents& r) { return std::tie(r.below); }
inline auto Fields(PutRemoved& r) { return std::tie(r.removed); }
inline auto Fields(DeleteRemoved& r) { return std::tie(r.id); }
inline auto Fields(DeleteNode& r) { return std::tie(r.id); }
inline auto Fields(PutCancellation& r) { return std::tie(r.cancellation); }
inline auto Fields(DeleteCancellation& r) { return std::tie(r.number); }
inline auto Fields(EndedJob& e) { return std::tie(e.job, e.body); }
static_assert(kNamesAllMembers<Artifact> && kNamesAllMembers<Checkpoint> &&
              kNamesAllMembers<ErrorInfo> && kNamesAllMembers<Limits> &&
              kNamesAllMembers<Dependency> && kNamesAllMembers<Terms> &&
              kNamesAllMembers<AttemptEnd> && kNamesAllMembers<Gang> && kNamesAllMembers<Array> &&
              kNamesAllMembers<Member> && kNamesAllMembers<Job> && kNamesAllMembers<Event> &&
              kNamesAllMembers<Node> && kNamesAllMembers<RemovedJob> &&
              kNamesAllMembers<Cancellation>);

// ---- Options, but for the archive, which is no value

inline auto Fields(PreemptionOptions& p) { return std::tie(p.on, p.min_run, p.most); }
inline auto Fields(Options& o) {
  return std::tie(o.lease, o.assign_timeout, o.keep_ended, o.progress_flush, o.retry_backoff,
                  o.retry_backoff_most, o.share_weights, o.quotas, o.share_half_life, o.ageing,
                  o.hold_after, o.preemption, o.max_nodes_lost, o.node_loss_reset, o.mass_loss_hold,
                  o.quarantine_failures, o.probe_wait, o.probe_wait_most, o.cancelled_at_once,
                  o.max_nodes, o.forget_nodes_after, o.max_queued, o.max_events, o.max_removed);
}
static_assert(kNamesAllMembers<PreemptionOptions>);
static_assert(std::tuple_size_v<decltype(Fields(std::declval<Options&>()))> + 1 ==
              binary::MemberCount<Options>());

// ---- Commands

inline auto Fields(WhatIf& w) { return std::tie(w.more_nodes, w.resources); }
inline auto Fields(JobFilter& f) {
  return std::tie(f.user, f.type, f.states, f.project, f.array_id, f.array);
}
inline auto Fields(SubmitJob& c) { return std::tie(c.reply_to, c.job, c.body, c.fresh_id); }
inline auto Fields(CancelJob& c) { return std::tie(c.reply_to, c.job, c.reason, c.actor); }
inline auto Fields(CancelJobs& c) { return std::tie(c.reply_to, c.filter, c.reason, c.actor); }
inline auto Fields(PauseJob& c) { return std::tie(c.reply_to, c.job, c.actor); }
inline auto Fields(ResumeJob& c) { return std::tie(c.reply_to, c.job, c.actor); }
inline auto Fields(SetPriority& c) { return std::tie(c.reply_to, c.job, c.priority, c.actor); }
inline auto Fields(RetryJob& c) { return std::tie(c.reply_to, c.job, c.new_job, c.actor); }
inline auto Fields(RemoveJob& c) { return std::tie(c.reply_to, c.job, c.actor); }
inline auto Fields(GetJob& c) { return std::tie(c.reply_to, c.job); }
inline auto Fields(ListJobs& c) {
  return std::tie(c.reply_to, c.page_size, c.after_sequence, c.filter);
}
inline auto Fields(FindJobs& c) { return std::tie(c.reply_to, c.text); }
inline auto Fields(GetNode& c) { return std::tie(c.reply_to, c.node); }
inline auto Fields(ListNodes& c) { return std::tie(c.reply_to); }
inline auto Fields(CountWaiting& c) { return std::tie(c.reply_to); }
inline auto Fields(CordonNode& c) {
  return std::tie(c.reply_to, c.node, c.cordoned, c.drain, c.reason, c.from, c.until, c.actor);
}
inline auto Fields(ForgetNode& c) { return std::tie(c.reply_to, c.node, c.actor); }
inline auto Fields(PlanJob& c) {
  return std::tie(c.reply_to, c.job, c.body, c.fresh_id, c.what_if);
}
inline auto Fields(ExplainJob& c) { return std::tie(c.reply_to, c.job, c.what_if); }
inline auto Fields(RegisterNode& c) {
  return std::tuple_cat(std::tie(c.reply_to, c.node, c.active),
                        std::make_tuple(SessionField{&c.session}), std::tie(c.boot, c.number));
}
inline auto Fields(Heartbeat& c) {
  return std::tuple_cat(std::tie(c.reply_to, c.node), std::make_tuple(SessionField{&c.session}),
                        std::tie(c.active, c.available, c.info, c.kept, c.data));
}
inline auto Fields(AssignOutcome& c) { return std::tie(c.attempt, c.node, c.kind, c.message); }
inline auto Fields(ReportProgress& c) {
  return std::tie(c.reply_to, c.node, c.attempt, c.progress, c.epoch, c.metrics, c.checkpoint,
                  c.resumed);
}
inline auto Fields(ReportCompletion& c) {
  return std::tie(c.reply_to, c.node, c.attempt, c.outcome, c.cause, c.error, c.artifacts,
                  c.metrics, c.compute_seconds, c.checkpoint, c.log_tail);
}
inline auto Fields(Tick&) { return std::tie(); }
static_assert(kNamesAllMembers<SubmitJob> && kNamesAllMembers<CancelJob> &&
              kNamesAllMembers<CancelJobs> && kNamesAllMembers<ForgetNode> &&
              kNamesAllMembers<SetPriority> && kNamesAllMembers<RetryJob> &&
              kNamesAllMembers<ListJobs> && kNamesAllMembers<JobFilter> &&
              kNamesAllMembers<CordonNode> && kNamesAllMembers<PlanJob> &&
              kNamesAllMembers<RegisterNode> && kNamesAllMembers<Heartbeat> &&
              kNamesAllMembers<AssignOutcome> && kNamesAllMembers<ReportCompletion>);

}  // namespace cyxwiz::control
