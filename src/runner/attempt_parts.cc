#include "runner/attempt_parts.h"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "base/text.h"

namespace cyxwiz::runner {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

namespace {
bool log_is_silent = false;
}  // namespace

void LogLine(const std::string& line) {
  if (!log_is_silent) std::fprintf(stderr, "%s\n", line.c_str());
}
void SilenceLog() { log_is_silent = true; }

InjectedFault InjectedFault::FromEnvironment() {
  InjectedFault fault;
  const char* variable = std::getenv("CYXWIZ_RUNNER_FAULT");
  std::string_view text = variable == nullptr ? "" : variable;
  constexpr std::string_view kCrash = "crash_after_step:";
  if (text.starts_with(kCrash)) {
    fault.crash_after_step = ParseInt(text.substr(kCrash.size())).value_or(0);
  }
  fault.hang_on_stop = text == "hang_on_stop";
  fault.oom = text == "oom";
  return fault;
}

void InjectedFault::Strike(int64_t step) const {
  if (step == crash_after_step) ::raise(SIGSEGV);
  if (!oom) return;
  for (std::vector<std::unique_ptr<char[]>> taken;;) {
    constexpr size_t kPiece = 16u << 20;
    taken.push_back(std::unique_ptr<char[]>(new char[kPiece]));
    std::memset(taken.back().get(), 1, kPiece);
  }
}

Failure FailureOf(const Status& status, const std::string& path) {
  Failure failure{"internal", status.message(), status.hint(), path};
  switch (status.code()) {
    case Code::kInvalidArgument:
    case Code::kUnimplemented:
    case Code::kOutOfRange:
      failure.cause = "user_error";
      break;
    // Another node may have the data, or may be allowed to read it.
    case Code::kNotFound:
    case Code::kPermissionDenied:
    case Code::kUnavailable:
    case Code::kDataLoss:
      failure.cause = "data_unavailable";
      break;
    case Code::kResourceExhausted:
      failure.cause = "out_of_memory";
      break;
    default:
      break;
  }
  return failure;
}

Failure NotKept(const Status& status) {
  const bool full = status.code() == Code::kResourceExhausted;
  return {full ? "disk_full" : "internal", "cannot keep the result: " + status.message(),
          status.hint(), ""};
}

std::unique_ptr<Interruption> Interruptible(const AttemptHooks& hooks) {
  return hooks.interruptible ? hooks.interruptible() : nullptr;
}

int ThreadsAllowed(const StartMessage& start) {
  return static_cast<int>(std::clamp<int64_t>((start.cpu_millis + 999) / 1000, 1,
                                              std::max(1u, std::thread::hardware_concurrency())));
}

Json ToJson(const ConfusionMatrix& matrix) {
  Json rows = Json::array();
  for (int64_t i = 0; i < matrix.classes; ++i) {
    auto row = matrix.counts.begin() + i * matrix.classes;
    rows.push_back(Json(std::vector<int64_t>(row, row + matrix.classes)));
  }
  return {{"part", matrix.part}, {"counts", rows}};
}

}  // namespace cyxwiz::runner
