// Getting a backup from a running server.
#pragma once

#include <string>

#include "base/status.h"

namespace cyxwiz::central {

// Writes a copy of the database of the server at host:port to the new file `path`, not synced.
// UNAVAILABLE, with what to do, when no server answers. A connection over which nothing comes for a
// minute is given up.
Status FetchBackup(const std::string& server, const std::string& path);

}  // namespace cyxwiz::central
