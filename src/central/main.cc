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
#include "central/scheduling_config.h"
#include "central/server.h"
#include "central/store_commands.h"

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
  // gRPC's own log lines say nothing to a person that our errors do not.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  if (argc > 1 && IsStoreCommand(argv[1])) return RunStoreCommand(argc, argv);

  // Signals are taken by sigwait below, whichever thread they would have hit.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  ServerOptions options;
  options.data = DefaultDataFolder();
  int64_t lease_ms = 10'000, heartbeat_interval_ms = 2'000, ready_fd = -1;
  std::string log_level = "info";
  Config config(
      "cyxwiz-central-server",
      "Accepts, stores, schedules and tracks the jobs of a CyxWiz cluster. With 'check', "
      "'backup', 'restore', 'export' or 'replay' as first argument it looks after its data "
      "instead; 'cyxwiz-central-server backup --help' and so on tell how.",
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
  std::vector<std::string> share_weights, quotas;
  int64_t half_life_s = 86'400, ageing_s = 3'600, hold_after_s = 60, quarantine_failures = 3,
          probe_wait_s = 300, max_nodes_lost = 3, node_loss_reset_s = 600,
          forget_nodes_after_days = 30, mass_loss_hold_s = 300, preemption_min_run_s = 60,
          preemption_most = 3, history_mb = 256, history_days = 7;
  control::Options& control = options.control;
  config.Add(
      "scheduling.share_weights", &share_weights,
      "user=weight or project:name=weight: of jobs with the same priority those of the project "
      "that has had the least of the fleet, divided by the weight, go first, and within a "
      "project those of the user who has; 1 for those that are not named");
  config.Add("scheduling.quotas", &quotas,
             "what a user or a project is entitled to, such as 'user:ann cpus=8 gpus=2' or "
             "'project:vision memory=64GiB borrow=no'; jobs within a quota go first");
  config.Add("scheduling.share_half_life_s", &half_life_s,
             "in so many seconds what a user has had counts half", 1, 1'000'000'000);
  config.Add("scheduling.ageing_s", &ageing_s,
             "a job gains one class of priority each time it has waited so long; 0: never", 0,
             1'000'000'000);
  config.Add("scheduling.hold_after_s", &hold_after_s,
             "a node is kept for the job that goes first once others have passed it by for so long",
             0, 1'000'000'000);
  config.Add("scheduling.preemption.on", &control.preemption.on,
             "running jobs of a lower class make room for one that can start nowhere else");
  config.Add("scheduling.preemption.min_run_s", &preemption_min_run_s,
             "an attempt that has run for less than this is left alone", 0, 1'000'000'000);
  config.Add("scheduling.preemption.most", &preemption_most, "how often one job makes room at most",
             0, 1'000'000);
  config.Add("quarantine.failures", &quarantine_failures,
             "a node where so many unlike jobs fail in a row gets no more but one to probe it", 1,
             1'000'000);
  config.Add("quarantine.probe_wait_s", &probe_wait_s,
             "how long until it gets that one; doubled each time it fails, at most an hour", 1,
             3600);
  config.Add("max_nodes_lost", &max_nodes_lost,
             "a job that so many nodes in a row are lost with is not tried again", 1, 1'000'000);
  config.Add("node_loss_reset_s", &node_loss_reset_s,
             "the row begins anew with an attempt that has run so long; also with one that has "
             "written a checkpoint",
             1, 1'000'000'000);
  config.Add("max_nodes", &control.max_nodes, "how many nodes may register", 1, 1'000'000);
  config.Add(
      "forget_nodes_after_days", &forget_nodes_after_days,
      "a node that has been offline for so long is forgotten, unless it is cordoned; 0: never", 0,
      36'500);
  config.Add(
      "mass_loss_hold_s", &mass_loss_hold_s,
      "when most nodes go silent at once, jobs that ran there wait so long for half of them to "
      "come back; 0: they do not wait",
      0, 1'000'000'000);
  config.Add("history.max_mb", &history_mb,
             "size of the history of decisions that is kept in the data folder, in MiB; 0: none", 0,
             1 << 20);
  config.Add("history.max_days", &history_days, "how long it is kept at most", 1, 36'500);
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
  control.lease = std::chrono::milliseconds(lease_ms);
  control.share_half_life = std::chrono::seconds(half_life_s);
  control.ageing = std::chrono::seconds(ageing_s);
  control.hold_after = std::chrono::seconds(hold_after_s);
  control.quarantine_failures = static_cast<int32_t>(quarantine_failures);
  control.probe_wait = std::chrono::seconds(probe_wait_s);
  control.preemption.min_run = std::chrono::seconds(preemption_min_run_s);
  control.preemption.most = static_cast<int32_t>(preemption_most);
  control.max_nodes_lost = static_cast<int32_t>(max_nodes_lost);
  control.node_loss_reset = std::chrono::seconds(node_loss_reset_s);
  control.forget_nodes_after = std::chrono::hours(24 * forget_nodes_after_days);
  control.mass_loss_hold = std::chrono::seconds(mass_loss_hold_s);
  if (Status read = ReadWeights(share_weights, &control.share_weights); !read.ok())
    return Fail(read, kExitUsage);
  if (Status read = ReadQuotas(quotas, &control.quotas); !read.ok()) return Fail(read, kExitUsage);
  options.history_bytes = history_mb << 20;
  options.history_age = std::chrono::hours(24 * history_days);
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
