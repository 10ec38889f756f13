// cyxwiz-central-server check, backup, restore and export: looking after the database.
#pragma once

#include <string_view>

namespace cyxwiz::central {

// Whether the first argument is one of these commands.
bool IsStoreCommand(std::string_view argument);

// Carries it out; the exit code: 0 done (check: sound), 1 failed (check: not sound), 2 usage.
int RunStoreCommand(int argc, char** argv);

}  // namespace cyxwiz::central
