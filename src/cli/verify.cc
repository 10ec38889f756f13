#include "cli/verify.h"

#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/child_process.h"
#include "cli/scratch_folder.h"
#include "cli/signals.h"

namespace cyxwiz::cli {
namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

// How often the runner and its folder of checkpoints are looked at.
constexpr int kLookMs = 2;

Result<std::string> Sha256OfFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("cannot open '" + path + "'");
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<char> piece(1 << 20);
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    EVP_DigestUpdate(context.get(), piece.data(), static_cast<size_t>(file.gcount()));
  }
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", digest[i]);
    hex += two;
  }
  return hex;
}

// The step of the newest complete checkpoint of a run; -1: none yet.
int64_t NewestStep(const std::string& folder) {
  int64_t newest = -1;
  std::error_code error;
  for (fs::directory_iterator entry(folder + "/checkpoints", error), end; !error && entry != end;
       entry.increment(error)) {
    auto step = ParseInt(entry->path().filename().string());
    std::error_code absent;
    if (step && fs::exists(entry->path() / "manifest.json", absent)) {
      newest = std::max(newest, *step);
    }
  }
  return newest;
}

std::string Seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f s", seconds);
  return text;
}

class Verification {
 public:
  Verification(Console& console, const VerifyOptions& options, std::string folder)
      : console_(console),
        options_(options),
        folder_(std::move(folder)),
        runner_(options.runner.empty() ? ProgramFolder() + "/cyxwiz-runner" : options.runner) {}

  int Run() {
    if (::access(runner_.c_str(), X_OK) != 0) {
      return console_.Fail(FailedPrecondition("'" + runner_ + "' is missing", "build it: make"));
    }
    if (::access(options_.file.c_str(), R_OK) != 0) {
      return console_.FailUsage("cannot read '" + options_.file + "'");
    }
    Say("training once without a break ...");
    Status status = Alone();
    if (status.ok()) status = Killed();
    if (stopped_) return 128 + SIGINT;
    if (!status.ok()) return console_.Fail(status);
    return Report();
  }

 private:
  struct Kill {
    int64_t resumed_from = 0;  // step; 0: from the beginning
    int64_t checkpoint = 0;    // the newest at its end
  };

  void Say(const std::string& line) {
    if (!console_.json) console_.err << line << std::endl;
  }

  Result<ChildProcess> Start(const std::string& name, double checkpoint_seconds) {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.6f", checkpoint_seconds);
    std::vector<std::string> arguments = {runner_,
                                          "--train",
                                          options_.file,
                                          "--folder",
                                          folder_ + "/" + name,
                                          "--cpus",
                                          std::to_string(options_.cpus),
                                          "--checkpoint-seconds",
                                          seconds,
                                          "--resume"};
    for (const std::string& root : options_.data_roots) {
      arguments.insert(arguments.end(), {"--data-root", root});
    }
    for (const char* root : {".", "/usr/share/datasets"}) {
      arguments.insert(arguments.end(), {"--data-root", root});
    }
    return ChildProcess::Start(arguments, folder_ + "/" + name + ".log");
  }

