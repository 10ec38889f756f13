#include "node/settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>

#include "base/config.h"
#include "base/text.h"

namespace cyxwiz::node {

std::optional<int64_t> ParseBytes(const std::string& text) {
  size_t end = text.find_first_not_of("0123456789.");
  std::optional<double> number = ParseDouble(text.substr(0, end));
  if (!number || !std::isfinite(*number)) return std::nullopt;
  std::string unit = end == std::string::npos ? "" : text.substr(end);
  unit.erase(0, unit.find_first_not_of(' '));
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static const std::map<std::string, double> kUnits = {
      {"", 1},      {"b", 1},       {"kb", 1e3},      {"mb", 1e6},     {"gb", 1e9},
      {"tb", 1e12}, {"kib", 1024},  {"mib", 1048576}, {"gib", 0x1p30}, {"tib", 0x1p40},
      {"k", 1024},  {"m", 1048576}, {"g", 0x1p30},    {"t", 0x1p40}};
  auto found = kUnits.find(unit);
  if (found == kUnits.end()) return std::nullopt;
  double bytes = *number * found->second;
  if (bytes < 0 || bytes > 0x1p62) return std::nullopt;
  return std::llround(bytes);
}

bool IsLoopback(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  // By its bytes, not its text: "127.example.org" is a name that may mean any machine.
  in_addr ip{};
  if (::inet_pton(AF_INET, host.c_str(), &ip) == 1) return (ntohl(ip.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]";
}

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
  config.Add("log_level", &settings.log_level, "trace, debug, info, warn or error.");
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

  if (settings.cpus < 0 || !std::isfinite(settings.cpus) || settings.cpus > 1e6) {
    return InvalidArgument("cpus: expected a number of cores, such as 1.5, found " +
                           std::to_string(settings.cpus));
  }
  if (!settings.memory.empty()) {
    auto bytes = ParseBytes(settings.memory);
    if (!bytes || *bytes == 0) {
      return InvalidArgument("memory: expected an amount such as 6GiB or 512MiB, found '" +
                             settings.memory + "'");
    }
    settings.memory_bytes = *bytes;
  }
  for (const auto& [key, address] : {std::pair{"listen", settings.listen},
                                     std::pair{"terminal_listen", settings.terminal_listen},
                                     std::pair{"server", settings.server}}) {
    if (address.empty() && key == std::string("terminal_listen")) continue;
    size_t colon = address.rfind(':');
    auto port = colon == std::string::npos || colon == 0 ? std::nullopt
                                                         : ParseInt(address.substr(colon + 1));
    if (!port || *port < 0 || *port > 65535) {
      return InvalidArgument(std::string(key) + ": expected host:port, found '" + address + "'");
    }
    if (key != std::string("server") && !IsLoopback(address)) {
      return FailedPrecondition(
          std::string(key) + ": '" + address +
              "' can be reached from other machines, and this release has no TLS to protect it",
          "listen on 127.0.0.1 and reach other machines through a tunnel (ssh -L, WireGuard)");
    }
  }
  return settings;
}

}  // namespace cyxwiz::node
