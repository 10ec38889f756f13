#include "control/transitions.h"

#include "control/actors.h"

#include <array>
#include <utility>

namespace cyxwiz::control {
namespace {

using enum JobState;

constexpr std::array<std::pair<JobState, JobState>, 20> kLegal = {{
    {kQueued, kAssigned}, {kQueued, kCancelled},   {kQueued, kPaused},     {kQueued, kFailed},
    {kQueued, kRunning},  {kAssigned, kRunning},   {kAssigned, kQueued},   {kAssigned, kSucceeded},
    {kAssigned, kFailed}, {kAssigned, kCancelled}, {kAssigned, kPaused},   {kRunning, kSucceeded},
    {kRunning, kFailed},  {kRunning, kQueued},     {kRunning, kCancelled}, {kRunning, kPaused},
    {kPaused, kQueued},   {kPaused, kCancelled},   {kPaused, kFailed},     {kPaused, kRunning},
}};

}  // namespace

bool IsLegal(JobState from, JobState to) {
  for (auto [f, t] : kLegal) {
    if (f == from && t == to) return true;
  }
  return false;
}

const char* JobStateName(JobState state) {
  switch (state) {
    case kQueued:
      return "Queued";
    case kAssigned:
      return "Assigned";
    case kRunning:
      return "Running";
    case kPaused:
      return "Paused";
    case kSucceeded:
      return "Succeeded";
    case kFailed:
      return "Failed";
    case kCancelled:
      return "Cancelled";
  }
  return "Unknown";
}

const char* CauseName(Cause cause) {
  switch (cause) {
    case Cause::kNone:
      return "none";
    case Cause::kUserError:
      return "user error";
    case Cause::kDataUnavailable:
      return "data unavailable";
    case Cause::kOutOfMemory:
      return "out of memory";
    case Cause::kOutOfGpuMemory:
      return "out of GPU memory";
    case Cause::kRunnerCrashed:
      return "runner crashed";
    case Cause::kNodeLost:
      return "node lost";
    case Cause::kNodeRejected:
      return "node rejected";
    case Cause::kCancelled:
      return "cancelled";
    case Cause::kInternal:
      return "internal";
    case Cause::kDiverged:
      return "diverged";
    case Cause::kNodeDrained:
      return "node drained";
    case Cause::kPreempted:
      return "preempted";
    case Cause::kTimeLimit:
      return "time limit";
    case Cause::kQueueTimeLimit:
      return "queue time limit";
    case Cause::kDeadline:
      return "deadline passed";
    case Cause::kDependencyFailed:
      return "dependency failed";
    case Cause::kKillsNodes:
      return "kills nodes";
    case Cause::kPeerLost:
      return "peer lost";
  }
  return "unknown";
}

Event SubmittedEvent(const Job& job) {
  Event event;
  event.number = job.sequence;
  event.at = job.created_at;
  event.kind = EventKind::kSubmitted;
  event.sequence = job.sequence;
  event.job = job.id;
  event.to = JobState::kQueued;
  if (!job.retry_of->empty()) event.message = "retry of " + job.retry_of->value;
  event.actor = job.member != nullptr ? kSchedulerActor
                : job.user.empty()    ? kClientActor
                                      : std::string(kClientActor) + ":" + job.user;
  return event;
}

const char* EventKindName(EventKind kind) {
  switch (kind) {
    case EventKind::kSubmitted:
      return "SUBMITTED";
    case EventKind::kStateChanged:
      return "STATE_CHANGED";
    case EventKind::kCancelRequested:
      return "CANCEL_REQUESTED";
    case EventKind::kPauseRequested:
      return "PAUSE_REQUESTED";
    case EventKind::kPriorityChanged:
      return "PRIORITY_CHANGED";
    case EventKind::kRetried:
      return "RETRIED";
    case EventKind::kDeleted:
      return "DELETED";
    case EventKind::kNodeRegistered:
      return "NODE_REGISTERED";
    case EventKind::kNodeLost:
      return "NODE_LOST";
    case EventKind::kNodeCordoned:
      return "NODE_CORDONED";
    case EventKind::kNodeUncordoned:
      return "NODE_UNCORDONED";
    case EventKind::kNodeQuarantined:
      return "NODE_QUARANTINED";
    case EventKind::kNodeCordonPlanned:
      return "NODE_CORDON_PLANNED";
    case EventKind::kPreemptRequested:
      return "PREEMPT_REQUESTED";
    case EventKind::kNodeReleased:
      return "NODE_RELEASED";
    case EventKind::kMassLoss:
      return "MASS_LOSS";
    case EventKind::kMassLossOver:
      return "MASS_LOSS_OVER";
    case EventKind::kNodeForgotten:
      return "NODE_FORGOTTEN";
  }
  return "UNKNOWN";
}

}  // namespace cyxwiz::control
