// cyxwiz up: a Central Server and nodes on this machine, loopback only, for as long as the command
// runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cli/console.h"

namespace cyxwiz::cli {

struct UpOptions {
  std::string data;  // empty: ~/.local/share/cyxwiz
  int nodes = 1;
  int grpc_port = 50051;                // 0: any free one
  int rest_port = 8080;                 // 0: any free one
  std::vector<std::string> data_roots;  // besides the current folder and /usr/share/datasets
  Duration restart_pause = std::chrono::milliseconds(200);  // before a dead daemon's first restart
  std::string programs;  // folder of the daemons; empty: that of this program
};

// Whether a server can listen at 127.0.0.1:port now.
bool IsPortFree(int port);

// What this machine has.
int MachineCores();
int64_t MachineMemoryBytes();

// Runs until SIGINT, SIGTERM or SIGHUP, and returns the exit code.
int RunUp(Console& console, const UpOptions& options);

}  // namespace cyxwiz::cli
