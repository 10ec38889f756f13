// The one table of a job's life. Every change of state goes through it.
#pragma once

#include "control/records.h"

namespace cyxwiz::control {

// from → to:
//   Queued   → Assigned (plan), Cancelled, Paused, Failed (it has waited or lasted too long)
//   Assigned → Running (start reported, by all ranks of a gang), Queued (rejected, unreachable,
//              lease lost), Succeeded and Failed (a short attempt may end before its start was
//              reported), Cancelled, Paused
//   Running  → Succeeded, Failed, Queued (attempt lost or retried), Cancelled, Paused
//   Paused   → Queued, Cancelled, Failed (likewise)
// An array has neither node nor attempt. It is Queued while members may start, Running once none is
// left to start (so Queued, Paused → Running), Paused as a whole, and ends after its last member.
// Succeeded, Failed and Cancelled are final.
bool IsLegal(JobState from, JobState to);

}  // namespace cyxwiz::control
