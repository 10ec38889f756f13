#include "runner/zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <vector>

#include "base/json.h"
#include "runner/protocol.h"

namespace cyxwiz::runner {
namespace {

constexpr size_t kMaxPacketBytes = 64 << 10;
constexpr size_t kMaxDescriptors = 8;

struct Packet {
  std::string text;
  std::vector<UniqueFd> descriptors;
  bool truncated = false;
};

class Zygote {
 public:
  Zygote(UniqueFd socket, const ZygoteOptions& options)
      : socket_(std::move(socket)), options_(options) {}

  int Run() {
    // One place waits for both messages and the ends of children.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    child_ends_.Reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!child_ends_) {
      std::fprintf(stderr, "zygote: cannot watch children: %s\n", std::strerror(errno));
      return 1;
    }
    if (int threads = CountThreads(); threads != 1) {
      std::fprintf(stderr,
                   "zygote: %d threads before the first fork, expected 1: children could hang\n",
                   threads);
      return 1;
    }
    Send({{"type", "ready"},
          {"protocol", kProtocolVersion},
          {"pid", ::getpid()},
          {"libtorch", options_.libtorch_version},
          {"gangs", ProcessGroup::Supported()}});
    while (connected_) {
      pollfd wait[2] = {{socket_.get(), POLLIN, 0}, {child_ends_.get(), POLLIN, 0}};
      if (::poll(wait, 2, -1) < 0 && errno != EINTR) return 1;
      if (wait[1].revents != 0) ReportEnds();
      if (wait[0].revents != 0) {
        std::optional<Packet> packet = Receive();
        if (!packet) return 0;
        if (std::optional<int> code = Handle(std::move(*packet))) return *code;
      }
    }
    return 0;
  }

 private:
  void Send(const Json& message) {
    std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
    while (::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
      if (errno == EINTR) continue;
      connected_ = false;
      return;
    }
  }

  // nullopt: the node is gone.
  std::optional<Packet> Receive() {
    Packet packet;
    packet.text.resize(kMaxPacketBytes);
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
    iovec part{packet.text.data(), packet.text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n;
    do {
      n = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return std::nullopt;
    packet.text.resize(static_cast<size_t>(n));
    packet.truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        packet.descriptors.emplace_back(fd);
      }
    }
    return packet;
  }

  void SendError(const std::string& what) { Send({{"type", "error"}, {"message", what}}); }

  // A value only in a child that has done its work: its exit code.
  std::optional<int> Handle(Packet packet) {
    if (packet.truncated) {
      SendError("a message is longer than " + std::to_string(kMaxPacketBytes) +
                " bytes or carries more than " + std::to_string(kMaxDescriptors) + " descriptors");
      return std::nullopt;
    }
    Result<Json> message = ParseJson(packet.text, "message");
    if (!message.ok()) {
      SendError(message.status().message());
      return std::nullopt;
    }
    if (!message->is_object() || message->value("type", Json()) != "fork") {
      SendError("expected a message of type 'fork', found " + message->dump().substr(0, 200));
      return std::nullopt;
    }
    if (!message->contains("id") || !(*message)["id"].is_string()) {
      SendError("'fork' needs an 'id'");
      return std::nullopt;
    }
    std::string id = (*message)["id"].get<std::string>();
    if (packet.descriptors.size() != 2) {
      Send({{"type", "fork_failed"},
            {"id", id},
            {"message", "expected 2 descriptors (socket, log), found " +
                            std::to_string(packet.descriptors.size())}});
      return std::nullopt;
    }
    pid_t zygote = ::getpid();
    pid_t child = ::fork();
    if (child == 0) {
      return Attempt(zygote, std::move(packet.descriptors[0]), std::move(packet.descriptors[1]));
    }
    if (child < 0) {
      Send({{"type", "fork_failed"},
            {"id", id},
            {"message", std::string("fork: ") + std::strerror(errno)}});
      return std::nullopt;
    }
    // Here too, so that a node may signal the group as soon as it knows the pid.
    ::setpgid(child, child);
    children_[child] = id;
    Send({{"type", "forked"}, {"id", id}, {"pid", child}});
    return std::nullopt;
  }

  int Attempt(pid_t zygote, UniqueFd socket, UniqueFd log) {
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != zygote) return 1;  // it died before the line above could see it
    // Only the attempt's own descriptors: a child that held another's socket or log would keep it
    // open. They are first moved out of the way of the numbers they are to have.
    int high_socket = ::fcntl(socket.get(), F_DUPFD, 64),
        high_log = ::fcntl(log.get(), F_DUPFD, 64);
    int null = ::open("/dev/null", O_RDONLY);
    if (high_socket < 0 || high_log < 0 || null < 0) return 1;
    ::dup2(null, 0);
    ::dup2(high_log, 1);
    ::dup2(high_log, 2);
    ::dup2(high_socket, 3);
    for (UniqueFd* fd : {&socket, &log, &socket_, &child_ends_}) (void)fd->Release();
    ::close_range(4, ~0u, 0);
    ::fcntl(3, F_SETFD, FD_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    return options_.serve_attempt(UniqueFd(3));
  }

  void ReportEnds() {
    signalfd_siginfo ignored;
    while (::read(child_ends_.get(), &ignored, sizeof ignored) > 0) {
    }
    int status;
    rusage usage;
    for (pid_t pid; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
      auto child = children_.find(pid);
      if (child == children_.end()) continue;
      Send({{"type", "exited"},
            {"id", child->second},
            {"pid", pid},
            {"code", WIFEXITED(status) ? WEXITSTATUS(status) : -1},
            {"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0},
            {"max_rss_bytes", int64_t{usage.ru_maxrss} * 1024}});
      children_.erase(child);
    }
  }

  UniqueFd socket_, child_ends_;
  const ZygoteOptions& options_;
  std::map<pid_t, std::string> children_;
  bool connected_ = true;
};

}  // namespace

int RunZygote(UniqueFd socket, const ZygoteOptions& options) {
  return Zygote(std::move(socket), options).Run();
}

int CountThreads() {
  std::ifstream status("/proc/self/status");
  std::string key;
  for (int count; status >> key;) {
    if (key == "Threads:" && status >> count) return count;
    status.ignore(1 << 16, '\n');
  }
  return 0;
}

}  // namespace cyxwiz::runner