  // The line of JSON that a run which has ended leaves as the last one of its log.
  static Result<Json> LastLine(const ChildProcess& child, int wait_status) {
    std::string log = child.LogTail(64 << 10);
    while (!log.empty() && log.back() == '\n') log.pop_back();
    size_t begin = log.rfind('\n');
    Result<Json> line =
        ParseJson(std::string_view(log).substr(begin == std::string::npos ? 0 : begin + 1),
                  "the runner's last line");
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0 && line.ok()) return line;
    if (line.ok() && begin != std::string::npos) log.resize(begin);
    begin = log.rfind('\n');
    return FailedPrecondition("the runner " + DescribeExit(wait_status) + ": " +
                              log.substr(begin == std::string::npos ? 0 : begin + 1));
  }

  // Whether the child has ended; it has not been waited for.
  static bool HasEnded(const ChildProcess& child) {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != 0;
  }

  // Whether the user wants the verification to stop, after a moment in which that may be said.
  bool IsStopped() {
    pollfd descriptor{interrupts_.fd(), POLLIN, 0};
    ::poll(&descriptor, 1, kLookMs);
    if (!interrupts_.Take().empty()) stopped_ = true;
    return stopped_;
  }

  Status Finish(const ChildProcess& child, Json* line) {
    while (!HasEnded(child)) {
      if (IsStopped()) child.Signal(SIGKILL);
    }
    int wait_status = 0;
    ::waitpid(child.pid(), &wait_status, 0);
    ASSIGN_OR_RETURN(*line, LastLine(child, wait_status));
    return OkStatus();
  }

  Status Alone() {
    ASSIGN_OR_RETURN(ChildProcess child, Start("alone", 0));
    Json line;
    RETURN_IF_ERROR(Finish(child, &line));
    seconds_ = line.value("training_seconds", 0.0);
    ASSIGN_OR_RETURN(expected_, Sha256OfFile(folder_ + "/alone/weights.safetensors"));
    Say("  " + Seconds(seconds_) + " of training, weights " + expected_);
    return OkStatus();
  }

  Status Killed() {
    // Several checkpoints between two kills, whatever the length of the job.
    const double interval = std::clamp(seconds_ / (4.0 * (options_.kills + 1)), 1e-6, 30.0);
    std::mt19937_64 random(std::random_device{}());
    Json line;
    for (int kill = 1;; ++kill) {
      const int64_t before = NewestStep(folder_ + "/killed");
      ASSIGN_OR_RETURN(ChildProcess child, Start("killed", interval));
      if (kill <= options_.kills) {
        // At a moment that has nothing to do with what the runner is doing: between two
        // checkpoints, in a step, while one is being written.
        double wait = std::uniform_real_distribution<double>(0, 2 * interval)(random);
        if (KillAfterCheckpoint(child, before, wait)) {
          kills_.push_back({std::max<int64_t>(before, 0), NewestStep(folder_ + "/killed")});
          Say("  killed; it had begun at step " + std::to_string(kills_.back().resumed_from) +
              ", its newest checkpoint is of step " + std::to_string(kills_.back().checkpoint));
          continue;
        }
      }
      RETURN_IF_ERROR(Finish(child, &line));
      if (line.contains("resumed")) resumed_at_ = line["resumed"].value("step", int64_t{0});
      break;
    }
    ASSIGN_OR_RETURN(found_, Sha256OfFile(folder_ + "/killed/weights.safetensors"));
    Say("  resumed at step " + std::to_string(resumed_at_.value_or(0)) + " and finished, weights " +
        found_);
    return OkStatus();
  }

  // Whether it was killed; false: it has ended by itself, or is to be stopped, and has not been
  // waited for.
  bool KillAfterCheckpoint(const ChildProcess& child, int64_t before, double wait) {
    const std::string folder = folder_ + "/killed";
    std::optional<Clock::time_point> due;
    for (;;) {
      if (HasEnded(child)) return false;
      if (!due && NewestStep(folder) > before) {
        due = Clock::now() +
              std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(wait));
      }
      if (due && Clock::now() >= *due) break;
      if (IsStopped()) return false;
    }
    child.Signal(SIGKILL);
    int wait_status = 0;
    ::waitpid(child.pid(), &wait_status, 0);
    return WIFSIGNALED(wait_status);
  }

  int Report() {
    const bool same = expected_ == found_;
    if (console_.json) {
      Json kills = Json::array();
      for (const Kill& kill : kills_) {
        kills.push_back({{"resumed_from_step", kill.resumed_from},
                         {"newest_checkpoint_step", kill.checkpoint}});
      }
      console_.PrintJson({{"same", same},
                          {"weights_sha256", expected_},
                          {"resumed_weights_sha256", found_},
                          {"training_seconds", seconds_},
                          {"kills", kills},
                          {"resumed_at_step", resumed_at_.value_or(0)}});
    }
    if (!same) {
      return console_.Fail(DataLoss("the weights differ: " + expected_ + " without a break, " +
                                        found_ + " after " + std::to_string(kills_.size()) +
                                        " kills",
                                    "on a GPU, or with threads that the machine does not have, "
                                    "two runs may differ by themselves"));
    }
    if (kills_.empty()) {
      return console_.Fail(FailedPrecondition("the job was over before it could be killed",
                                              "verify it with more epochs"));
    }
    if (!console_.json) {
      console_.out << "the same weights, bit for bit, after " << kills_.size()
                   << (kills_.size() == 1 ? " kill: " : " kills: ") << expected_ << std::endl;
    }
    return kExitOk;
  }

  Console& console_;
  const VerifyOptions& options_;
  const std::string folder_, runner_;
  SignalQueue interrupts_{SIGINT, SIGTERM, SIGHUP};
  bool stopped_ = false;  // by one of them
  double seconds_ = 0;    // of the run without a break
  std::string expected_, found_;
  std::vector<Kill> kills_;
  std::optional<int64_t> resumed_at_;
};

}  // namespace

int RunVerify(Console& console, const VerifyOptions& options) {
  std::string folder = options.folder;
  ScratchFolder scratch;
  if (folder.empty()) {
    Status made = scratch.MakeTemporary("cyxwiz-verify-");
    if (!made.ok()) return console.Fail(made);
    folder = scratch.path();
  } else {
    Status made = MakeFolder(folder);
    if (!made.ok()) return console.Fail(made);
    // What an earlier verification left would be resumed.
    std::error_code error;
    for (const char* run : {"/alone", "/killed"}) fs::remove_all(folder + run, error);
  }
  return Verification(console, options, folder).Run();
}

}  // namespace cyxwiz::cli
