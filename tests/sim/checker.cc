#include "sim/checker.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "control/transitions.h"
#include "sim/random.h"
#include "sim/reach.h"

namespace cyxwiz::sim {
namespace {

using control::Command;
using control::IsFinal;
using control::Job;
using control::JobState;
using control::NodesWith;
using control::Record;

bool WindsUp(const Job& job) {
  return !NodesWith(job).empty() && job.gang != nullptr &&
         job.gang->end.kind != control::AttemptEnd::Kind::kNone;
}

std::string Describe(const control::Terms& terms) {
  std::ostringstream out;
  out << " limits=" << terms.limits.run.count() << "," << terms.limits.queue.count() << ","
      << terms.limits.deadline.ms << "," << terms.limits.log_bytes << ","
      << terms.limits.checkpoint_bytes;
  for (const control::Dependency& one : terms.after)
    out << " after " << one.job << (one.any_end ? " (any end)" : "");
  for (const auto& [name, value] : terms.labels) out << " label " << name << "=" << value;
  if (!terms.project.empty()) out << " project=" << terms.project;
  if (terms.nodes != 1) out << " nodes=" << terms.nodes;
  if (terms.min_nodes != 0) out << " min_nodes=" << terms.min_nodes;
  return out.str();
}

std::string Describe(const Job& job) {
  std::ostringstream out;
  out.precision(17);
  out << "job " << job.id << " sequence=" << job.sequence << " state=" << JobStateName(job.state)
      << " attempt=" << job.attempt << " node=" << job.node << " retries=" << job.retries << "/"
      << job.max_retries << " pause=" << job.pause_requested << " retry_of=" << *job.retry_of
      << " cancel=" << job.cancel_requested << " '" << *job.cancel_reason
      << "' cause=" << CauseName(job.cause) << " error=" << job.error->code << " '"
      << job.error->message << "' '" << job.error->details << "' log=" << job.log_tail->offset
      << " '" << job.log_tail->text << "' message='" << job.message << "' name=" << job.name
      << " user=" << job.user << " type=" << job.type << " priority=" << job.priority
      << " body=" << job.body << " resources=" << ToString(job.resources)
      << " device=" << job.device << " epochs=" << job.current_epoch << "/" << job.total_epochs
      << " times=" << job.created_at.ms << "," << job.started_at.ms << "," << job.ended_at.ms << ","
      << job.attempt_started_at.ms << "," << job.not_before.ms << " lost=" << job.nodes_lost
      << " limit_hit=" << CauseName(job.limit_hit) << " progress=" << job.progress
      << " compute=" << job.compute_seconds << " for=" << *job.preempted_for
      << " preemptions=" << job.preemptions << " gpus=" << ToString(*job.gpus);
  for (const auto& [name, value] : *job.metrics) out << " " << name << "=" << value;
  for (const control::Artifact& a : *job.artifacts)
    out << " [" << a.name << " " << a.sha256 << " " << a.size << "]";
  if (job.terms != nullptr) out << Describe(*job.terms);
  if (const control::Array* a = job.array.get()) {
    out << " array=" << a->size << "," << a->max_parallel << "," << a->started << ","
        << a->succeeded << "," << a->failed << "," << a->cancelled << "," << a->base_attempt;
  }
  if (const control::Member* m = job.member.get())
    out << " member=" << m->array << "," << m->array_sequence << "," << m->number;
  if (job.gang != nullptr) out << " " << sim::Describe(*job.gang);
  return out.str();
}

std::string Describe(const control::Node& node) {
  std::ostringstream out;
  out << "node " << node.id << " endpoint=" << node.endpoint << " info=" << node.info
      << " capacity=" << ToString(node.capacity) << " " << ToString(*node.capacity.gpus)
      << " registered=" << node.registered_at.ms << " completed=" << node.jobs_completed
      << " cordoned=" << node.cordoned << " draining=" << node.draining << " '"
      << node.cordon_reason << "' from=" << node.cordon_from.ms << " until=" << node.cordon_until.ms
      << " then=" << node.drain_then << " quarantined=" << node.quarantined << " '"
      << node.quarantine_reason << "' " << node.failed_probes << " devices=";
  for (int32_t device : node.devices) out << device << ",";
  out << " rendezvous=" << node.rendezvous_port << "+" << node.rendezvous_ports
      << " lost=" << node.lost_at.ms;
  return out.str();
}

std::string Describe(const control::Event& event) {
  std::ostringstream out;
  out << "event " << event.number << " " << EventKindName(event.kind) << " at=" << event.at.ms
      << " job=" << event.job << " sequence=" << event.sequence << " node=" << event.node
      << " attempt=" << event.attempt << " from=" << static_cast<int>(event.from)
      << " to=" << static_cast<int>(event.to) << " cause=" << CauseName(event.cause) << " message='"
      << event.message << "' actor=" << event.actor;
  return out.str();
}

std::string Describe(const control::Cancellation& cancellation) {
  std::ostringstream out;
  out << "cancellation " << cancellation.number << " cause=" << CauseName(cancellation.cause)
      << " reason='" << cancellation.reason << "' actor=" << cancellation.actor << " of";
  for (int64_t sequence : cancellation.jobs) out << " " << sequence;
  return out.str();
}

std::vector<std::string> Describe(const Checker::State& state) {
  std::vector<std::string> lines;
  for (const auto& [id, job] : state.jobs) lines.push_back(Describe(job));
  for (const auto& [id, node] : state.nodes) lines.push_back(Describe(node));
  for (const auto& [number, body] : state.bodies)
    lines.push_back("body " + std::to_string(number) + " " + body->sha256 + " " + body->config);
  for (const auto& [id, job] : state.removed) {
    lines.push_back("removed " + id.value + " sequence=" + std::to_string(job.sequence) +
                    " attempt=" + std::to_string(job.attempt));
  }
  for (const auto& [number, event] : state.events) lines.push_back(Describe(event));
  for (const auto& [number, one] : state.cancellations) lines.push_back(Describe(one));
  return lines;
}

// Changes `state` without judging.
void Replay(const Record& record, Checker::State* state) {
  if (auto* r = std::get_if<control::PutBody>(&record)) state->bodies[r->number] = r->body;
  if (auto* r = std::get_if<control::PutJob>(&record)) state->jobs[r->job.id] = r->job;
  if (auto* r = std::get_if<control::DeleteJob>(&record)) state->jobs.erase(r->id);
  if (auto* r = std::get_if<control::DeleteMembers>(&record)) {
    std::erase_if(state->jobs, [&](const auto& one) {
      return one.second.member != nullptr && one.second.member->array_sequence == r->array;
    });
  }
  if (auto* r = std::get_if<control::DeleteBody>(&record)) {
    bool used = std::any_of(state->jobs.begin(), state->jobs.end(),
                            [&](const auto& one) { return one.second.body == r->number; });
    if (!used) state->bodies.erase(r->number);
  }
  if (auto* r = std::get_if<control::PutNode>(&record)) state->nodes[r->node.id] = r->node;
  if (auto* r = std::get_if<control::DeleteNode>(&record)) state->nodes.erase(r->id);
  if (auto* r = std::get_if<control::PutCancellation>(&record))
    state->cancellations[r->cancellation->number] = *r->cancellation;
  if (auto* r = std::get_if<control::DeleteCancellation>(&record))
    state->cancellations.erase(r->number);
  if (auto* r = std::get_if<control::PutRemoved>(&record))
    state->removed[r->removed.id] = r->removed;
  if (auto* r = std::get_if<control::DeleteRemoved>(&record)) state->removed.erase(r->id);
  if (auto* r = std::get_if<control::PutEvent>(&record)) state->events[r->event.number] = r->event;
  if (auto* r = std::get_if<control::DeleteEvents>(&record))
    state->events.erase(state->events.begin(), state->events.lower_bound(r->below));
}

// The first line that only one of the two has; empty when they are alike.
std::string Difference(const Checker::State& expected, const Checker::State& found) {
  std::vector<std::string> a = Describe(expected), b = Describe(found);
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    std::string left = i < a.size() ? a[i] : "(nothing)", right = i < b.size() ? b[i] : "(nothing)";
    if (left != right) return "expected " + left + "\n  found    " + right;
  }
  return "";
}

// From a state to another, with others in between that the same batch has passed through.
bool CanBecome(JobState from, JobState to) {
  if (from == to) return true;
  bool reached[8] = {};
  reached[static_cast<int>(from)] = true;
  for (bool grown = true; grown;) {
    grown = false;
    for (int a = 1; a <= 7; ++a) {
      for (int b = 1; b <= 7; ++b) {
        if (reached[a] && !reached[b] && control::IsLegal(JobState(a), JobState(b)))
          reached[b] = grown = true;
      }
    }
  }
  return reached[static_cast<int>(to)];
}

}  // namespace

