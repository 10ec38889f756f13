// Logging to standard error through spdlog. Never log a token or a key.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "base/status.h"

namespace cyxwiz {

// program: printed in each line. level: trace, debug, info, warn, error.
Status SetUpLogging(const std::string& program, const std::string& level);

}  // namespace cyxwiz
