// Jobs that are queued but in no line: what they wait for beside nodes and quotas, and until when.
#include <algorithm>

#include "control/state.h"

namespace cyxwiz::control {
namespace {

// "3.2 s", upwards: then it is over.
std::string Seconds(Duration time) {
  const int64_t tenths = (Milliseconds(time) + 100) / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

Control::State::NotDue Control::State::NotDueOf(const JobEntry& entry) const {
  const Job& job = entry.job;
  if (IsDoomed(entry)) return NotDue::kCancelling;
  if (entry.waits_for > 0) return NotDue::kDependency;
  if (job.array != nullptr && job.array->room() == 0) return NotDue::kArrayParallel;
  if (held_back.count(job.sequence) > 0) return NotDue::kMassLoss;
  return entry.wake > now.monotonic && !IsInLine(job) ? NotDue::kBackoff : NotDue::kIsDue;
}

std::optional<scheduler::Reason> Control::State::NotDueReason(const JobEntry& entry) const {
  switch (NotDueOf(entry)) {
    case NotDue::kIsDue:
      break;
    case NotDue::kCancelling:
      return scheduler::Reason{"CANCELLING", "is being cancelled, with many others", {}};
    case NotDue::kDependency:
      return scheduler::Reason{"DEPENDENCY", WaitMessage(entry), {}};
    case NotDue::kArrayParallel: {
      const int64_t alive = entry.job.array->alive();
      return scheduler::Reason{
          "ARRAY_PARALLEL",
          std::to_string(alive) + (alive == 1 ? " of its members runs, as many as it lets"
                                              : " of its members run, as many as it lets"),
          {}};
    }
    case NotDue::kMassLoss:
      return scheduler::Reason{"MASS_LOSS", MassLossMessage(), {}};
    case NotDue::kBackoff:
      return scheduler::Reason{
          "BACKOFF",
          "waits " + Seconds(entry.wake - now.monotonic) + " more before the next try",
          {}};
  }
  return std::nullopt;
}

std::string Control::State::ChangeToBeDue(const JobEntry& entry) const {
  switch (NotDueOf(entry)) {
    case NotDue::kIsDue:
    case NotDue::kCancelling:
      break;
    case NotDue::kDependency:
      return AwaitedEnds(entry);
    case NotDue::kArrayParallel:
      return "a member of it that runs must end";
    case NotDue::kMassLoss:
      return "half of the nodes that were lost must answer again";
    case NotDue::kBackoff:
      return "wait " + Seconds(entry.wake - now.monotonic);
  }
  return "";
}

std::optional<Duration> Control::State::DueIn(const JobEntry& entry) const {
  switch (NotDueOf(entry)) {
    case NotDue::kIsDue:
    case NotDue::kArrayParallel:  // a forecast follows its members
      break;
    case NotDue::kCancelling:
      return std::nullopt;
    case NotDue::kDependency:
      return AwaitedIn(entry);
    case NotDue::kMassLoss:
      return std::max(mass_loss.until - now.monotonic, Duration::zero());
    case NotDue::kBackoff:
      return entry.wake - now.monotonic;
  }
  return Duration::zero();
}

}  // namespace cyxwiz::control