std::string Describe(const control::Gang& gang) {
  std::ostringstream out;
  for (const control::Gang::Rank& rank : gang.ranks) {
    out << (&rank == gang.ranks.data() ? "gang=" : ",") << rank.node
        << (rank.ended ? "(ended)" : "");
    if (!rank.gpus.empty()) out << " (" << ToString(rank.gpus) << ")";
  }
  const control::AttemptEnd& end = gang.end;
  out << " end=" << static_cast<int>(end.kind) << " " << CauseName(end.cause) << " "
      << end.error.code << " '" << end.error.message << "' '" << end.error.details
      << "' wait=" << end.wait.count() << " took=" << end.took_node
      << " with_most=" << end.with_most << " yields=" << end.yields
      << " log=" << end.log_tail.offset << " '" << end.log_tail.text << "'";
  return out.str();
}

std::string LastLineOf(const AttemptId& attempt) {
  return "attempt " + std::to_string(attempt.attempt) + " of " + attempt.job.value + " ends";
}

void Checker::Fold(std::string_view text) { hash_ = HashOf(text, hash_ * 31 + 1); }

// ---- The store

void Checker::Removing(const JobId& id) {
  removing_.insert(id);
  ++unseen_;
}

void Checker::Committing(std::span<const Record> records) {
  batch_.assign(records.begin(), records.end());
  open_ = true;
}

void Checker::Committed(const Status& status) {
  if (status.ok()) {
    for (const Record& record : batch_) Apply(record);
    CheckSold();
    CheckArrays();
    CheckGangs();
    open_ = false;
  } else if (status.code() == Code::kResourceExhausted) {
    Reach(Place::kCommitRefused);
    open_ = false;
  }
}

