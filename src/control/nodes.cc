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
  if (!n.labels.empty()) state.labels = std::make_shared<const Labels>(n.labels);
  Resources total = shares.total() + n.capacity;
  if (const scheduler::NodeState* earlier = fleet.Find(n.id)) {
    state.probe = earlier->probe;
    total -= earlier->capacity;
  }
  shares.SetTotal(total);
  fleet.Put(std::move(state));
  UpdateFleet(node);
}

void Control::State::Apply(CordonNode& c) {
  NodeEntry* node = FindNode(c.node);
  if (node == nullptr) return Answer(c.reply_to, NoSuchNode(c.node));
  bool cordoned = c.cordoned || c.drain;
  if (cordoned != node->node.cordoned || c.drain != node->node.draining) {
    node->node.cordoned = cordoned;
    node->node.draining = c.drain;
    node->node.cordon_reason = cordoned ? c.reason : "";
    MarkChanged(*node);
    Tell(*node, cordoned ? EventKind::kNodeCordoned : EventKind::kNodeUncordoned,
         c.drain ? "draining" + (c.reason.empty() ? "" : ": " + c.reason) : c.reason);
    UpdateFleet(*node);
    if (c.drain) {
      for (const JobId& id : node->jobs) SendStop(*jobs.at(id), "the node is drained");
    }
  }
  if (!cordoned) ReleaseNode(*node, "by an operator");
  Answer(c.reply_to, OkStatus(), NodeReply{View(*node)});
}

}  // namespace cyxwiz::control
