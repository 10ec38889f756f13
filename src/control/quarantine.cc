#include <iterator>

#include "control/backoff.h"
#include "control/state.h"

namespace cyxwiz::control {

bool MayBeTheNodes(Cause cause) {
  return cause == Cause::kRunnerCrashed || cause == Cause::kDataUnavailable ||
         cause == Cause::kInternal || cause == Cause::kOutOfGpuMemory;
}

void Control::State::Suspect(NodeEntry& node, const JobEntry& entry, const std::string& what) {
  if (node.node.quarantined) {  // the probe has failed
    node.node.failed_probes++;
    MarkChanged(node);
    return;
  }
  node.failures[entry.job.body] = "'" + entry.job.id.value + "' (" + what + ")";
  if (std::ssize(node.failures) < options.quarantine_failures) return;
  int64_t in_use = 0, resting = 1;  // this one
  for (const auto& [id, one] : nodes) {
    if (!one.online || one.node.cordoned) continue;
    in_use++;
    resting += one.node.quarantined ? 1 : 0;
  }
  if (2 * resting > in_use) return;
  std::string reason =
      std::to_string(node.failures.size()) + " unlike jobs failed one after the other:";
  for (const auto& [body, text] : node.failures) reason += " " + text;
  node.failures.clear();
  node.node.quarantined = true;
  node.node.quarantine_reason = reason;
  node.node.failed_probes = 0;
  MarkChanged(node);
  Tell(node, EventKind::kNodeQuarantined, reason);
  UpdateFleet(node);
  ArmProbe(node);
}

void Control::State::ArmProbe(const NodeEntry& node) {
  Duration wait = Doubled(options.probe_wait, node.node.failed_probes, options.probe_wait_most);
  timers.Arm(now.monotonic + wait, TimerKind::kProbe, node.node.id.value);
}

void Control::State::LetProbe(const Timer& timer) {
  NodeEntry* node = FindNode(NodeId{timer.id});
  if (node == nullptr || !node->node.quarantined) return;
  fleet.Change(node->node.id, [](scheduler::NodeState& state) { state.probe = true; });
  reschedule = true;
}

void Control::State::ReleaseNode(NodeEntry& node, const std::string& why) {
  node.failures.clear();
  if (!node.node.quarantined) return;
  node.node.quarantined = false;
  node.node.quarantine_reason.clear();
  node.node.failed_probes = 0;
  MarkChanged(node);
  Tell(node, EventKind::kNodeReleased, why);
  UpdateFleet(node);
}

}  // namespace cyxwiz::control