void Checker::Loaded(const control::Snapshot& snapshot, const std::vector<control::Event>& events) {
  State found;
  for (const control::Event& event : events) {
    if (event.kind != control::EventKind::kSubmitted) found.events[event.number] = event;
  }
  for (const control::PutBody& body : snapshot.bodies) found.bodies[body.number] = body.body;
  for (const Job& job : snapshot.jobs) {
    if (!found.jobs.emplace(job.id, job).second)
      Break("durability", "the store gives job " + job.id.value + " twice");
  }
  for (const control::Node& node : snapshot.nodes) found.nodes[node.id] = node;
  for (const control::RemovedJob& job : snapshot.removed) found.removed[job.id] = job;
  for (const control::Cancellation& one : snapshot.cancellations)
    found.cancellations[one.number] = one;
  std::string difference = Difference(state_, found);
  if (open_ && !difference.empty()) {
    State with_batch = state_;
    for (const Record& record : batch_) Replay(record, &with_batch);
    if (Difference(with_batch, found).empty()) {
      Reach(Place::kBatchSurvived);
      for (const Record& record : batch_) Apply(record);
      CheckSold();
      CheckArrays();
      CheckGangs();
      difference.clear();
    }
  }
  open_ = false;
  if (!difference.empty()) {
    Break("durability", "what was committed is not what is loaded:\n  " + difference);
  }
  if (!state_.cancellations.empty()) Reach(Place::kCancellationOverRestart);
  for (const auto& [id, job] : state_.jobs) {
    if (!job.preempted_for->empty()) Reach(Place::kPreemptedOverRestart);
    if (WindsUp(job)) Reach(Place::kGangEndOverRestart);
  }
  removing_.clear();
  answered_.clear();
  submitted_ = unseen_ = last_told_ = 0;
  for (int64_t& n : ended_) n = 0;
}

void Checker::CheckChange(const Job& before, const Job& after) const {
  auto broken = [&](const std::string& invariant, const std::string& what) {
    Break(invariant, what + ":\n  before " + Describe(before) + "\n  after  " + Describe(after));
  };
  if (before.sequence != after.sequence) broken("no job lost", "a job was replaced by another");
  if (IsFinal(before.state) && Describe(before) != Describe(after))
    broken("terminal states final", "a job that had ended changed");
  if (!CanBecome(before.state, after.state)) broken("legal transitions", "an illegal change");
  if (after.attempt < before.attempt) broken("attempts grow", "an attempt number went back");
  if (before.cancel_requested && !after.cancel_requested)
    broken("cancel is durable", "a cancel was forgotten");
  // Members of an array that ran when only those that waited were cancelled may be tried again.
  if (before.cancel_requested && before.array == nullptr && after.attempt > before.attempt)
    broken("cancel is durable", "a cancelled job was started again");
  if (before.cancel_requested && before.array != nullptr &&
      after.array->started > before.array->started)
    broken("cancel is durable", "a member of a cancelled array was started");
  if (after.state == JobState::kQueued && before.state != JobState::kQueued &&
      after.message.find(" failed (") != std::string::npos && after.retries <= before.retries)
    broken("retries", "a failure was not counted");
  if (before.cause != control::Cause::kPreempted && after.cause == control::Cause::kPreempted &&
      after.preemptions != before.preemptions + 1)
    broken("preemption", "that an attempt made room was not counted");
  bool made_room = after.preemptions > before.preemptions;
  if (made_room && (after.retries != before.retries || before.preempted_for->empty()))
    broken("preemption", "an attempt that made room was counted wrong");
  if (after.body != before.body || after.name != before.name || after.user != before.user ||
      after.resources != before.resources ||
      (before.array == nullptr) != (after.array == nullptr) ||
      (before.member == nullptr) != (after.member == nullptr) ||
      after.created_at != before.created_at ||
      (before.terms == nullptr) != (after.terms == nullptr) ||
      (before.terms != nullptr && *before.terms != *after.terms))
    broken("no job lost", "what was submitted changed");
  for (const NodeId& node : NodesWith(after)) {
    if (after.attempt == before.attempt && control::RankOn(before, node) >= 0 &&
        HeldOn(after, node) != HeldOn(before, node))
      broken("one GPU", "an attempt has got another one");
  }
}

