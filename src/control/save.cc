// The state as bytes, and back. What the rest follows from is written: the jobs, but not the lists
// that find them.
#include <algorithm>
#include <utility>

#include "control/fields.h"
#include "control/state.h"

namespace cyxwiz::scheduler {

static auto Fields(NodeState& n) {
  return std::tie(n.id, n.online, n.held, n.cordoned, n.quarantined, n.probe, n.capacity, n.free,
                  n.devices, n.labels, n.claims, n.kept, n.gangs);
}
static auto Fields(Hold::Place& p) { return std::tie(p.node, p.spare, p.guests); }
static auto Fields(Hold& h) { return std::tie(h.line, h.start, h.expected, h.places); }
static auto Fields(Claim::Place& p) { return std::tie(p.node, p.victims); }
static auto Fields(Claim& c) { return std::tie(c.job, c.line, c.places); }
static_assert(kNamesAllMembers<NodeState> && kNamesAllMembers<Hold> &&
              kNamesAllMembers<Hold::Place> && kNamesAllMembers<Claim> &&
              kNamesAllMembers<Claim::Place>);

}  // namespace cyxwiz::scheduler

namespace cyxwiz::control {

static auto Fields(RankEntry& r) { return std::tie(r.accepted, r.started, r.last_seen); }
static auto Fields(Average& a) { return std::tie(a.mean, a.count); }
static auto Fields(BodyEntry& b) { return std::tie(b.number, b.body, b.jobs, b.stored, b.seconds); }
static auto Fields(NodeEntry& n) {
  return std::tuple_cat(
      std::tie(n.node, n.online, n.changed), std::make_tuple(SessionField{&n.session}),
      std::tie(n.boot, n.registration, n.last_heartbeat, n.lease_end, n.held_until, n.cordon_at,
               n.forget_at, n.refusals, n.reserved, n.jobs, n.failures));
}
// Without its body, which Bodies has.
static auto Fields(JobEntry& j) {
  return std::tie(j.job, j.stored, j.changed, j.progressed, j.touched, j.node_faults, j.rank,
                  j.other_ranks, j.adopted, j.running_since, j.saved_at, j.wake, j.run_end,
                  j.queue_end, j.deadline, j.waits_for, j.doomed, j.member_terms, j.forget_at);
}
static auto Fields(LineJobs& l) { return std::tie(l.jobs, l.arrays, l.fresh, l.preempts_from); }
static auto Fields(Counters& c) {
  return std::tie(c.jobs_by_state, c.nodes_online, c.nodes_known, c.submitted, c.succeeded,
                  c.failed, c.cancelled, c.attempts_started, c.attempts_lost, c.mass_loss);
}
static auto Fields(CancelJobsReply& r) { return std::tie(r.cancelled, r.cancelling); }
static auto Fields(CancellationEntry& c) {
  return std::tie(c.cancellation, c.done, c.stored, c.reply_to, c.counts);
}
static auto Fields(MassLoss& m) { return std::tie(m.lost, m.of, m.together_until, m.until); }
static_assert(kNamesAllMembers<RankEntry> && kNamesAllMembers<Average> &&
              kNamesAllMembers<BodyEntry> && kNamesAllMembers<NodeEntry> &&
              kNamesAllMembers<LineJobs> && kNamesAllMembers<MassLoss> &&
              kNamesAllMembers<CancelJobsReply> && kNamesAllMembers<CancellationEntry>);
static_assert(std::tuple_size_v<decltype(Fields(std::declval<JobEntry&>()))> + 1 ==
              binary::MemberCount<JobEntry>());

// Of what belongs to the batch in work only `reschedule` is set between two: by Load.
auto Control::State::Fields() {
  return std::tie(options, now, nodes, bodies, removed, ended_counts, removed_lately, lines, fleet,
                  shares, quotas, placed_by_class, overtaken, next_hold, mass_loss, held_back,
                  dependents, waking, cancellations, left_at_once, goes_on, timers, unflushed,
                  flush_armed, reschedule, next_sequence, first_event, checkpoint_files,
                  epoch_seconds, counters);
}

void Control::State::Save(std::string* out) {
  std::vector<const JobEntry*> entries;
  entries.reserve(jobs.size());
  for (const auto& [sequence, entry] : by_sequence) entries.push_back(entry);
  std::sort(entries.begin(), entries.end(),
            [](const JobEntry* a, const JobEntry* b) { return a->job.sequence < b->job.sequence; });
  BinaryWriter writer(out);
  writer.Write(*this);
  writer.Unsigned(entries.size());
  for (const JobEntry* entry : entries) writer.Write(true, *entry);
}

bool Control::State::Restore(std::string_view text) {
  BinaryReader reader(text);
  reader.Read(*this);
  auto entries = reader.Take<std::vector<std::unique_ptr<JobEntry>>>();
  return reader.done() && fleet.Rebuild() && RestoreJobs(std::move(entries)) && IsWhole();
}

bool Control::State::RestoreJobs(std::vector<std::unique_ptr<JobEntry>> entries) {
  for (std::unique_ptr<JobEntry>& entry : entries) {
    const Job& job = entry->job;
    const bool known = job.state >= JobState::kQueued && job.state <= JobState::kCancelled;
    if (!known || Find(job.id) != nullptr || by_sequence.count(job.sequence) > 0 ||
        !bodies.Has(job.body) || (job.gang != nullptr && job.gang->ranks.empty())) {
      return false;
    }
    entry->body = bodies.at(job.body).body;
    if (entry->body == nullptr) return false;
    Insert(std::move(entry));
  }
  return true;
}

bool Control::State::IsWhole() const {
  auto in_memory = [this](int64_t sequence) { return by_sequence.count(sequence) > 0; };
  auto all_in_memory = [&](const std::set<int64_t>& sequences) {
    return std::all_of(sequences.begin(), sequences.end(), in_memory);
  };
  for (const auto& [id, entry] : jobs) {
    const Job& job = entry->job;
    for (const NodeId& node : NodesWith(job)) {
      auto found = nodes.find(node);
      if (found == nodes.end() || found->second.jobs.count(id) == 0) return false;
    }
    if (job.member == nullptr || IsFinal(job.state)) continue;
    auto array = jobs.find(job.member->array);
    if (array == jobs.end() || array->second->job.array == nullptr) return false;
  }
  for (const auto& [id, node] : nodes) {
    if (id != node.node.id || fleet.Find(id) == nullptr) return false;
    for (const JobId& job : node.jobs) {
      if (jobs.count(job) == 0) return false;
    }
  }
  for (const auto& [key, line] : lines) {
    if (line.jobs.empty() || !all_in_memory(line.jobs) || !all_in_memory(line.arrays)) return false;
  }
  for (const auto& [id, waiting] : dependents) {
    for (const auto& [sequence, any_end] : waiting) {
      auto found = by_sequence.find(sequence);
      if (found == by_sequence.end() || found->second->job.terms == nullptr) return false;
    }
  }
  for (const auto& [number, entry] : cancellations) {
    if (entry.cancellation == nullptr || entry.done > entry.cancellation->jobs.size()) return false;
  }
  return all_in_memory(unflushed) && all_in_memory(held_back);
}

void Control::Save(std::string* state) const { state_->Save(state); }

Result<std::unique_ptr<Control>> Control::Restore(std::string_view state, Archive* archive) {
  auto control = std::make_unique<Control>(Options{.archive = archive});
  if (!control->state_->Restore(state)) {
    return DataLoss(
        "the state of the scheduler that is kept there is damaged, "
        "or was written by "
        "another version");
  }
  return control;
}

}  // namespace cyxwiz::control
