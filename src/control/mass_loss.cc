// Many nodes that go silent at once tell of one fault between them and this server rather than of
// many of their own. To begin all that ran there anew on the few that are left would help nobody:
// it waits until half of them are back, or for a while.
#include <algorithm>
#include <utility>

#include "control/state.h"

namespace cyxwiz::control {
namespace {

constexpr int64_t kFewestLost = 3;

}  // namespace

void Control::State::LookForMassLoss(const NodeEntry& node) {
  if (mass_loss.lasts() || options.mass_loss_hold <= Duration::zero()) return;
  // There are three heartbeats in a lease, so who has been silent for half of it has missed one. Of
  // those that went together the first lease ends when all the others have.
  const MonotonicTime silent = now.monotonic + options.lease / 2;
  MassLoss loss;
  for (const auto& [id, one] : nodes) {
    // Nodes that were sent away are expected to go.
    const bool sent_away = one.node.draining || (one.node.cordoned && one.jobs.empty());
    if (one.lease_end == MonotonicTime::Never() || sent_away) continue;
    loss.of++;
    loss.lost += one.lease_end <= silent;
  }
  if (loss.lost < kFewestLost || 2 * loss.lost <= loss.of) return;
  loss.together_until = silent;
  loss.until = now.monotonic + options.mass_loss_hold;
  mass_loss = loss;
  counters.mass_loss = 1;
  timers.Arm(mass_loss.until, TimerKind::kMassLoss, "");
  Tell(node, EventKind::kMassLoss, MassLossMessage());
}

void Control::State::FollowMassLoss() {
  if (!mass_loss.lasts() || 2 * counters.nodes_online < mass_loss.of) return;
  const MonotonicTime silent = now.monotonic + options.lease / 2;
  const int64_t answering = std::count_if(nodes.begin(), nodes.end(), [&](const auto& one) {
    return one.second.online && one.second.lease_end > silent;
  });
  if (2 * answering >= mass_loss.of) EndMassLoss("half of them answer again");
}

void Control::State::EndMassLoss(const std::string& why) {
  timers.Disarm(mass_loss.until, TimerKind::kMassLoss, "");
  Tell(EventKind::kMassLossOver, std::to_string(mass_loss.lost) + " of " +
                                     std::to_string(mass_loss.of) +
                                     " nodes were lost at once: " + why);
  mass_loss = {};
  counters.mass_loss = 0;
  for (int64_t sequence : std::exchange(held_back, {})) {
    JobEntry& entry = *by_sequence.at(sequence);
    EnterLine(entry);
    Touch(entry);
  }
}

std::string Control::State::MassLossMessage() const {
  const int64_t most =
      std::chrono::duration_cast<std::chrono::seconds>(options.mass_loss_hold).count();
  return std::to_string(mass_loss.lost) + " of " + std::to_string(mass_loss.of) +
         " nodes were lost at once: what ran there waits until half of them answer again, at "
         "most " +
         std::to_string(most) + " s";
}

}  // namespace cyxwiz::control