void Checker::Apply(const Record& record) {
  if (auto* r = std::get_if<control::PutBody>(&record)) {
    if (state_.bodies.count(r->number) > 0) Break("bodies", "a body was stored over another");
    Fold(r->body->config);
  }
  if (auto* r = std::get_if<control::PutJob>(&record)) {
    const Job& job = r->job;
    Fold(Describe(job));
    auto says = [&job](const char* text) { return job.message.find(text) != std::string::npos; };
    if (says(" was lost")) Reach(Place::kNodeLost);
    if (says("could not be reached") || says("did not answer")) Reach(Place::kAssignmentInDoubt);
    auto found = state_.jobs.find(job.id);
    if (found != state_.jobs.end()) {
      CheckChange(found->second, job);
      if (job.preemptions > found->second.preemptions) Reach(Place::kPreempted);
      if (found->second.preempted_for->empty() && !job.preempted_for->empty()) CheckPreemption(job);
      if (job.retries > found->second.retries) Reach(Place::kRetried);
      auto ranks = [](const Job& of) { return of.gang != nullptr ? of.gang->ranks.size() : 1; };
      if (job.attempt > found->second.attempt && ranks(job) < ranks(found->second))
        Reach(Place::kGangShrunk);
      if (found->second.state == JobState::kRunning) {
        if (job.state == JobState::kCancelled) Reach(Place::kCancelledWhileRunning);
        if (job.state == JobState::kPaused) Reach(Place::kPausedWhileRunning);
        if (says("the node is drained")) Reach(Place::kDrained);
      }
    } else {
      if (auto gone = state_.removed.find(job.id); gone != state_.removed.end()) {
        Reach(Place::kIdUsedAgain);
        if (job.attempt < gone->second.attempt)
          Break("attempts grow", "the id has had later attempts than these: " + Describe(job));
      }
      ++submitted_;
      for (const auto& [id, other] : state_.jobs) {
        if (other.sequence >= job.sequence)
          Break("sequences grow", Describe(job) + "\n  is not after " + Describe(other));
      }
    }
    if (state_.bodies.count(job.body) == 0)
      Break("bodies", "stored without its body: " + Describe(job));
    bool ended =
        IsFinal(job.state) && (found == state_.jobs.end() || !IsFinal(found->second.state));
    if (ended) ++ended_[static_cast<int>(job.state)];
    if (ended && job.cause == control::Cause::kTimeLimit) Reach(Place::kRanTooLong);
    if (ended && job.cause == control::Cause::kQueueTimeLimit) Reach(Place::kWaitedTooLong);
    if (ended && job.cause == control::Cause::kDependencyFailed) Reach(Place::kDependencyFailed);
    if (ended && job.cause == control::Cause::kKillsNodes) Reach(Place::kKillsNodes);
    if (ended && job.state == JobState::kFailed && job.cause == control::Cause::kCancelled)
      Break("stopping is no failure", Describe(job));
    if (job.retries > job.max_retries) Break("retries", "too many: " + Describe(job));
    if (job.member != nullptr && found == state_.jobs.end()) Reach(Place::kMemberStarted);
    if (job.array != nullptr && ended) Reach(Place::kArrayEnded);
    for (const NodeId& node : NodesWith(job)) {
      if (state_.nodes.count(node) == 0)
        Break("no job lost", "placed on a node that is not stored: " + Describe(job));
    }
    if (job.gang != nullptr && ended && job.state == JobState::kSucceeded)
      Reach(Place::kGangSucceeded);
    if (WindsUp(job) && job.gang->end.kind != control::AttemptEnd::Kind::kSucceeded)
      Reach(Place::kGangBrokenOff);
    if (ended && job.state == JobState::kSucceeded && job.array == nullptr &&
        job.artifacts->empty())
      Break("effects once", "no result: " + Describe(job));
    if (ended && job.state == JobState::kSucceeded && job.array == nullptr &&
        job.log_tail->text != LastLineOf({job.id, job.attempt}))
      Break("effects once", "the end of its log is not stored with its own: " + Describe(job));
    // Of a gang the result is there before the attempt is over.
    if (!job.artifacts->empty() &&
        (found == state_.jobs.end() || found->second.artifacts->empty())) {
      if (job.artifacts->size() != 1) Break("effects once", "not one result: " + Describe(job));
      const std::string& result = (*job.artifacts)[0].sha256;
      auto made = results_.find(result);
      if (made == results_.end()) Break("effects once", "a result nobody made: " + Describe(job));
      const Execution& by = made->second;
      if (by.sequence != job.sequence || by.attempt != AttemptId{job.id, job.attempt} ||
          by.node != job.node) {
        Break("effects once", "the result is of job sequence " + std::to_string(by.sequence) +
                                  " attempt " + std::to_string(by.attempt.attempt) + " on " +
                                  by.node.value + ":\n  " + Describe(job));
      }
      if (!used_results_.emplace(result, std::pair(job.sequence, job.attempt)).second)
        Break("effects once", "a result was recorded twice: " + Describe(job));
    }
  }
  if (auto* r = std::get_if<control::DeleteJob>(&record)) {
    Fold("delete " + r->id.value);
    auto found = state_.jobs.find(r->id);
    if (found == state_.jobs.end())
      Break("no job lost", "a job was deleted that is not stored: " + r->id.value);
    if (removing_.count(r->id) == 0)
      Break("no job lost", "deleted though nobody asked for it: " + Describe(found->second));
  }
  if (auto* r = std::get_if<control::PutNode>(&record)) Fold(Describe(r->node));
  if (auto* r = std::get_if<control::DeleteNode>(&record)) {
    Fold("forget " + r->id.value);
    if (state_.nodes.count(r->id) == 0)
      Break("replies are durable", "a node is forgotten that is not stored: " + r->id.value);
    Reach(Place::kNodeForgotten);
  }
  if (auto* r = std::get_if<control::PutCancellation>(&record)) {
    Fold(Describe(*r->cancellation));
    doomed_.insert(r->cancellation->jobs.begin(), r->cancellation->jobs.end());
  }
  if (auto* r = std::get_if<control::DeleteCancellation>(&record)) {
    Fold("cancelled " + std::to_string(r->number));
    if (state_.cancellations.count(r->number) == 0)
      Break("cancel is durable", "a cancellation is done that is not stored");
    CheckCancelled(state_.cancellations[r->number]);
    Reach(Place::kCancelledInParts);
  }
  if (auto* r = std::get_if<control::PutEvent>(&record)) {
    Fold(Describe(r->event));
    if (r->event.kind == control::EventKind::kNodeQuarantined) Reach(Place::kQuarantined);
    if (r->event.kind == control::EventKind::kMassLoss) Reach(Place::kMassLoss);
    if (r->event.kind == control::EventKind::kNodeReleased) Reach(Place::kReleased);
    if (r->event.kind == control::EventKind::kNodeUncordoned && r->event.message == "as planned")
      Reach(Place::kWindowEnded);
    if (!state_.events.empty() && state_.events.rbegin()->first >= r->event.number)
      Break("events in order", "stored after a later one: " + Describe(r->event));
    if (r->event.kind == control::EventKind::kStateChanged &&
        !control::IsLegal(r->event.from, r->event.to))
      Break("legal transitions", Describe(r->event));
  }
  Replay(record, &state_);
}

