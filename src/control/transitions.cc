#include "control/transitions.h"

#include <array>
#include <utility>

namespace cyxwiz::control {
namespace {

using enum JobState;

constexpr std::array<std::pair<JobState, JobState>, 14> kLegal = {{
    {kQueued, kAssigned},
    {kQueued, kCancelled},
    {kAssigned, kRunning},
    {kAssigned, kQueued},
    {kAssigned, kSucceeded},
    {kAssigned, kFailed},
    {kAssigned, kCancelled},
    {kRunning, kSucceeded},
    {kRunning, kFailed},
    {kRunning, kQueued},
    {kRunning, kCancelled},
    {kRunning, kPaused},
    {kPaused, kQueued},
    {kPaused, kCancelled},
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
  }
  return "unknown";
}

}  // namespace cyxwiz::control
