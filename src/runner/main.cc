// cyxwiz-runner: trains one job in a process of its own.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/listen_address.h"
#include "base/text.h"
#include "runner/attempt.h"
#include "runner/engine.h"
#include "runner/torchscript.h"
#include "runner/zygote.h"
#include "spec/job_file.h"
#include "spec/job_terms.h"

// Read by jemalloc. Every step of training allocates what the step before it freed. Other than by
// default, and other than glibc's malloc, such memory stays with the process: the kernel would
// clear it page by page when it is needed again, which took a quarter of a step of a convolutional
// model and half a step of a wide dense one (measured). retain is for address space, of which an
// attempt may have little (RLIMIT_DATA).
extern "C" const char* malloc_conf;
const char* malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,retain:false";

namespace cyxwiz::runner {
namespace {

constexpr const char* kHelp =
    R"(cyxwiz-runner: trains jobs with libtorch. A Server Node starts it; by hand it runs one job.

usage:
  cyxwiz-runner --zygote              serve the node at file descriptor 3 (docs/reference/runner-protocol.md)
  cyxwiz-runner --train JOB.json --folder DIR [--data-root DIR]... [--cpus N] [--memory BYTES]
                [--checkpoint-seconds S] [--resume] [--rank R --ranks N --meet HOST:PORT]
                                      run one job file; the result goes to DIR, a line of JSON to stdout;
                                      --resume goes on from the newest checkpoint in DIR/checkpoints;
                                      --rank: as rank R of N processes that train together, of which rank 0
                                      listens at HOST:PORT
  cyxwiz-runner --torchscript DIR --file FILE
                                      write the trained model of DIR as a TorchScript file
  cyxwiz-runner --version             print the versions of the runner and of libtorch
  cyxwiz-runner --help                print this

exit codes: 0 done, 1 failed, 2 wrong usage
)";

int Usage(const std::string& problem) {
  std::fprintf(stderr, "cyxwiz-runner: %s\n\n%s", problem.c_str(), kHelp);
  return 2;
}

// Threads that spin at barriers starve each other on small machines (10 times slower, measured).
// libgomp reads these when it is loaded, before main: so the program starts itself again when they
// are not set.
void SetUpOpenMp(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr && std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  ::setenv("GOMP_SPINCOUNT", "0", 0);
  ::execv("/proc/self/exe", argv);
  std::fprintf(stderr, "cyxwiz-runner: cannot start again with OMP_WAIT_POLICY=passive: %s\n",
               std::strerror(errno));
}

int Zygote() {
  struct stat file {};
  if (::fstat(3, &file) != 0 || !S_ISSOCK(file.st_mode)) {
    return Usage("--zygote is for a Server Node: file descriptor 3 is not a socket");
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  WarmUp();
  return RunZygote(UniqueFd(3), {LibtorchVersion(), ServeAttempt});
}

int Train(const std::vector<std::string>& arguments) {
  StartMessage start;
  std::string job_file, checkpoint_seconds;
  GangPlace gang;
  start.cpu_millis = 1000;
  for (size_t i = 0; i < arguments.size();) {
    const std::string& flag = arguments[i++];
    if (flag == "--resume") {
      start.resume = kCheckpointsFolder;
      continue;
    }
    if (i == arguments.size()) return Usage(flag + " needs a value");
    const std::string& value = arguments[i++];
    std::optional<int64_t> number = ParseInt(value);
    if (flag == "--train") {
      job_file = value;
    } else if (flag == "--folder") {
      start.folder = value;
    } else if (flag == "--data-root") {
      start.data_roots.push_back(value);
    } else if (flag == "--cpus" && number && *number >= 1 && *number <= 4096) {
      start.cpu_millis = *number * 1000;
    } else if (flag == "--memory" && number && *number >= 1) {
      start.memory_bytes = *number;
    } else if (flag == "--checkpoint-seconds") {
      checkpoint_seconds = value;
    } else if (flag == "--rank" && number && *number >= 0 && *number < spec::kMaxNodes) {
      gang.rank = static_cast<int>(*number);
    } else if (flag == "--ranks" && number && *number >= 1 && *number <= spec::kMaxNodes) {
      gang.size = static_cast<int>(*number);
    } else if (flag == "--meet" && IsHostPort(value)) {
      const size_t colon = value.rfind(':');
      gang.host = value.substr(0, colon);
      gang.port = static_cast<int>(ParseInt(value.substr(colon + 1)).value_or(0));
    } else if (flag == "--meet") {
      return Usage("--meet needs HOST:PORT, found '" + value + "'");
    } else if (flag == "--cpus" || flag == "--memory" || flag == "--rank" || flag == "--ranks") {
      return Usage(flag + " needs a whole number in its range, found '" + value + "'");
    } else {
      return Usage("unknown option '" + flag + "'");
    }
  }
  if (start.folder.empty()) return Usage("--train needs --folder DIR for the result");
  if (gang.size > 1) {
    if (gang.rank >= gang.size) return Usage("--rank counts from 0: it must be below --ranks");
    if (gang.host.empty()) return Usage("--ranks needs --meet HOST:PORT, where rank 0 listens");
    gang.secret = "by hand";
    start.gang = gang;
  }
  Result<std::string> text = ReadFile(job_file, spec::kMaxJobFileBytes);
  if (!text.ok()) {
    std::fprintf(stderr, "cyxwiz-runner: %s\n", text.status().ToString().c_str());
    return 1;
  }
  spec::Problems problems;
  std::optional<spec::JobFile> job = spec::ParseJobFile(*text, &problems);
  if (!job) {
    std::fprintf(stderr, "cyxwiz-runner: %s:\n%s\n", job_file.c_str(), problems.ToString().c_str());
    return 1;
  }
  start.job = job->description;
  start.processes = job->terms.processes;
  if (!checkpoint_seconds.empty()) {
    start.job.hyperparameters["checkpoint_seconds"] = checkpoint_seconds;
  }
  start.job_id = "by-hand";
  start.attempt = 1;
  double first_step_ms = 0;
  std::string device;
  int threads = 0;
  AttemptHooks hooks;
  hooks.started = [&](const Started& started, double, double ms) {
    device = started.device;
    threads = started.threads;
    first_step_ms = ms;
  };
  AttemptResult result = RunAttempt(start, hooks);
  Json line{{"succeeded", result.end == TrainingResult::End::kSucceeded},
            {"files", result.files},
            {"metrics", result.metrics},
            {"device", device},
            {"threads", threads},
            {"first_step_ms", first_step_ms},
            {"load_seconds", result.load_seconds},
            {"training_seconds", result.training_seconds},
            {"training_cpu_seconds", result.training_cpu_seconds},
            {"compute_seconds", result.compute_seconds},
            {"write_seconds", result.write_seconds},
            {"flops_per_sample", result.flops_per_sample},
            {"estimated_memory_bytes", result.estimate.memory_bytes},
            {"peak_memory_bytes", result.peak_memory_bytes},
            {"checkpoints", result.checkpoints},
            {"checkpoint_pause_seconds", result.checkpoint_pause_seconds},
            {"checkpoint_write_seconds", result.checkpoint_write_seconds}};
  if (result.resumed) {
    line["resumed"] = {{"epoch", result.resumed->epoch}, {"step", result.resumed->step}};
  }
  std::printf("%s\n", line.dump().c_str());
  return result.end == TrainingResult::End::kSucceeded ? 0 : 1;
}

int ExportTorchScript(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4 || arguments[2] != "--file") {
    return Usage("--torchscript needs a folder with a model, and --file FILE");
  }
  Status written = WriteTorchScript(arguments[1], arguments[3]);
  if (written.ok()) return 0;
  std::fprintf(stderr, "cyxwiz-runner: %s\n", written.ToString().c_str());
  return 1;
}

int Main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  std::string first = arguments.empty() ? "" : arguments[0];
  if (first == "--help") {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (first == "--version") {
    std::printf("cyxwiz-runner %s (libtorch %s, protocol %d)\n", CYXWIZ_VERSION,
                LibtorchVersion().c_str(), kProtocolVersion);
    return 0;
  }
  if (first == "--zygote" && arguments.size() == 1) {
    SetUpOpenMp(argv);
    return Zygote();
  }
  if (first == "--train") {
    SetUpOpenMp(argv);
    return Train(arguments);
  }
  if (first == "--torchscript") return ExportTorchScript(arguments);
  return Usage(arguments.empty() ? "what to do is missing" : "unknown option '" + first + "'");
}

}  // namespace
}  // namespace cyxwiz::runner

int main(int argc, char** argv) { return cyxwiz::runner::Main(argc, argv); }
