// The command line: flags and commands, parsed with CLI11.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "cli/console.h"

namespace cyxwiz::cli {

// Runs the command that `arguments` (without the program's name) ask for; returns the exit code.
// `in` is standard input.
int RunApp(const std::vector<std::string>& arguments, std::istream& in, Console& console);

}  // namespace cyxwiz::cli
