// The settings of a Server Node: declared once, for the file, the environment and the flags.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/labels.h"
#include "base/resources.h"
#include "base/status.h"
#include "fetch/options.h"

namespace cyxwiz::node {

struct NodeSettings {
  std::string data = "cyxwiz-node";
  std::string server = "127.0.0.1:50051";
  std::string listen = "127.0.0.1:50052";
  std::string terminal_listen = "127.0.0.1:50053";  // empty: off
  std::string advertise;                            // empty: where it listens
  std::string name;                                 // empty: the host's name
  std::string region;
  std::string rendezvous_ports = "29500-29599";  // where ranks 0 of gangs listen; empty: nowhere
  double cpus = 0;                               // cores given to jobs; 0: all
  std::string memory;                            // given to jobs, "6GiB"; empty: all but 512 MiB
  int64_t gpus = -1;                             // -1: all
  std::vector<std::string> declared_gpus;        // where NVML shows none: the memory of each
  std::string disk;                    // scratch space given to jobs, "100GiB"; empty: none
  std::vector<std::string> resources;  // of the operator's own, "licence=4"
  std::vector<std::string> labels;     // "zone=west"
  std::string pool;                    // only jobs that name it come here; empty: none
  std::vector<std::string> data_roots;
  std::string runner;  // empty: cyxwiz-runner beside the program
  std::string log_level = "info";
  int64_t log_max_bytes = 16 << 20;
  int64_t keep_logs = 1000;
  int64_t min_free_disk_bytes = int64_t{256} << 20;
  std::string checkpoint_disk = "10GiB";  // of checkpoints kept for jobs that do not run here
  std::string weights_disk = "4GiB";      // of weights kept for jobs that use a model
  std::string dataset_disk = "20GiB";     // of files of stored data sets kept for later jobs
  fetch::Options fetch;                   // of data sets on other machines
  std::string fetch_size = "20GiB";       // its max_bytes
  int64_t fetch_seconds = 3600;           // its max_time
  int64_t fetch_stall_seconds = 30;       // its stall_time
  int64_t ready_fd = -1;

  // As parsed from `memory` and `disk`; 0 when it is empty.
  int64_t memory_bytes = 0, disk_bytes = 0;
  // As parsed from `rendezvous_ports`: the first, and how many.
  int32_t rendezvous_port = 0, rendezvous_port_count = 0;
  // As parsed from `resources` and `labels`.
  std::vector<NamedAmount> named;
  Labels parsed_labels;
  std::vector<int64_t> declared_gpu_bytes;       // as parsed from `declared_gpus`
  int64_t checkpoint_bytes = int64_t{10} << 30;  // as parsed from `checkpoint_disk`
  int64_t weights_bytes = int64_t{4} << 30;      // as parsed from `weights_disk`
  int64_t dataset_bytes = int64_t{20} << 30;     // as parsed from `dataset_disk`
  // Within which a runner and its parent do what they owe before they are killed. Not for users;
  // tests are in a hurry.
  int64_t runner_answer_ms = 10'000;
};

// Reads command line, environment (CYXWIZ_NODE_...) and file, and checks everything that can be
// checked without touching the machine. *done: --help or --version was answered.
Result<NodeSettings> ReadSettings(int argc, const char* const* argv, bool* done);

}  // namespace cyxwiz::node
