#include <algorithm>

#include "control/state.h"

namespace cyxwiz::control {

void Control::State::Load(Snapshot snapshot) {
  next_sequence = snapshot.last_event + 1;
  first_event = snapshot.first_event;
  std::unordered_map<int64_t, BodyEntry*> by_number;
  for (PutBody& stored : snapshot.bodies) {
    std::string key = stored.body->sha256;
    BodyEntry& body = bodies[key];
    body = {stored.number, std::move(stored.body), 0, true, {}};
    by_number[stored.number] = &body;
    next_body = std::max(next_body, stored.number + 1);
  }
  for (Node& node : snapshot.nodes) {
    NodeEntry& entry = nodes[node.id];
    entry.node = std::move(node);
    if (entry.node.quarantined) {
      nodes_quarantined++;
      ArmProbe(entry);
    }
    counters.nodes_known++;
  }
  for (const RemovedJob& job : snapshot.removed) {
    next_sequence = std::max(next_sequence, job.sequence + 1);
    removed.Load(job);
  }
  std::vector<JobEntry*> unfinished;
  for (Job& job : snapshot.jobs) {
    auto entry = std::make_unique<JobEntry>();
    entry->job = std::move(job);
    entry->stored = true;
    Job& j = entry->job;
    auto found = by_number.find(j.body);
    Require(found != by_number.end(), "a stored job without its body");
    BodyEntry& body = *found->second;
    body.jobs++;
    entry->body = body.body;
    next_sequence = std::max(next_sequence, j.sequence + 1);
    by_sequence[j.sequence] = entry.get();
    index.Insert(j);
    counters.jobs_by_state[static_cast<int>(j.state)]++;
    checkpoint_files.Add(j.checkpoint);
    if (j.state == JobState::kAssigned || j.state == JobState::kRunning) {
      NodeEntry* node = FindNode(j.node);
      Require(node != nullptr, "a stored attempt without its node");
      node->reserved += j.resources;
      shares.Take(j.user, j.resources, now.monotonic);
      quotas.Take(LineOf(j), j.resources);
      node->jobs.insert(j.id);
      CountPlaced(j, +1);
      entry->running_since = entry->saved_at = now.monotonic;
      entry->accepted = entry->adopted = true;
      entry->last_seen = now.monotonic;
      if (node->lease_end == MonotonicTime::Never()) {
        node->lease_end = now.monotonic + options.lease;
        timers.Arm(node->lease_end, TimerKind::kLease, node->node.id.value);
      }
    }
    if (!IsFinal(j.state)) unfinished.push_back(entry.get());
    jobs.emplace(j.id, std::move(entry));
  }
  for (const auto& [id, node] : nodes) PutIntoFleet(node);
  // What users had before, from what is known of their jobs.
  for (const auto& [id, entry] : jobs) {
    const Job& j = entry->job;
    if (j.started_at.ms == 0) continue;
    Duration until = IsFinal(j.state) ? Since(j.ended_at) : Duration::zero();
    if (Duration from = Since(j.started_at); from > until && until >= Duration::zero())
      shares.Remember(j.user, j.resources, from, until, now.monotonic);
  }
  for (JobEntry* entry : unfinished) {
    StartWaiting(*entry);
    ArmLimits(*entry);
    if (entry->job.state == JobState::kQueued) EnterLine(*entry);
  }
  LoadClaims();
}

}  // namespace cyxwiz::control
