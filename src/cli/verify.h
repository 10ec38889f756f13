// `cyxwiz verify`: shows, with the user's own job, that a training that is killed and resumed gives
// the same weights, bit for bit, as one that is left alone.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace cyxwiz::cli {

struct VerifyOptions {
  std::string file;
  int kills = 3;
  int cpus = 1;
  std::vector<std::string> data_roots;  // besides . and /usr/share/datasets
  std::string folder;                   // where to work, kept; empty: a temporary one
  std::string runner;                   // path of cyxwiz-runner; empty: beside this program
};

// Trains on this machine, without a server. 0: the weights are the same; 1: they differ; 4: the job
// cannot be trained, or was over before it could be killed; 130: it was interrupted. A temporary
// folder is gone in any case.
int RunVerify(Console& console, const VerifyOptions& options);

}  // namespace cyxwiz::cli
