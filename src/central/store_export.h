// The history in a store as JSON lines: one object a line, "record" says of what.
//
//   export    first: format, time_ms of the export
//   node      each node that ever registered
//   job       each job, without what was submitted (specification_sha256 tells that), then its
//   attempt   attempts, as far as its events are still kept
//   event     all that are kept, oldest first
//
// Times are Unix milliseconds, 0 or left out when it has not happened.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "store/job_store.h"

namespace cyxwiz::central {

// Gives `write` a line at a time, with its newline; ends with its first error. Holds a page of the
// store and what has not ended in memory, no more.
Status ExportHistory(store::JobStore& store, UnixTime now,
                     const std::function<Status(std::string_view line)>& write);

// The line of an event, without its newline.
std::string EventLine(const control::Event& event);

}  // namespace cyxwiz::central
