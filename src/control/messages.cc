#include "control/messages.h"

#include "control/entries.h"

namespace cyxwiz::control {

Status NoSuchJob(const JobId& id) {
  return NotFound("there is no job '" + id.value + "'", "list the jobs with 'cyxwiz ps'");
}

Status HasNotStarted(const JobId& id, const Member& member) {
  const std::string& array = member.array.value;
  return FailedPrecondition("'" + id.value + "' is member " + std::to_string(member.number) +
                                " of the array '" + array +
                                "' and has not started: until then only the array can be changed",
                            "name '" + array + "' instead, or wait until the member has started");
}

std::string LimitMessage(const Job& job, Cause cause) {
  const Limits& limits = LimitsOf(job);
  auto seconds = [](Duration d) {
    return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(d).count()) + " s";
  };
  switch (cause) {
    case Cause::kTimeLimit:
      return "it ran longer than its limit of " + seconds(limits.run);
    case Cause::kQueueTimeLimit:
      return "it waited longer than its limit of " + seconds(limits.queue);
    default:
      return "its deadline has passed";
  }
}

std::string Place(const Checkpoint& checkpoint) {
  return "epoch " + std::to_string(checkpoint.epoch) + ", step " + std::to_string(checkpoint.step);
}

std::string PausedMessage(const Job& job) {
  return job.checkpoint->exists()
             ? "paused at " + Place(*job.checkpoint) + "; it goes on there when resumed"
             : "paused; it starts from its beginning when resumed";
}

std::string CancelMessage(const Job& job) {
  return job.cancel_reason->empty() ? "cancelled" : "cancelled: " + *job.cancel_reason;
}

Status HasEnded(const Job& job) {
  return FailedPrecondition(
      "job '" + job.id.value + "' has ended already: " + JobStateName(job.state),
      "to run it again: 'cyxwiz retry " + job.id.value + "'");
}

std::string RoomMessage(const Job& job) {
  return "making room for job '" + job.preempted_for->value + "' of a higher class";
}

const char* PriorityName(int32_t priority) {
  static constexpr const char* kNames[] = {"low", "normal", "high", "critical"};
  return priority >= 0 && priority < 4 ? kNames[priority] : "unknown";
}

Status NoSuchNode(const NodeId& id) {
  return NotFound("there is no node '" + id.value + "'", "list the nodes with 'cyxwiz nodes'");
}

}  // namespace cyxwiz::control
