// cyxwiz-central-server export --history and replay: the history that a server wrote down.
#pragma once

#include <string>

#include "base/status.h"

namespace cyxwiz::central {

// Into the new folder `target`: the segments as they are, for `replay`, and decisions.jsonl, one
// event a line (store_export.h) as this program decides them again. folder: of segments; a server
// may write there meanwhile.
Status ExportSegments(const std::string& folder, const std::string& target);

// Of a segment, or of a folder with some; prints how it went. FAILED_PRECONDITION: this program
// decides otherwise, and where.
Status ReplaySegments(const std::string& path);

}  // namespace cyxwiz::central
