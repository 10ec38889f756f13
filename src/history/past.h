// Questions about the past, answered by going through the history again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "control/commands.h"
#include "history/journal.h"
#include "history/replay.h"

namespace cyxwiz::history {

// When the segment begins: the time of its first batch.
Result<UnixTime> StartOf(const SegmentFile& segment);

struct PastLimits {
  int64_t most_bytes = int64_t{512} << 20;  // of a segment
  Duration most_time = std::chrono::seconds(30);
};

// What ExplainJob would have been answered at that moment, by the scheduler's own code on the state
// as it was then. OUT_OF_RANGE: before the oldest segment, or in a gap. NOT_FOUND: the job was not
// in memory then. FAILED_PRECONDITION: this program would have decided otherwise before that
// moment, so it cannot tell. RESOURCE_EXHAUSTED: beyond the limits. Takes seconds.
Result<control::PlanReply> ExplainAt(const std::string& folder, const control::ExplainJob& question,
                                     UnixTime at, const PastLimits& limits = {});

// How going through a list of segments went.
struct Replayed {
  int64_t segments = 0, batches = 0;
  std::vector<std::string> torn;  // paths of segments that end in what is no whole batch
  // The first place where this program decides otherwise, or a segment that cannot be read; ok:
  // nowhere.
  Status status;
};
// Goes through the segments in order. After each batch `take` gets what was decided; an error of
// its ends it. Stops at the first difference: also where a segment that continues the one before
// begins with another state than that has led to.
Replayed ReplayAll(const std::vector<SegmentFile>& segments,
                   const std::function<Status(const control::Output&, Now)>& take);

}  // namespace cyxwiz::history
