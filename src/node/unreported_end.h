// How an attempt ended, kept in its folder until the server has acknowledged it: so a node that is
// killed and started again reports it all the same.
//
//   <attempt's folder>/end.json   {"token": ..., "outcome": "succeeded", "cause": 0, ...,
//                                  "files": [{"name": ..., "sha256": ..., "size": ...}]}
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "node/attempt_end.h"
#include "node/file_upload.h"

namespace cyxwiz::node {

struct UnreportedEnd {
  std::string token;  // of the attempt
  AttemptEnd end;
  std::vector<StoredFile> files;  // of one that succeeded, as they were then; without paths
};

inline constexpr char kEndFile[] = "end.json";

// Durable when it returns.
Status WriteUnreportedEnd(const std::string& folder, const UnreportedEnd& unreported);
// DATA_LOSS when it is not what was written.
Result<UnreportedEnd> ReadUnreportedEnd(const std::string& folder);

}  // namespace cyxwiz::node