void Checker::CheckCancelled(const control::Cancellation& cancellation) const {
  const std::set<int64_t> meant(cancellation.jobs.begin(), cancellation.jobs.end());
  std::map<JobId, const Job*> jobs;
  for (const auto& [id, job] : state_.jobs) jobs[id] = &job;
  for (const Record& record : batch_) {
    if (auto* put = std::get_if<control::PutJob>(&record)) jobs[put->job.id] = &put->job;
  }
  for (const auto& [id, job] : jobs) {
    if (meant.count(job->sequence) > 0 && !IsFinal(job->state) && !job->cancel_requested)
      Break("cancel is durable", Describe(cancellation) + " is done, but not " + Describe(*job));
  }
}

// The attempt shall make room from now on.
void Checker::CheckPreemption(const Job& victim) const {
  const Job* job = nullptr;
  if (auto found = state_.jobs.find(*victim.preempted_for); found != state_.jobs.end())
    job = &found->second;
  for (const Record& record : batch_) {
    auto* put = std::get_if<control::PutJob>(&record);
    if (put != nullptr && put->job.id == *victim.preempted_for) job = &put->job;
  }
  // Who is within a quota takes from equals what they have borrowed.
  bool lower =
      job != nullptr && victim.priority < job->priority + (options_.quotas.empty() ? 0 : 1);
  if (!lower || job->state != JobState::kQueued || victim.state != JobState::kRunning ||
      victim.preemptions >= options_.preemption.most) {
    Break("preemption", Describe(victim) + "\n  makes room for\n  " +
                            (job != nullptr ? Describe(*job) : "nobody"));
  }
  if (job != nullptr && job->terms != nullptr && job->terms->nodes > 1)
    Reach(Place::kPreemptedForGang);
}

void Checker::CheckArrays() const {
  std::map<int64_t, std::array<int64_t, 8>> by_state;  // of the members of each array
  for (const auto& [id, job] : state_.jobs) {
    if (job.member == nullptr) continue;
    by_state[job.member->array_sequence][static_cast<size_t>(job.state)]++;
    auto array = state_.jobs.find(job.member->array);
    if (array == state_.jobs.end() || array->second.sequence != job.member->array_sequence)
      Break("arrays", "a member without its array: " + Describe(job));
  }
  for (const auto& [id, job] : state_.jobs) {
    if (job.array == nullptr) continue;
    const control::Array& array = *job.array;
    const auto& members = by_state[job.sequence];
    int64_t started = 0;
    for (int64_t n : members) started += n;
    bool right = started == array.started &&
                 members[static_cast<size_t>(JobState::kSucceeded)] == array.succeeded &&
                 members[static_cast<size_t>(JobState::kFailed)] == array.failed &&
                 members[static_cast<size_t>(JobState::kCancelled)] == array.cancelled;
    bool within = array.max_parallel == 0 || array.alive() <= array.max_parallel;
    bool stops = job.cancel_requested || job.state == JobState::kFailed;
    bool ends = !IsFinal(job.state) ||
                (array.alive() == 0 && (array.started == array.size || stops ||
                                        job.cause == control::Cause::kDependencyFailed));
    if (!right || !within || !ends) Break("arrays", "its members do not fit it: " + Describe(job));
  }
}

void Checker::CheckGangs() const {
  for (const auto& [id, job] : state_.jobs) {
    const std::vector<NodeId> nodes = NodesWith(job);
    const bool placed = job.array == nullptr &&
                        (job.state == JobState::kAssigned || job.state == JobState::kRunning);
    if (placed && nodes.empty()) Break("gangs", "none of its ranks is left: " + Describe(job));
    if (!placed) continue;
    const control::Terms terms = job.terms != nullptr ? *job.terms : control::Terms();
    const int32_t least = terms.min_nodes > 0 ? terms.min_nodes : terms.nodes;
    if (least == 1 && job.gang == nullptr) continue;
    std::set<NodeId> different;
    if (job.gang != nullptr) {
      for (const control::Gang::Rank& rank : job.gang->ranks) different.insert(rank.node);
    }
    const int64_t ranks = std::ssize(different);
    if (ranks < std::max(least, 2) || ranks > terms.nodes || std::ssize(job.gang->ranks) != ranks ||
        job.gang->ranks[0].node != job.node)
      Break("gangs", "it is not on as many nodes as it needs: " + Describe(job));
  }
}

