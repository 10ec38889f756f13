// cyxwiz-central-server: reads its configuration, serves until a signal, stops.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/config.h"
#include "base/file.h"
#include "base/json.h"
#include "base/logging.h"
#include "central/server.h"

namespace cyxwiz::central {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int Fail(const Status& status, int code) {
  std::fprintf(stderr, "cyxwiz-central-server: %s\n", status.message().c_str());
  if (!status.hint().empty()) std::fprintf(stderr, "  %s\n", status.hint().c_str());
  return code;
}

// Tells whoever started us where we serve.
Status TellReady(int fd, const CentralServer& server) {
  Json ready = {
      {"grpc", server.grpc_address()}, {"rest", server.rest_address()}, {"pid", getpid()}};
  UniqueFd closes(fd);
  return WriteAll(fd, ready.dump() + "\n");
}

int Main(int argc, char** argv) {
  // Signals are taken by sigwait below, whichever thread they would have hit.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // gRPC's own log lines say nothing to a person that our errors do not.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);

  ServerOptions options;
  options.data = DefaultDataFolder();
  int64_t lease_ms = 10'000, heartbeat_interval_ms = 2'000, ready_fd = -1;
  std::string log_level = "info";
  Config config("cyxwiz-central-server",
                "Accepts, stores, schedules and tracks the jobs of a CyxWiz cluster.",
                "CYXWIZ_SERVER");
  config.Add("data", &options.data, "folder of everything durable; made when it is not there");
  config.Add("grpc.listen", &options.grpc_listen,
             "host:port for gRPC, loopback only; port 0 takes a free one");
  config.Add("rest.listen", &options.rest_listen,
             "host:port for REST and metrics, loopback only; port 0 takes a free one; empty: off");
  config.Add("data_roots", &options.data_roots,
             "folders that file:// data sets lie in, checked when a job is submitted; without any, "
             "only nodes check");
  config.Add("lease_ms", &lease_ms,
             "a node that is silent for so long loses its attempts to other nodes", 100, 3'600'000);
  config.Add("heartbeat_interval_ms", &heartbeat_interval_ms,
             "how often nodes shall send heartbeats; at most a third of the lease", 10, 600'000);
  config.Add("max_artifact_bytes", &options.max_artifact_bytes, "largest file a job may leave", 1);
  config.Add("log_level", &log_level, "trace, debug, info, warn, error or off");
  config.Add("ready_fd", &ready_fd,
             "file descriptor that gets one line of JSON, {\"grpc\", \"rest\", \"pid\"}, once the "
             "server serves, and is then closed; -1: none",
             -1, 1 << 20);
  bool done = false;
  if (Status parsed = config.Parse(argc, argv, &done); !parsed.ok())
    return Fail(parsed, kExitUsage);
  if (done) return 0;
  if (Status logging = SetUpLogging("cyxwiz-central-server", log_level); !logging.ok())
    return Fail(logging, kExitUsage);
  if (heartbeat_interval_ms * 3 > lease_ms) {
    return Fail(
        InvalidArgument("--heartbeat-interval-ms is " + std::to_string(heartbeat_interval_ms) +
                            ", more than a third of --lease-ms, " + std::to_string(lease_ms) +
                            ": one lost heartbeat would lose a "
                            "node",
                        "make the lease longer or the interval shorter"),
        kExitUsage);
  }
  options.lease = std::chrono::milliseconds(lease_ms);
  options.heartbeat_interval = std::chrono::milliseconds(heartbeat_interval_ms);

  auto server = CentralServer::Start(options);
  if (!server.ok()) {
    return Fail(server.status(),
                server.status().code() == Code::kInvalidArgument ? kExitUsage : kExitFailed);
  }
  spdlog::info("serving gRPC on {}{}{}, data in {}", (*server)->grpc_address(),
               (*server)->rest_address().empty() ? "" : " and REST on ", (*server)->rest_address(),
               options.data);
  if (ready_fd >= 0) {
    Status told = TellReady(static_cast<int>(ready_fd), **server);
    if (!told.ok()) return Fail(told, kExitFailed);
  }

  int signal_number = 0;
  sigwait(&signals, &signal_number);
  spdlog::info("stopping on {}", strsignal(signal_number));
  // A second signal ends the process at once.
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*server)->Stop();
  spdlog::info("stopped");
  return 0;
}

}  // namespace
}  // namespace cyxwiz::central

int main(int argc, char** argv) { return cyxwiz::central::Main(argc, argv); }
