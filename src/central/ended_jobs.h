// Every job of a store that has ended, for who goes through the whole of it.
#pragma once

#include <functional>

#include "base/status.h"
#include "store/job_store.h"

namespace cyxwiz::central {

// Gives `take` each job that has ended, members of arrays too; `snapshot` is what the store loads.
// Ends with the first error of either. Holds a few pages of jobs in memory.
Status ForEachEnded(store::JobStore& store, const control::Snapshot& snapshot,
                    const std::function<Status(const control::Job&)>& take);

}  // namespace cyxwiz::central
