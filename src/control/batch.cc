#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "control/messages.h"
#include "control/state.h"
#include "control/transitions.h"

namespace cyxwiz::control {
namespace {

constexpr int64_t kTrimEvents = 1000;

}  // namespace

void Control::State::Answer(ReplyTo to, Status status, decltype(Reply::content) content) {
  if (to != 0) output->effects.push_back(Reply{to, std::move(status), std::move(content)});
}

void Control::State::Touch(JobEntry& entry) {
  if (!entry.touched) touched.push_back(&entry);
  entry.touched = true;
}

void Control::State::MarkChanged(JobEntry& entry) {
  entry.changed = true;
  Touch(entry);
}

void Control::State::MarkChanged(NodeEntry& node) {
  if (!node.changed) changed_nodes.push_back(&node);
  node.changed = true;
}

Event& Control::State::Tell(EventKind kind, std::string message) {
  Event event;
  event.number = next_sequence++;
  event.at = now.unix;
  event.kind = kind;
  event.message = std::move(message);
  event.actor = actor;
  events.push_back(std::move(event));
  return events.back();
}

Event& Control::State::Tell(const Job& job, EventKind kind, std::string message) {
  Event& event = Tell(kind, std::move(message));
  event.sequence = job.sequence;
  event.job = job.id;
  event.attempt = job.attempt;
  if (job.attempt > 0) event.node = job.node;
  return event;
}

void Control::State::Tell(const NodeEntry& node, EventKind kind, std::string message) {
  Tell(kind, std::move(message)).node = node.node.id;
}

void Control::State::SetState(JobEntry& entry, JobState to, std::string message) {
  Job& job = entry.job;
  Require(IsLegal(job.state, to), "illegal change of a job's state");
  Require(to != JobState::kRunning || job.state == JobState::kAssigned || job.array != nullptr,
          "a job runs that was not assigned");
  Event& event = Tell(job, EventKind::kStateChanged, message);
  event.from = job.state;
  event.to = to;
  if (to != JobState::kAssigned && to != JobState::kRunning && to != JobState::kSucceeded)
    event.cause = job.cause;
  if (job.member == nullptr) index.Move(job, to);
  counters.jobs_by_state[static_cast<int>(job.state)]--;
  counters.jobs_by_state[static_cast<int>(to)]++;
  if (job.state == JobState::kQueued) {
    held_back.erase(job.sequence);
    LeaveLine(job);
  }
  job.state = to;
  job.message = std::move(message);
  if (IsFinal(to)) {
    job.ended_at = now.unix;
    job.limit_hit = Cause::kNone;
    DisarmLimit(job, TimerKind::kQueueLimit, &entry.queue_end);
    DisarmLimit(job, TimerKind::kDeadline, &entry.deadline);
    if (entry.waits_for > 0) StopWaiting(entry);
    if (dependents.count(job.id) > 0) ended.push_back(job.id);
    if (to == JobState::kSucceeded) counters.succeeded++;
    if (to == JobState::kFailed) counters.failed++;
    if (to == JobState::kCancelled) counters.cancelled++;
    checkpoint_files.Drop(*job.checkpoint);
    job.checkpoint = {};
    ArmForget(entry, options.keep_ended);
  }
  if (to == JobState::kQueued) EnterLine(entry);
  MarkChanged(entry);
  if (IsFinal(to) && job.member != nullptr) EndMember(entry);
}

void Control::State::FlushProgress() {
  flush_armed = false;
  for (int64_t sequence : unflushed) {
    JobEntry& entry = *by_sequence.at(sequence);
    if (entry.progressed) MarkChanged(entry);
  }
}

void Control::State::Finish() {
  // First, because a removed id may have been submitted again since.
  output->records.insert(output->records.end(), std::make_move_iterator(removals.begin()),
                         std::make_move_iterator(removals.end()));
  for (NodeEntry* node : changed_nodes) {
    node->changed = false;
    output->records.push_back(PutNode{node->node});
  }
  StoreCancellations();
  // In one piece: a batch may change many jobs.
  output->records.reserve(output->records.size() + touched.size() + events.size());
  output->effects.reserve(output->effects.size() + touched.size() + events.size() + pending.size());
  std::unordered_map<const JobEntry*, std::shared_ptr<const JobView>> views;
  views.reserve(touched.size());
  for (JobEntry* entry : touched) {
    if (entry->changed || !entry->stored) {
      BodyEntry& body = bodies.at(entry->job.body);
      if (!body.stored) output->records.push_back(PutBody{body.number, body.body});
      body.stored = true;
      output->records.push_back(PutJob{entry->job});
      entry->stored = true;
      entry->changed = false;
      entry->progressed = false;
      unflushed.erase(entry->job.sequence);
    }
    entry->touched = false;
    auto view = std::make_shared<const JobView>(View(*entry));
    output->effects.push_back(UpdateEffect{view, false});
    views.emplace(entry, std::move(view));
  }
  for (Event& event : events) {
    // A submission is stored as the job itself.
    if (event.kind != EventKind::kSubmitted) output->records.push_back(PutEvent{event});
    output->effects.push_back(EventEffect{std::move(event)});
  }
  // Numbers are shared with jobs, so this keeps max_events at most; in pieces, so that no batch
  // becomes large.
  if (int64_t below = next_sequence - options.max_events; below > first_event + kTrimEvents) {
    first_event = std::min(below, first_event + 2 * kTrimEvents);
    output->records.push_back(DeleteEvents{first_event});
  }
  for (const PendingReply& reply : pending) {
    if (reply.to == 0) continue;
    const JobEntry* entry = Find(reply.job);
    if (entry == nullptr) {
      Answer(reply.to, NoSuchJob(reply.job));
    } else if (reply.is_submit) {
      auto known = views.find(entry);
      auto view =
          known != views.end() ? known->second : std::make_shared<const JobView>(View(*entry));
      // Who submits many at once waits for none of them, and need not wait for this.
      if (auto outlook = pending.size() == 1 ? OutlookOf(*entry) : std::nullopt) {
        auto own = std::make_shared<JobView>(*view);
        own->outlook = std::move(outlook);
        view = std::move(own);
      }
      Answer(reply.to, OkStatus(), SubmitReply{std::move(view), reply.existed});
    } else {
      JobView view = View(*entry);
      view.outlook = OutlookOf(*entry);
      Answer(reply.to, OkStatus(), JobReply{std::move(view)});
    }
  }
  if (auto files = checkpoint_files.TakeUnused(); !files.empty())
    output->effects.push_back(ReleaseEffect{std::move(files)});
  touched.clear();
  events.clear();
  removals.clear();
  changed_nodes.clear();
  pending.clear();
  outlook_looks = 0;
}

}  // namespace cyxwiz::control
