// The fork server: loads libtorch once and forks one child per attempt
// (docs/reference/runner-protocol.md).
#pragma once

#include <functional>
#include <string>

#include "base/file.h"

namespace cyxwiz::runner {

struct ZygoteOptions {
  std::string libtorch_version;
  // Runs in the child with the attempt's socket; its result is the exit code.
  std::function<int(UniqueFd)> serve_attempt;
};

// Serves on `socket` (SOCK_SEQPACKET) until its other end closes; all children die with this
// process. Returns the exit code. The process must have one thread, and keeps it: SIGCHLD comes
// through a descriptor.
int RunZygote(UniqueFd socket, const ZygoteOptions& options);

// Threads of this process.
int CountThreads();

}  // namespace cyxwiz::runner
