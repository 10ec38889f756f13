// What is said to people about a job or a node, where more than one decision says it.
#pragma once

#include <string>

#include "base/status.h"
#include "control/records.h"

namespace cyxwiz::control {

Status NoSuchJob(const JobId& id);
// Of a member of an array that is no job of its own yet.
Status HasNotStarted(const JobId& id, const Member& member);
Status NoSuchNode(const NodeId& id);
// Of a job in a final state.
Status HasEnded(const Job& job);

std::string CancelMessage(const Job& job);
std::string PausedMessage(const Job& job);
// cause: kTimeLimit, kQueueTimeLimit or kDeadline.
std::string LimitMessage(const Job& job, Cause cause);
std::string Place(const Checkpoint& checkpoint);  // "epoch 2, step 70"
// Of one that shall make room for another.
std::string RoomMessage(const Job& job);
const char* PriorityName(int32_t priority);  // "high"

}  // namespace cyxwiz::control
