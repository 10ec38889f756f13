#include <algorithm>
#include <utility>

#include "control/state.h"

namespace cyxwiz::control {

void Control::State::RenewLease(NodeEntry& node) {
  timers.Disarm(node.lease_end, TimerKind::kLease, node.node.id.value);
  node.lease_end = now.monotonic + options.lease;
  timers.Arm(node.lease_end, TimerKind::kLease, node.node.id.value);
  node.last_heartbeat = now.unix;
  if (!node.online) {
    timers.Disarm(std::exchange(node.forget_at, MonotonicTime::Never()), TimerKind::kForgetNode,
                  node.node.id.value);
    Tell(node, EventKind::kNodeRegistered, node.node.endpoint);
    node.online = true;
    counters.nodes_online++;
    UpdateFleet(node);
  }
  FollowMassLoss();
}

void Control::State::EndLease(const Timer& timer) {
  NodeEntry* node = FindNode(NodeId{timer.id});
  if (node == nullptr || node->lease_end != timer.at) return;
  LookForMassLoss(*node);
  const bool together = mass_loss.lasts() && node->lease_end <= mass_loss.together_until;
  if (node->online) {
    counters.nodes_online--;
    Tell(*node, EventKind::kNodeLost, "no heartbeat within its lease");
  }
  node->online = false;
  node->lease_end = MonotonicTime::Never();
  if (node->node.lost_at.ms == 0) node->node.lost_at = now.unix;
  MarkChanged(*node);
  ArmForgetNode(*node);
  EndSession(*node);
  std::vector<JobId> here(node->jobs.begin(), node->jobs.end());
  for (const JobId& id : here)
    LoseWithNode(*jobs.at(id), *node, "node " + timer.id + " was lost", together);
}

void Control::State::EndSession(NodeEntry& node) {
  node.session.clear();
  UpdateFleet(node);
}

HeartbeatReply Control::State::Claim(NodeEntry& node, const std::vector<AttemptId>& active) {
  HeartbeatReply reply;
  for (const AttemptId& id : active) {
    JobEntry* entry = Find(id.job);
    bool current = entry != nullptr && node.jobs.count(id.job) > 0 &&
                   (id.attempt == 0 || id.attempt == entry->job.attempt);
    if (!current) {
      reply.stop.push_back(id);
      continue;
    }
    Accept(*entry, node);
    if (!IsToStop(*entry)) continue;
    (IsToYield(*entry) ? reply.yield : reply.stop).push_back({id.job, entry->job.attempt});
  }
  return reply;
}

void Control::State::Apply(RegisterNode& c) {
  if (FindNode(c.node.id) == nullptr && std::ssize(nodes) >= options.max_nodes) {
    return Answer(c.reply_to, ResourceExhausted(
                                  "the server knows " + std::to_string(nodes.size()) +
                                      " nodes, as many as it takes",
                                  "'cyxwiz nodes forget ID' forgets one that will not come back"));
  }
  auto [found, fresh] = nodes.try_emplace(c.node.id);
  NodeEntry& node = found->second;
  if (c.number != 0 && c.boot == node.boot && c.number <= node.registration) {
    return Answer(c.reply_to,
                  FailedPrecondition(
                      "node '" + c.node.id.value + "' has sent a newer registration than this one",
                      "register again"));
  }
  node.boot = std::move(c.boot);
  node.registration = c.number;
  if (!fresh) {  // what the server alone knows
    if (c.node.endpoint != node.node.endpoint)
      output->effects.push_back(CloseEffect{{}, node.node.endpoint});
    c.node.jobs_completed = node.node.jobs_completed;
    c.node.cordoned = node.node.cordoned;
    c.node.draining = node.node.draining;
    c.node.cordon_reason = std::move(node.node.cordon_reason);
    c.node.cordon_from = node.node.cordon_from;
    c.node.cordon_until = node.node.cordon_until;
    c.node.drain_then = node.node.drain_then;
    c.node.quarantined = node.node.quarantined;
    c.node.quarantine_reason = std::move(node.node.quarantine_reason);
    c.node.failed_probes = node.node.failed_probes;
  }
  node.node = std::move(c.node);
  node.node.registered_at = now.unix;
  node.session = std::move(c.session);
  node.held_until = {};
  if (fresh) counters.nodes_known++;
  PutIntoFleet(node);
  RenewLease(node);
  MarkChanged(node);
  HeartbeatReply claimed = Claim(node, c.active);
  std::vector<AttemptId> stop = std::move(claimed.stop);
  stop.insert(stop.end(), claimed.yield.begin(), claimed.yield.end());
  // What the node does not run any more is lost: it has been restarted, or an AssignJob did not
  // reach it, and now it would not take that any more.
  std::vector<JobId> here(node.jobs.begin(), node.jobs.end());
  for (const JobId& id : here) {
    JobEntry& entry = *jobs.at(id);
    bool runs = std::any_of(c.active.begin(), c.active.end(), [&](const AttemptId& a) {
      return a.job == id && (a.attempt == 0 || a.attempt == entry.job.attempt);
    });
    if (runs) continue;
    if (RankEntryOn(entry, node.node.id).accepted) {
      LoseWithNode(entry, node, "node " + node.node.id.value + " was restarted");
    } else {
      EndRank(entry, node,
              Lost(Cause::kNodeLost, "node " + node.node.id.value + " did not take it"));
    }
  }
  Answer(c.reply_to, OkStatus(), RegisterReply{node.node.id, std::move(stop)});
}

Status Control::State::CheckSession(const Heartbeat& c) {
  const NodeEntry* node = FindNode(c.node);
  // Without a session the node registered with an earlier run of this server.
  if (node == nullptr || node->session.empty())
    return NotFound("node '" + c.node.value + "' is not registered", "register again");
  if (!c.session.empty() && c.session != node->session) {
    return Unauthenticated("the session of node '" + c.node.value + "' is not the current one",
                           "register again");
  }
  return OkStatus();
}

void Control::State::Apply(Heartbeat& c) {
  if (Status current = CheckSession(c); !current.ok())
    return Answer(c.reply_to, std::move(current));
  NodeEntry* node = FindNode(c.node);
  RenewLease(*node);
  if (!c.info.empty()) node->node.info = std::move(c.info);
  if (c.data) fleet.SetData(c.node, std::move(*c.data));
  HeartbeatReply reply = Claim(*node, c.active);
  for (JobId& id : c.kept) {
    const JobEntry* entry = Find(id);
    if (entry == nullptr || IsFinal(entry->job.state)) reply.drop.push_back(std::move(id));
  }
  // An attempt that the node accepted and has not listed for a whole lease is gone: it was
  // stopped on the node's side while the two were cut off from each other.
  std::vector<JobId> here(node->jobs.begin(), node->jobs.end());
  for (const JobId& id : here) {
    JobEntry& entry = *jobs.at(id);
    const RankEntry& rank = RankEntryOn(entry, c.node);
    if (rank.accepted && now.monotonic - rank.last_seen > options.lease) {
      EndRank(entry, *node, Lost(Cause::kNodeLost, "node " + c.node.value + " no longer runs it"));
    }
  }
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::Apply(AssignOutcome& c) {
  JobEntry* entry = Current(c.attempt, c.node);
  if (entry == nullptr || entry->job.state != JobState::kAssigned) return;
  NodeEntry& node = nodes.at(c.node);
  if (c.kind == AssignOutcome::Kind::kAccepted) {
    Accept(*entry, node);
    if (IsToStop(*entry)) SendStop(*entry, StopMessage(*entry));
    return;
  }
  // Its node was heard to run it meanwhile.
  if (RankEntryOn(*entry, c.node).accepted) return;
  if (c.kind == AssignOutcome::Kind::kUnreachable) {
    return DoubtAssignment(*entry, node, "could not be reached: " + c.message);
  }
  LetRest(node, Backoff(++node.refusals));
  EndRank(*entry, node,
          Lost(Cause::kNodeRejected, "node " + c.node.value + " refused it: " + c.message));
}

void Control::State::DoubtAssignment(JobEntry& entry, NodeEntry& node, const std::string& what) {
  EndSession(node);
  entry.job.message = "node " + node.node.id.value + " " + what;
  MarkChanged(entry);
}

void Control::State::EndAssign(const Timer& timer) {
  JobEntry* entry = Find(JobId{timer.id});
  if (entry == nullptr || entry->job.state != JobState::kAssigned) return;
  for (const NodeId& id : NodesWith(entry->job)) {
    const RankEntry& rank = RankEntryOn(*entry, id);
    if (!rank.accepted && rank.last_seen + options.assign_timeout == timer.at)
      DoubtAssignment(*entry, nodes.at(id), "did not answer");
  }
}

}  // namespace cyxwiz::control
