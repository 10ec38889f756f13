#include <algorithm>

#include "control/state.h"

namespace cyxwiz::control {

void Control::State::Load(Snapshot snapshot) {
  next_sequence = std::max(snapshot.last_event, snapshot.last_sequence) + 1;
  first_event = snapshot.first_event;
  int64_t last_body = snapshot.last_body;
  std::unordered_map<int64_t, std::shared_ptr<const JobBody>> stored_bodies;
  for (PutBody& stored : snapshot.bodies) {
    last_body = std::max(last_body, stored.number);
    stored_bodies[stored.number] = std::move(stored.body);
  }
  bodies.SetNext(last_body + 1);
  for (const Snapshot::Ended& ended : snapshot.ended) {
    if (!ended.members) ended_counts.Add(ended.user, ended.type, ended.state, ended.jobs);
    counters.jobs_by_state[static_cast<int>(ended.state)] += ended.jobs;
  }
  for (Node& node : snapshot.nodes) {
    NodeEntry& entry = nodes[node.id];
    entry.node = std::move(node);
    if (entry.node.quarantined) ArmProbe(entry);
    counters.nodes_known++;
  }
  for (const RemovedJob& job : snapshot.removed) {
    next_sequence = std::max(next_sequence, job.sequence + 1);
    removed.Load(job);
  }
  std::vector<JobEntry*> unfinished;
  for (Job& job : snapshot.jobs) {
    auto loaded = std::make_unique<JobEntry>();
    loaded->job = std::move(job);
    loaded->stored = true;
    auto found = stored_bodies.find(loaded->job.body);
    Require(found != stored_bodies.end(), "a stored job without its body");
    loaded->body = bodies.UseStored(found->first, found->second).body;
    JobEntry* entry = &Insert(std::move(loaded));
    Job& j = entry->job;
    next_sequence = std::max(next_sequence, j.sequence + 1);
    counters.jobs_by_state[static_cast<int>(j.state)]++;
    checkpoint_files.Add(*j.checkpoint);
    if (j.array == nullptr && (j.state == JobState::kAssigned || j.state == JobState::kRunning)) {
      entry->running_since = entry->saved_at = now.monotonic;
      entry->adopted = true;
      BeginRanks(*entry, {true, j.state == JobState::kRunning, now.monotonic});
      for (const NodeId& id : NodesWith(j)) {
        NodeEntry* node = FindNode(id);
        Require(node != nullptr, "a stored attempt without its node");
        if (j.gang == nullptr && j.resources.AsksForGpu() && j.gpus->empty()) {
          // Assigned by a release that left the choice to the node.
          const Resources& all = node->node.capacity;
          j.gpus = Placed(all - node->reserved, all, j.resources).gpus;
        }
        node->reserved += HeldOn(j, id);
        shares.Take(j.user, ProjectOf(j), j.resources, now.monotonic);
        quotas.Take(LineOf(j), j.resources);
        node->jobs.insert(j.id);
        CountPlaced(j, +1);
        if (node->lease_end == MonotonicTime::Never()) {
          node->lease_end = now.monotonic + options.lease;
          timers.Arm(node->lease_end, TimerKind::kLease, node->node.id.value);
        }
      }
    }
    if (IsFinal(j.state)) {
      ArmForget(*entry, options.keep_ended);
    } else {
      unfinished.push_back(entry);
    }
  }
  for (auto& [id, node] : nodes) {
    PutIntoFleet(node);
    if (node.node.lost_at.ms == 0) node.node.lost_at = now.unix;
    ArmForgetNode(node);
    const Node& n = node.node;
    if (n.cordon_from.ms == 0 && n.cordon_until.ms == 0) continue;
    node.cordon_at = now.monotonic;
    timers.Arm(node.cordon_at, TimerKind::kCordon, id.value);
  }
  // What users had before, from what is known of their jobs.
  auto remember = [this](const PastUse& use) {
    const Duration from = Since(use.started_at), until = Since(use.ended_at);
    if (from > until && until >= Duration::zero())
      shares.Remember(use.user, use.project, use.resources, from, until, now.monotonic);
  };
  for (const auto& [id, entry] : jobs) {
    const Job& j = entry->job;
    if (j.started_at.ms == 0 || j.array != nullptr) continue;
    remember({j.user, ProjectOf(j), j.resources * RanksOf(j), j.started_at,
              IsFinal(j.state) ? j.ended_at : now.unix});
  }
  for (const PastUse& use : snapshot.past) remember(use);
  LoadCancellations(std::move(snapshot.cancellations));
  for (JobEntry* entry : unfinished) {
    StartWaiting(*entry);
    ArmLimits(*entry);
    if (entry->job.state == JobState::kQueued) EnterLine(*entry);
  }
  LoadClaims();
}

}  // namespace cyxwiz::control
