#include <algorithm>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

void Control::State::LetRest(NodeEntry& node, Duration time) {
  node.held_until = std::max(node.held_until, now.monotonic + time);
  timers.Arm(node.held_until, TimerKind::kHeld, node.node.id.value);
  UpdateFleet(node);
}

void Control::State::UpdateFleet(const NodeEntry& node) {
  fleet.Change(node.node.id, [&](scheduler::NodeState& state) {
    state.online = node.online;
    state.held = node.session.empty() || node.held_until > now.monotonic;
    state.cordoned = node.node.cordoned;
    state.quarantined = node.node.quarantined;
    if (!node.node.quarantined) state.probe = false;
  });
  reschedule = true;
}

void Control::State::PutIntoFleet(const NodeEntry& node) {
  const Node& n = node.node;
  scheduler::NodeState state;
  state.id = n.id;
  state.capacity = n.capacity;
  state.free = n.capacity - node.reserved;
  state.devices = n.devices;
  state.gangs = n.rendezvous_ports > 0;
  if (!n.labels.empty()) state.labels = std::make_shared<const Labels>(n.labels);
  Resources total = shares.total() + n.capacity;
  if (const scheduler::NodeState* earlier = fleet.Find(n.id)) {
    state.probe = earlier->probe;
    total -= earlier->capacity;
  }
  total.gpus = {};  // which ones means nothing across nodes
  shares.SetTotal(total);
  fleet.Put(std::move(state));
  UpdateFleet(node);
}

void Control::State::Apply(CordonNode& c) {
  NodeEntry* node = FindNode(c.node);
  if (node == nullptr) return Answer(c.reply_to, NoSuchNode(c.node));
  const bool cordoned = c.cordoned || c.drain;
  if (cordoned && c.until.ms > 0 && c.until <= std::max(c.from, now.unix)) {
    return Answer(c.reply_to,
                  InvalidArgument("until: expected a moment after its beginning, found " +
                                      std::to_string(c.until.seconds()),
                                  "in seconds since 1970, UTC"));
  }
  const bool planned = cordoned && c.from > now.unix;
  Node& n = node->node;
  const UnixTime from = planned ? c.from : UnixTime(), until = cordoned ? c.until : UnixTime();
  if (n.cordon_from != from || n.cordon_until != until) MarkChanged(*node);
  n.cordon_from = from;
  n.cordon_until = until;
  n.drain_then = planned && c.drain;
  if (planned) {
    n.cordon_reason = c.reason;
    Tell(*node, EventKind::kNodeCordonPlanned, c.reason);
  } else {
    SetCordon(*node, cordoned, c.drain, c.reason);
  }
  FollowCordon(*node);
  if (!cordoned) ReleaseNode(*node, "by an operator");
  Answer(c.reply_to, OkStatus(), NodeReply{View(*node)});
}

void Control::State::SetCordon(NodeEntry& node, bool cordoned, bool drain,
                               const std::string& reason) {
  if (!cordoned) node.node.cordon_reason.clear();
  if (cordoned == node.node.cordoned && drain == node.node.draining) return;
  node.node.cordoned = cordoned;
  node.node.draining = drain;
  node.node.cordon_reason = cordoned ? reason : "";
  MarkChanged(node);
  Tell(node, cordoned ? EventKind::kNodeCordoned : EventKind::kNodeUncordoned,
       drain ? "draining" + (reason.empty() ? "" : ": " + reason) : reason);
  UpdateFleet(node);
  if (!node.online) ArmForgetNode(node);
  if (!drain) return;
  for (const JobId& id : node.jobs) SendStop(*jobs.at(id), "the node is drained");
}

void Control::State::FollowCordon(NodeEntry& node) {
  // The calendar may be set meanwhile, so it is looked at again.
  constexpr Duration kLookAgain = std::chrono::minutes(10);
  Node& n = node.node;
  timers.Disarm(node.cordon_at, TimerKind::kCordon, n.id.value);
  if (n.cordon_from.ms > 0 && n.cordon_from <= now.unix) {
    n.cordon_from = {};
    MarkChanged(node);
    SetCordon(node, true, n.drain_then, std::string(n.cordon_reason));
  }
  if (n.cordon_from.ms == 0 && n.cordon_until.ms > 0 && n.cordon_until <= now.unix) {
    n.cordon_until = {};
    MarkChanged(node);
    SetCordon(node, false, false, "as planned");
  }
  const UnixTime next = n.cordon_from.ms > 0 ? n.cordon_from : n.cordon_until;
  if (next.ms == 0) return;
  Duration wait = std::min<Duration>(std::chrono::milliseconds(next.ms - now.unix.ms), kLookAgain);
  node.cordon_at = now.monotonic + wait;
  timers.Arm(node.cordon_at, TimerKind::kCordon, n.id.value);
}

void Control::State::Apply(ForgetNode& c) {
  NodeEntry* node = FindNode(c.node);
  if (node == nullptr) return Answer(c.reply_to, NoSuchNode(c.node));
  if (node->online) {
    return Answer(c.reply_to, FailedPrecondition("node '" + c.node.value + "' is online",
                                                 "stop it first; it is offline when its lease "
                                                 "has ended"));
  }
  if (!node->jobs.empty()) {
    return Answer(c.reply_to,
                  FailedPrecondition("node '" + c.node.value + "' still holds " +
                                         std::to_string(node->jobs.size()) +
                                         (node->jobs.size() == 1 ? " attempt" : " attempts"),
                                     "they are lost when its lease has ended"));
  }
  Forget(*node, "by an operator");
  Answer(c.reply_to, OkStatus(), RemoveReply{});
}

void Control::State::ArmForgetNode(NodeEntry& node) {
  const std::string& id = node.node.id.value;
  timers.Disarm(std::exchange(node.forget_at, MonotonicTime::Never()), TimerKind::kForgetNode, id);
  const Duration whole = options.forget_nodes_after;
  if (whole <= Duration::zero()) return;
  node.forget_at = now.monotonic + std::clamp(whole - Since(node.node.lost_at), Duration(1), whole);
  timers.Arm(node.forget_at, TimerKind::kForgetNode, id);
}

void Control::State::ForgetLost(const Timer& timer) {
  NodeEntry* node = FindNode(NodeId{timer.id});
  if (node == nullptr || node->forget_at != timer.at) return;
  if (node->online || node->node.cordoned || !node->jobs.empty()) return;
  const auto days =
      std::chrono::duration_cast<std::chrono::hours>(options.forget_nodes_after).count() / 24;
  Forget(*node, "it was offline for " + std::to_string(days) + (days == 1 ? " day" : " days"));
}

void Control::State::Forget(NodeEntry& node, const std::string& why) {
  const NodeId id = node.node.id;
  Tell(node, EventKind::kNodeForgotten, why);
  output->effects.push_back(CloseEffect{id, node.node.endpoint});
  removals.push_back(DeleteNode{id});
  timers.Disarm(node.forget_at, TimerKind::kForgetNode, id.value);
  timers.Disarm(node.lease_end, TimerKind::kLease, id.value);
  timers.Disarm(node.cordon_at, TimerKind::kCordon, id.value);
  counters.nodes_known--;
  if (node.changed) std::erase(changed_nodes, &node);
  Resources total = shares.total() - fleet.Find(id)->capacity;
  total.gpus = {};
  shares.SetTotal(total);
  fleet.Remove(id);
  nodes.erase(id);
  reschedule = true;
}

}  // namespace cyxwiz::control
