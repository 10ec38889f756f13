// Logging to standard error through spdlog. Never log a token or a key.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "base/status.h"

namespace cyxwiz {

// program: printed in each line. level: trace, debug, info, warn, error. A message is printed as
// one line without control characters, so that text of clients in it can be logged as it is.
Status SetUpLogging(const std::string& program, const std::string& level);

}  // namespace cyxwiz
