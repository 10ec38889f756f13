// Who makes things happen, as events tell it:
//
//   client:ann@127.0.0.1   a client, with the user that it says it is for and its address; what is
//                          not known is left out
//   node:gpu-7             a node that registers or reports
//   server:scheduler       the scheduler
//   server:timer           a moment has come: a lease, a limit, a wait is over
//   server:dependencies    a job that had to end first has ended
#pragma once

#include <string>

#include "control/commands.h"

namespace cyxwiz::control {

inline constexpr char kClientActor[] = "client";
inline constexpr char kNodeActor[] = "node:";
inline constexpr char kSchedulerActor[] = "server:scheduler";
inline constexpr char kTimerActor[] = "server:timer";
inline constexpr char kDependenciesActor[] = "server:dependencies";

template <typename C>
std::string ActorOf(const C& command) {
  if constexpr (requires { command.actor; }) {
    return command.actor.empty() ? kClientActor : command.actor;
  } else if constexpr (requires { command.node.endpoint; }) {
    return kNodeActor + command.node.id.value;
  } else if constexpr (requires { command.node.value; }) {
    return kNodeActor + command.node.value;
  } else {
    return kClientActor;
  }
}

}  // namespace cyxwiz::control
