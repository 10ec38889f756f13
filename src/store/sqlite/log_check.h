// Tells a log that ends in the middle of a commit, which is no harm, from one that is damaged
// before its end. SQLite takes both for the same and goes on without all that follows.
//
//   log   = header (32 bytes, with its checksum and two salts), frames
//   frame = page number, size of the database when it ends a commit (else 0), the two salts,
//           checksum of all so far (24 bytes in all); page
//
// Frames with other salts are left from before the log was begun anew. A commit is written only
// when the one before is on the disk. So when there are the ends of two commits at or after a wrong
// frame, the first had been acknowledged. With one it may be that of a commit that was being
// written: by a process that was killed only when the wrong frame is this end itself, because
// frames are written in order, but in a power failure in any case.
//
// A log is begun anew, with the writing of its header, when all of it is in the database file. So a
// header that a power failure left half written loses nothing, and what tells it from a damaged one
// is that the file has the pages of all commits in the log.
#pragma once

#include <sqlite3.h>

#include "base/status.h"

namespace cyxwiz::store {

// DATA_LOSS, the message being what is wrong, when something acknowledged is missing from the log
// as SQLite reads it; INTERNAL when the log cannot be read. `file`: the database's. `power_stayed`:
// the machine has run on since the log was written. True: it ends in a commit that is cut short, as
// far as one can tell.
Result<bool> CheckLog(sqlite3_file* log, sqlite3_file* file, bool power_stayed);

}  // namespace cyxwiz::store
