// The nodes of a fleet, for the commands that look at all of them.
#pragma once

#include <string>

#include "base/status.h"
#include "cli/client.h"

namespace cyxwiz::cli {

// All nodes, page by page. pool: only those in it; empty: all.
Result<protocol::ListNodesResponse> AllNodes(Client* client, bool online_only,
                                             const std::string& pool);

}  // namespace cyxwiz::cli