// A share lies on one GPU, whole ones are all of each.
void Checker::CheckGpus(const Resources& held, const Job& job) {
  int64_t millis = 0;
  bool sound = held.gpu_millis >= kWholeGpu || held.gpus->size() == (held.AsksForGpu() ? 1 : 0);
  for (const GpuPart& part : *held.gpus) {
    sound &= part.memory_bytes >= held.gpu_memory_bytes &&
             (held.gpu_millis < kWholeGpu || part.millis == kWholeGpu);
    millis += part.millis;
  }
  if (!sound || millis != held.gpu_millis)
    Break("one GPU", "an attempt has not what it asked for: " + Describe(job));
}

void Checker::CheckSold() const {
  std::map<NodeId, Resources> sold;
  std::set<int64_t> used;
  for (const auto& [id, job] : state_.jobs) {
    used.insert(job.body);
    const std::vector<NodeId> nodes = NodesWith(job);
    for (const NodeId& node : nodes) {
      const Resources held = HeldOn(job, node);
      CheckGpus(held, job);
      Resources& given = sold[node];
      for (const GpuPart& part : *held.gpus) {
        for (const GpuPart& other : *given.gpus) {
          if (other.index == part.index) Reach(Place::kGpuShared);
        }
      }
      given += held;
    }
    if (nodes.empty() || job.terms == nullptr) continue;
    for (const control::Dependency& one : job.terms->after) {
      auto other = state_.jobs.find(one.job);
      // One that is not there, or was accepted later, was deleted: it had ended.
      if (other == state_.jobs.end() || other->second.sequence > job.sequence) continue;
      if (!IsFinal(other->second.state))
        Break("dependencies",
              Describe(job) + "\n  started before this ended:\n  " + Describe(other->second));
    }
  }
  for (const auto& [owner, quota] : options_.quotas) {
    if (quota.borrow) continue;
    Resources held;
    for (const auto& [id, job] : state_.jobs) {
      bool counts = owner == "user:" + job.user ||
                    (job.terms != nullptr && owner == "project:" + job.terms->project);
      if (counts) held += job.resources * std::ssize(NodesWith(job));
    }
    if ((quota.cpu_millis >= 0 && held.cpu_millis > quota.cpu_millis) ||
        (quota.gpu_millis >= 0 && held.gpu_millis > quota.gpu_millis))
      Break("quotas", owner + " holds " + ToString(held) + " of " + scheduler::ToString(quota));
  }
  for (const auto& [id, resources] : sold) {
    const Resources& capacity = state_.nodes.at(id).capacity;
    if (!capacity.Holds(resources)) {
      Break("never oversold", "the server has given " + ToString(resources) + " (" +
                                  ToString(*resources.gpus) + ") of node " + id.value +
                                  ", which has " + ToString(capacity) + " (" +
                                  ToString(*capacity.gpus) + ")");
    }
  }
  if (used.size() != state_.bodies.size()) Break("bodies", "a body is kept that no job has");
}

// ---- What leaves the server

void Checker::CheckView(const control::JobView& view) const {
  for (const scheduler::Reason& reason : view.reasons) {
    if (reason.code == "QUOTA_EXCEEDED") Reach(Place::kQuotaExceeded);
    if (reason.code == "QUOTA_BORROWING") Reach(Place::kQuotaBorrowing);
    if (reason.code == "NO_SINGLE_GPU") Reach(Place::kNoSingleGpu);
  }
  auto found = state_.jobs.find(view.job.id);
  if (found == state_.jobs.end() && view.job.member != nullptr) {  // it has not started
    auto array = state_.jobs.find(view.job.member->array);
    if (array != state_.jobs.end() && array->second.array != nullptr &&
        view.job.member->number >= array->second.array->started)
      return;
  }
  if (found == state_.jobs.end())
    Break("replies are durable",
          "a reply tells of a job that is not stored: " + Describe(view.job));
  const Job& job = found->second;
  auto key = [](const Job& j) {
    return std::tuple(j.sequence, j.state, j.attempt, j.node, *j.gpus, j.cancel_requested,
                      j.retries, j.cause, j.artifacts->size(),
                      j.gang != nullptr ? *j.gang : control::Gang());
  };
  if (key(view.job) != key(job)) {
    Break("replies are durable",
          "a reply says\n  " + Describe(view.job) + "\n  but stored is\n  " + Describe(job));
  }
}

void Checker::CheckNodes(const std::vector<control::NodeView>& views) const {
  std::map<NodeId, std::set<AttemptId>> placed;
  for (const auto& [id, job] : state_.jobs) {
    for (const NodeId& node : NodesWith(job)) placed[node].insert({id, job.attempt});
  }
  if (views.size() != state_.nodes.size()) {
    Break("replies are durable", "a list has " + std::to_string(views.size()) +
                                     " nodes, stored are " + std::to_string(state_.nodes.size()));
  }
  for (const control::NodeView& view : views) {
    auto found = state_.nodes.find(view.node.id);
    if (found == state_.nodes.end())
      Break("replies are durable", "a list has a node that is not stored: " + Describe(view.node));
    const control::Node& node = found->second;
    if (std::set(view.attempts.begin(), view.attempts.end()) != placed[node.id])
      Break("replies are durable", "of " + node.id.value + " not those attempts are told that " +
                                       "are stored: " + std::to_string(view.attempts.size()) +
                                       ", not " + std::to_string(placed[node.id].size()));
    auto key = [](const control::Node& n) {
      return std::tuple(n.capacity, n.cordoned, n.draining, n.quarantined);
    };
    if (key(view.node) != key(node)) {
      Break("replies are durable",
            "a reply says\n  " + Describe(view.node) + "\n  but stored is\n  " + Describe(node));
    }
  }
}

