#include "runner/local_ranks.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "runner/attempt_parts.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

// How long ranks have to say why they ended, once this one misses one of them.
constexpr std::chrono::seconds kTimeToSay{5};
constexpr std::chrono::milliseconds kBetweenLooks{10};

struct Child {
  int rank = 0;
  pid_t pid = 0;    // 0: it has ended
  UniqueFd said;    // what it says when it fails
  int signal = 0;   // that ended it
  Failure failure;  // no cause: it said nothing
};

std::string Random() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return "";
  std::string text;
  for (unsigned char byte : bytes) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    text += hex;
  }
  return text;
}

// Where the ranks of this machine alone meet: at a port that the system chooses, on a socket that
// rank 0 takes over.
Status MeetHere(GangPlace* place, UniqueFd* listening) {
  listening->Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (!*listening || ::bind(listening->get(), any, size) != 0 ||
      ::listen(listening->get(), SOMAXCONN) != 0 ||
      ::getsockname(listening->get(), any, &size) != 0) {
    return ErrnoStatus("cannot listen on 127.0.0.1", errno);
  }
  place->host = "127.0.0.1";
  place->port = ntohs(address.sin_port);
  place->secret = Random();
  return place->secret.empty() ? ErrnoStatus("cannot make a secret", errno) : OkStatus();
}

[[noreturn]] void RunChild(const StartMessage& start, pid_t parent, UniqueFd tell,
                           const std::function<AttemptResult(const StartMessage&)>& run) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it died before the line above could see it
  // What else is open, the node's socket too, is the parent's.
  constexpr int kTell = 3;
  if (::dup2(tell.get(), kTell) < 0) ::_exit(1);
  ::close_range(kTell + 1, ~0u, 0);
  SilenceLog();
  const AttemptResult result = run(start);
  if (result.end == End::kFailed) {
    const std::string line =
        FailedLine(result.failure).dump(-1, ' ', false, Json::error_handler_t::replace);
    (void)!::write(kTell, line.data(), line.size());  // more than fits is read by nobody
  }
  std::fflush(nullptr);
  ::_exit(0);
}

Failure FailureFrom(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  Result<Json> line = ParseJson(text, "rank");
  if (!line.ok() || !line->is_object()) return {};
  return {line->value("cause", ""), line->value("message", ""), line->value("hint", ""),
          line->value("path", "")};
}

// Takes notice of children that have ended; whether any is left.
bool AnyLeft(std::vector<Child>* children) {
  bool left = false;
  for (Child& child : *children) {
    if (child.pid == 0) continue;
    int status = 0;
    if (::waitpid(child.pid, &status, WNOHANG) == 0) {
      left = true;
      continue;
    }
    child.pid = 0;
    if (WIFSIGNALED(status)) child.signal = WTERMSIG(status);
    child.failure = FailureFrom(child.said.get());
  }
  return left;
}

void EndAll(std::vector<Child>* children) {
  for (Child& child : *children) {
    if (child.pid == 0) continue;
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    child.pid = 0;
  }
}

bool SaysMore(const Failure& failure) {
  return !failure.cause.empty() && failure.cause != "peer_lost";
}

// This rank has missed another one: what that one says, or how it ended.
void FindCause(std::vector<Child>* children, AttemptResult* result) {
  auto said = [&]() -> const Child* {
    for (const Child& child : *children) {
      if (SaysMore(child.failure) || child.signal != 0) return &child;
    }
    return nullptr;
  };
  const auto begin = std::chrono::steady_clock::now();
  while (AnyLeft(children) && said() == nullptr &&
         std::chrono::steady_clock::now() - begin < kTimeToSay) {
    std::this_thread::sleep_for(kBetweenLooks);
  }
  const Child* first = said();
  if (first == nullptr) return;
  const std::string name = "rank " + std::to_string(first->rank);
  if (SaysMore(first->failure)) {
    result->failure = first->failure;
    result->failure.message = name + ": " + first->failure.message;
    LogLine("failed (" + result->failure.cause + "): " + result->failure.message);
    return;
  }
  LogLine(name + " was ended by signal " + std::to_string(first->signal));
  const int signal = first->signal;
  EndAll(children);
  std::fflush(nullptr);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

AttemptResult Failed(const Status& status) {
  AttemptResult result;
  result.failure = {"internal", status.message(), status.hint(), ""};
  return result;
}

}  // namespace

AttemptResult RunLocalRanks(StartMessage start,
                            const std::function<AttemptResult(const StartMessage&)>& run) {
  const int processes = static_cast<int>(start.processes);
  GangPlace place = start.gang.value_or(GangPlace());
  UniqueFd listening;
  if (!start.gang) {
    if (Status met = MeetHere(&place, &listening); !met.ok()) return Failed(met);
  }
  const int first = place.rank * processes;
  place.size *= processes;
  start.processes = 1;
  start.cpu_millis /= processes;
  start.memory_bytes /= processes;
  const pid_t parent = ::getpid();
  std::vector<Child> children;
  std::fflush(nullptr);
  for (int local = 1; local < processes; ++local) {
    place.rank = first + local;
    start.gang = place;
    int ends[2];
    pid_t pid = -1;
    if (::pipe2(ends, O_CLOEXEC) != 0 || (pid = ::fork()) < 0) {
      const Status status = ErrnoStatus("cannot start rank " + std::to_string(place.rank), errno);
      EndAll(&children);
      return Failed(status);
    }
    Child child{.rank = place.rank, .pid = pid, .said = UniqueFd(ends[0]), .failure = {}};
    UniqueFd tell(ends[1]);
    if (pid == 0) RunChild(start, parent, std::move(tell), run);
    children.push_back(std::move(child));
  }
  place.rank = first;
  place.listening = listening.Release();
  start.gang = place;
  AttemptResult result = run(start);
  if (result.end == End::kFailed && result.failure.cause == "peer_lost")
    FindCause(&children, &result);
  EndAll(&children);
  return result;
}

}  // namespace cyxwiz::runner
