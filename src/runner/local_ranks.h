// An attempt that trains as several ranks on this machine, each a process of its own.
#pragma once

#include <functional>

#include "runner/attempt.h"
#include "runner/protocol.h"

namespace cyxwiz::runner {

// Calls `run` in start.processes processes: in this one, which must have a single thread, and in
// children that it forks. Each is a rank, the next ones after those of earlier nodes of the gang
// where there is one, and has its part of the cores and of the memory.
//
// Returns what the first of them, this one, came to. Where that is only that it missed another one:
// what that one says; and when a signal has ended it, this process ends by the same, as an attempt
// in one process would. The children end with this process and when this returns; they log nothing
// and leave no files.
AttemptResult RunLocalRanks(StartMessage start,
                            const std::function<AttemptResult(const StartMessage&)>& run);

}  // namespace cyxwiz::runner