void Checker::Replied(const Command& command, const control::Reply& reply, bool alone,
                      bool unchanged) {
  Fold(reply.status.ToString());
  if (!reply.status.ok()) {
    if (reply.status.message().find("has sent a newer registration") != std::string::npos)
      Reach(Place::kStaleRegistration);
    bool absent = reply.status.code() == Code::kNotFound;
    if (auto* get = std::get_if<control::GetJob>(&command);
        get != nullptr && absent && alone && state_.jobs.count(get->job) > 0) {
      Break("replies are durable", "not found, but stored: " + get->job.value);
    }
    return;
  }
  if (auto* beat = std::get_if<control::Heartbeat>(&command)) answered_[beat->node] = clock_;
  if (auto* r = std::get_if<control::RegisterReply>(&reply.content)) {
    answered_[r->node] = clock_;
    if (std::get<control::RegisterNode>(command).active.size() > r->stop.size())
      Reach(Place::kAdopted);
  }
  if (auto* r = std::get_if<control::SubmitReply>(&reply.content)) {
    CheckView(*r->view);
    const auto& submit = std::get<control::SubmitJob>(command);
    const Job& job = state_.jobs.at(submit.job.id);
    bool same_terms = submit.job.terms == nullptr
                          ? job.terms == nullptr
                          : job.terms != nullptr && *submit.job.terms == *job.terms;
    if (state_.bodies.at(job.body)->config != submit.body->config || !same_terms)
      Break("no job lost", "submitted one job, accepted is another: " + Describe(job));
  }
  if (auto* r = std::get_if<control::JobReply>(&reply.content)) {
    CheckView(r->view);
    if (std::holds_alternative<control::CancelJob>(command) && !r->view.job.cancel_requested &&
        r->view.job.state != JobState::kCancelled)
      Break("cancel is durable", "acknowledged but not stored: " + Describe(r->view.job));
  }
  if (std::holds_alternative<control::PlanReply>(reply.content) && unchanged &&
      std::holds_alternative<control::ExplainJob>(command)) {
    CheckView(std::get<control::PlanReply>(reply.content).view);
  }
  if (auto* remove = std::get_if<control::RemoveJob>(&command); remove != nullptr && alone) {
    if (state_.jobs.count(remove->job) > 0)
      Break("replies are durable", "a job that was removed is stored: " + remove->job.value);
  }
  if (auto* forget = std::get_if<control::ForgetNode>(&command); forget != nullptr && alone) {
    if (state_.nodes.count(forget->node) > 0)
      Break("replies are durable", "a node that was forgotten is stored: " + forget->node.value);
  }
  if (auto* r = std::get_if<control::ListReply>(&reply.content); r != nullptr && unchanged) {
    for (const control::JobView& view : r->jobs) CheckView(view);
    const JobId& of = std::get<control::ListJobs>(command).filter.array_id;
    int64_t stored = std::count_if(state_.jobs.begin(), state_.jobs.end(), [&](const auto& one) {
      return (one.second.member != nullptr ? one.second.member->array : JobId()) == of;
    });
    if (r->total != stored)
      Break("replies are durable", "a list counts " + std::to_string(r->total) +
                                       " jobs, stored are " + std::to_string(stored));
  }
  if (auto* r = std::get_if<control::NodesReply>(&reply.content); r != nullptr && unchanged)
    CheckNodes(r->nodes);
  if (auto* r = std::get_if<control::ReportReply>(&reply.content)) {
    if (r->message.find("is not the current one") != std::string::npos) Reach(Place::kStaleReport);
    auto* report = std::get_if<control::ReportCompletion>(&command);
    if (report == nullptr || r->message != "recorded" || report->artifacts.empty()) return;
    auto used = used_results_.find(report->artifacts[0].sha256);
    if (used == used_results_.end() && removing_.count(report->attempt.job) == 0)
      Break("replies are durable",
            "a success was acknowledged but not stored: " + report->attempt.job.value);
  }
}

void Checker::Assigned(const control::AssignEffect& effect) {
  Fold("assign " + effect.attempt.job.value + "/" + std::to_string(effect.attempt.attempt));
  auto found = state_.jobs.find(effect.attempt.job);
  const Job* job = found == state_.jobs.end() ? nullptr : &found->second;
  // In a batch that was held back by a full disk the job may have gone on since.
  if (job == nullptr || job->sequence != effect.job.sequence ||
      job->attempt < effect.attempt.attempt ||
      (job->attempt == effect.attempt.attempt &&
       control::RankOn(*job, effect.node) != effect.rank)) {
    Break("replies are durable",
          "an attempt is handed out that is not stored: " + Describe(effect.job));
  }
  const control::Member* member = effect.job.member.get();
  if (doomed_.count(member != nullptr ? member->array_sequence : effect.job.sequence) > 0)
    Break("cancelled jobs do not start", "a cancellation had it: " + Describe(effect.job));
  if (state_.nodes.at(effect.node).cordoned)
    Break("cordoned nodes rest", "an attempt for one: " + Describe(effect.job));
  if (!assigned_.emplace(effect.job.sequence, effect.attempt.attempt, effect.node).second)
    Break("effects once", "an attempt was handed out twice: " + Describe(effect.job));
}

