#include "node/settings.h"

#include <cstdio>

#include "base/config.h"
#include "base/listen_address.h"
#include "base/resources.h"
#include "spec/job_file.h"

namespace cyxwiz::node {

Result<NodeSettings> ReadSettings(int argc, const char* const* argv, bool* done) {
  NodeSettings settings;
  Config config("cyxwiz-server-node",
                "Server Node of CyxWiz: takes training jobs from a Central Server and runs them on "
                "this machine.",
                "CYXWIZ_NODE");
  config.Add("data", &settings.data,
             "Folder of the node: its id, the files of running attempts, and logs.");
  config.Add("server", &settings.server, "Address of the Central Server, host:port.");
  config.Add("listen", &settings.listen,
             "Where the node serves the Central Server, host:port; port 0 picks a free one.");
  config.Add("terminal_listen", &settings.terminal_listen,
             "Where the node serves terminals, host:port; empty: nowhere.");
  config.Add(
      "advertise", &settings.advertise,
      "host:port under which the Central Server reaches this node; empty: where it listens.");
  config.Add("name", &settings.name, "Name for people; empty: the host's name.");
  config.Add("region", &settings.region, "Where the node is, for people and filters.");
  config.Add("cpus", &settings.cpus, "Cores given to jobs, such as 1.5; 0: all.");
  config.Add("memory", &settings.memory,
             "Memory given to jobs, such as 6GiB; empty: all but 512 MiB.");
  config.Add("gpus", &settings.gpus, "GPUs given to jobs; -1: all.", -1, 1024);
  config.Add("data_roots", &settings.data_roots,
             "Folder below which jobs may read file:// data; may be given several times.");
  config.Add("runner", &settings.runner, "Path of cyxwiz-runner; empty: beside this program.");
  config.Add("log_level", &settings.log_level, "trace, debug, info, warn, error or off.");
  config.Add("log_max_bytes", &settings.log_max_bytes,
             "Most that is kept of one attempt's log; beginning and end stay.", 4096,
             int64_t{1} << 40);
  config.Add("keep_logs", &settings.keep_logs,
             "How many ended attempts keep their logs; the oldest go first.", 0, 10'000'000);
  config.Add("ready_fd", &settings.ready_fd,
             "File descriptor that gets one line of JSON once the node is registered; -1: none.",
             -1, 1 << 20);
  RETURN_IF_ERROR(config.Parse(argc, argv, done));
  if (*done) return settings;

  // Less than a thousandth would be none, which means all.
  if (settings.cpus != 0 && !(settings.cpus >= 0.001 && settings.cpus <= 1e6)) {
    char found[32];
    std::snprintf(found, sizeof found, "%g", settings.cpus);
    return InvalidArgument(
        "cpus: expected 0 (all) or a number of cores from 0.001 to 1000000, such as 1.5, found " +
        std::string(found));
  }
  if (!settings.memory.empty()) {
    auto bytes = spec::ParseMemory(settings.memory);
    if (!bytes) {
      return InvalidArgument("memory: expected an amount such as 6GiB or 512MiB, at most " +
                             FormatBytes(spec::kMaxMemoryBytes) + ", found '" + settings.memory +
                             "'");
    }
    settings.memory_bytes = *bytes;
  }
  RETURN_IF_ERROR(ParseListenAddress(settings.listen, "listen").status());
  if (!settings.terminal_listen.empty())
    RETURN_IF_ERROR(ParseListenAddress(settings.terminal_listen, "terminal_listen").status());
  if (!IsHostPort(settings.server)) {
    return InvalidArgument("server: expected host:port, found '" + settings.server + "'",
                           "such as 127.0.0.1:50051");
  }
  if (!settings.advertise.empty() && !IsHostPort(settings.advertise)) {
    return InvalidArgument("advertise: expected host:port, found '" + settings.advertise + "'",
                           "such as 10.0.0.7:50052");
  }
  return settings;
}

}  // namespace cyxwiz::node
