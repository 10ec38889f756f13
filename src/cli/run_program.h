// A program that is run to its end. For one that goes on running: child_process.h.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace cyxwiz::cli {

// Runs arguments[0], a path, without a shell and without input. INTERNAL unless it ends with exit
// code 0, with the end of what it wrote; what errno says when it cannot be run.
Status RunProgram(const std::vector<std::string>& arguments);

}  // namespace cyxwiz::cli