void Checker::Told(const control::Event& event) {
  if (event.number <= last_told_)
    Break("events in order", "told after a later one: " + Describe(event));
  last_told_ = event.number;
  if (event.kind == control::EventKind::kSubmitted) return;  // its job may be gone already
  auto found = state_.events.find(event.number);
  if (found == state_.events.end() || Describe(found->second) != Describe(event))
    Break("replies are durable", "told but not stored: " + Describe(event));
}

void Checker::CheckLost(const NodeId& node, bool has_lease) const {
  if (has_lease) Break("leases", node.value + " was given up, but has its lease still");
  auto answered = answered_.find(node);  // perhaps its registration was not
  if (answered != answered_.end() && clock_ - answered->second < options_.lease)
    Break("leases", node.value + " was given up before its lease was over");
}

void Checker::Counted(const control::Counters& counters) {
  int64_t by_state[8] = {};
  for (const auto& [id, job] : state_.jobs) ++by_state[static_cast<int>(job.state)];
  auto expect = [](const std::string& what, int64_t counted, int64_t expected, int64_t slack) {
    if (counted < expected || counted > expected + slack) {
      Break("counters", what + ": counted " + std::to_string(counted) + ", there are " +
                            std::to_string(expected));
    }
  };
  for (int s = 1; s <= 7; ++s)
    expect(JobStateName(JobState(s)), counters.jobs_by_state[s], by_state[s], 0);
  expect("nodes", counters.nodes_known, static_cast<int64_t>(state_.nodes.size()), 0);
  expect("submitted", counters.submitted, submitted_, unseen_);
  auto ended = [this](JobState state) { return ended_[static_cast<int>(state)]; };
  expect("succeeded", counters.succeeded, ended(JobState::kSucceeded), unseen_);
  expect("failed", counters.failed, ended(JobState::kFailed), unseen_);
  expect("cancelled", counters.cancelled, ended(JobState::kCancelled), unseen_);
  if (counters.nodes_online < 0 || counters.nodes_online > counters.nodes_known)
    Break("counters", "online: " + std::to_string(counters.nodes_online));
}

void Checker::CheckDeadline(MonotonicTime deadline, MonotonicTime latest) const {
  for (const auto& [id, job] : state_.jobs) {
    if (!NodesWith(job).empty() && deadline > latest)
      Break("a deadline is pending", "nothing would ever end " + Describe(job));
  }
}

// ---- Nodes

std::string Checker::Result(const Execution& execution) {
  std::string name = "result-" + std::to_string(results_.size());
  results_[name] = execution;
  return name;
}

void Checker::CheckExecutions(const std::vector<Execution>& executions,
                              const std::map<NodeId, Resources>& capacities, MonotonicTime now) {
  // What it takes at most to end a rank: it is told with the next heartbeat that is answered, or
  // its lease ends; registering again renews that once or twice before. Then comes the ladder.
  const Duration most = 3 * options_.lease + std::chrono::seconds(5);
  std::map<NodeId, Resources> used;
  for (const Execution& e : executions) {
    used[e.node] = used[e.node] + e.resources;
    auto found = state_.jobs.find(e.attempt.job);
    std::string what = e.attempt.job.value + "/" + std::to_string(e.attempt.attempt) +
                       " (sequence " + std::to_string(e.sequence) + ") executes on " + e.node.value;
    if (found == state_.jobs.end() || found->second.sequence != e.sequence)
      Break("one live attempt", what + ", but there is no such job");
    const Job& job = found->second;
    const std::vector<NodeId> nodes = NodesWith(job);
    if (job.attempt != e.attempt.attempt || std::count(nodes.begin(), nodes.end(), e.node) == 0)
      Break("one live attempt", what + ", but the job is not held for it:\n  " + Describe(job));
    if (e.resources != HeldOn(job, e.node)) {
      Break("one GPU", what + " with " + ToString(*e.resources.gpus) +
                           ", but holds something else:\n  " + Describe(job));
    }
    if (!WindsUp(job)) continue;
    auto [since, fresh] = winding_up_.try_emplace({job.sequence, job.attempt}, now);
    if (now - since->second > most)
      Break("gangs", what + ", though its attempt has long been to end:\n  " + Describe(job));
  }
  for (const auto& [id, resources] : used) {
    if (!capacities.at(id).Holds(resources)) {
      Break("never oversold", "runners use " + ToString(resources) + " (" +
                                  ToString(*resources.gpus) + ") of node " + id.value +
                                  ", which has " + ToString(capacities.at(id)));
    }
  }
}

bool Checker::AllEnded() const {
  for (const auto& [id, job] : state_.jobs) {
    if (!IsFinal(job.state)) return false;
  }
  return true;
}

}  // namespace cyxwiz::sim
