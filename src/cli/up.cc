#include "cli/up.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/child_process.h"
#include "cli/layout.h"
#include "cli/restart_policy.h"
#include "cli/signals.h"

namespace cyxwiz::cli {
namespace {

constexpr Duration kReadyTimeout = std::chrono::seconds(60);
constexpr Duration kStopTimeout = std::chrono::seconds(5);
constexpr int kDefaultGrpcPort = 50051, kNodePort = 50052, kTerminalPort = 50053;
constexpr char kLoopback[] = "127.0.0.1:";

MonotonicTime Clock() { return ReadClocks().monotonic; }

std::string PortOf(const std::string& endpoint) { return endpoint.substr(endpoint.rfind(':') + 1); }

// The processes and what is done with them. One thread.
class Cluster {
 public:
  Cluster(Console& console, const UpOptions& options, std::string data)
      : console_(console),
        options_(options),
        data_(std::move(data)),
        programs_(options.programs.empty() ? ProgramFolder() : options.programs),
        signals_({SIGINT, SIGTERM, SIGHUP, SIGCHLD}) {}

  int Run() {
    // Whatever a daemon leaves behind when it is killed becomes our child, so that we can end it.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::signal(SIGPIPE, SIG_IGN);
    Status status = Start();
    if (status.ok() && !stop_) {
      Announce();
      while (!stop_ && status.ok()) status = Pump(MonotonicTime::Never());
    }
    if (!console_.json && stop_ && status.ok()) console_.err << "\nStopping ..." << std::endl;
    Stop();
    if (!status.ok()) return console_.Fail(status);
    if (!console_.json)
      console_.err << "Stopped. Jobs that were waiting go on with the next 'cyxwiz up'."
                   << std::endl;
    return kExitOk;
  }

 private:
  struct Member {
    explicit Member(Duration restart_pause) : restarts(restart_pause) {}

    std::string name;  // "server", "node-1"
    std::string log;
    std::function<std::vector<std::string>()> arguments;
    std::optional<ChildProcess> process;
    bool ready = false;
    bool was_ready = false;                      // since the cluster was started
    Json line;                                   // its last readiness line
    MonotonicTime due = MonotonicTime::Never();  // to be ready, or to be started again
    RestartPolicy restarts;
  };

  Status Start() {
    for (const char* program : {"cyxwiz-central-server", "cyxwiz-server-node"}) {
      if (::access((programs_ + "/" + program).c_str(), X_OK) != 0) {
        return FailedPrecondition("'" + programs_ + "/" + program + "' is missing",
                                  "build it: make");
      }
    }
    for (auto [flag, port] : {std::pair("--grpc-port", options_.grpc_port),
                              std::pair("--rest-port", options_.rest_port)}) {
      if (port != 0 && !IsPortFree(port)) {
        return FailedPrecondition(
            "port " + std::to_string(port) + " of 127.0.0.1 is in use",
            std::string("is CyxWiz running already? choose another port with ") + flag +
                " P (0: any free one)");
      }
    }
    std::vector<std::string> folders = {data_ + "/server"};
    for (int k = 1; k <= options_.nodes; ++k)
      folders.push_back(data_ + "/node-" + std::to_string(k));
    for (const std::string& folder : folders) RETURN_IF_ERROR(MakeFolder(folder, 0700));

    for (int i = 0; i <= options_.nodes; ++i) members_.emplace_back(options_.restart_pause);
    Member& server = members_[0];
    server.name = "server";
    server.log = data_ + "/server.log";
    server.arguments = [this] { return ServerArguments(); };
    RETURN_IF_ERROR(StartMember(server));
    while (!stop_ && !server.ready) RETURN_IF_ERROR(Pump(MonotonicTime::Never()));

    for (int k = 1; k <= options_.nodes && !stop_; ++k) {
      Member& node = members_[static_cast<size_t>(k)];
      node.name = "node-" + std::to_string(k);
      node.log = data_ + "/" + node.name + ".log";
      node.arguments = [this, k] { return NodeArguments(k); };
      RETURN_IF_ERROR(StartMember(node));
    }
    auto all_ready = [&] {
      return std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.ready; });
    };
    while (!stop_ && !all_ready()) RETURN_IF_ERROR(Pump(MonotonicTime::Never()));
    return OkStatus();
  }

  void AddDataRoots(std::vector<std::string>* arguments) const {
    std::error_code error;
    std::vector<std::string> roots = {std::filesystem::current_path(error).string(),
                                      "/usr/share/datasets"};
    roots.insert(roots.end(), options_.data_roots.begin(), options_.data_roots.end());
    for (const std::string& root : roots) {
      if (root.empty()) continue;
      arguments->insert(arguments->end(),
                        {"--data-roots", std::filesystem::absolute(root, error).string()});
    }
  }

  std::vector<std::string> ServerArguments() const {
    // A server that is started again keeps the ports that it was given, for clients and nodes know
    // them.
    const Json& line = members_[0].line;
    std::string grpc =
        line.is_object() ? PortOf(line.value("grpc", "")) : std::to_string(options_.grpc_port);
    std::string rest =
        line.is_object() ? PortOf(line.value("rest", "")) : std::to_string(options_.rest_port);
    std::vector<std::string> arguments = {programs_ + "/cyxwiz-central-server",
                                          "--data",
                                          data_ + "/server",
                                          "--grpc-listen",
                                          kLoopback + grpc,
                                          "--rest-listen",
                                          kLoopback + rest,
                                          "--ready-fd",
                                          std::to_string(kReadyFd)};
    AddDataRoots(&arguments);
    return arguments;
  }

  std::vector<std::string> NodeArguments(int k) const {
    // The documented ports belong to the first node of the documented server; everybody else takes
    // free ones.
    bool first = k == 1 && options_.grpc_port == kDefaultGrpcPort;
    auto listen = [&](int port) {
      return kLoopback + std::to_string(first && IsPortFree(port) ? port : 0);
    };
    std::string name = "node-" + std::to_string(k);
    std::vector<std::string> arguments = {programs_ + "/cyxwiz-server-node",
                                          "--data",
                                          data_ + "/" + name,
                                          "--server",
                                          members_[0].line.value("grpc", ""),
                                          "--listen",
                                          listen(kNodePort),
                                          "--terminal-listen",
                                          listen(kTerminalPort),
                                          "--name",
                                          name,
                                          "--ready-fd",
                                          std::to_string(kReadyFd)};
    if (options_.nodes > 1) {
      arguments.insert(arguments.end(),
                       {"--cpus", std::to_string(std::max(1, MachineCores() / options_.nodes)),
                        "--memory", std::to_string(MachineMemoryBytes() / options_.nodes)});
    }
    AddDataRoots(&arguments);
    return arguments;
  }

  Status StartMember(Member& member) {
    auto process = ChildProcess::Start(member.arguments(), member.log);
    if (!process.ok()) return process.status();
    member.process.emplace(std::move(*process));
    member.ready = false;
    member.due = Clock() + kReadyTimeout;
    return OkStatus();
  }

  // Waits for the next thing to happen, at most until `deadline`, and acts on it.
  Status Pump(MonotonicTime deadline) {
    std::vector<pollfd> descriptors = {{signals_.fd(), POLLIN, 0}};
    for (Member& member : members_) {
      deadline = std::min(deadline, member.due);
      if (member.process && member.process->ready_fd() >= 0) {
        descriptors.push_back({member.process->ready_fd(), POLLIN, 0});
      }
    }
    int timeout_ms = -1;
    if (deadline != MonotonicTime::Never()) {
      // Rounded up, so that the deadline has passed when poll returns.
      int64_t left = (deadline - Clock()) / std::chrono::milliseconds(1) + 1;
      timeout_ms = static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
    }
    ::poll(descriptors.data(), descriptors.size(), timeout_ms);

    for (int number : signals_.Take()) {
      if (number == SIGCHLD) continue;
      if (stop_) impatient_ = true;
      stop_ = true;
    }
    for (Member& member : members_) RETURN_IF_ERROR(ReadReadiness(member));
    RETURN_IF_ERROR(Reap());
    if (stopping_) return OkStatus();
    MonotonicTime now = Clock();
    for (Member& member : members_) {
      if (member.due > now || stop_) continue;
      if (!member.process) {
        RETURN_IF_ERROR(StartMember(member));
      } else if (!member.ready) {
        return Unavailable(
            member.name + " was not ready within " + FormatDuration(kReadyTimeout) + Relay(member),
            "its log: " + member.log);
      }
    }
    return OkStatus();
  }

  Status ReadReadiness(Member& member) {
    if (!member.process || member.process->ready_fd() < 0) return OkStatus();
    auto line = member.process->ReadReady();
    if (!line.ok())
      return Status(line.status().code(), member.name + ": " + line.status().message());
    if (!line->has_value()) return OkStatus();
    member.line = std::move(**line);
    if (!member.line.is_object())
      return Internal(member.name + ": the readiness line is no JSON object");
    member.ready = true;
    member.due = MonotonicTime::Never();
    if (std::exchange(member.was_ready, true)) {
      console_.err << "cyxwiz: " << member.name << " is back (pid " << member.process->pid() << ")"
                   << std::endl;
    }
    return OkStatus();
  }

  // Takes note of every child that has ended; a member that should run is started again later.
  Status Reap() {
    int wait_status = 0;
    Status failure;
    for (pid_t pid; (pid = ::waitpid(-1, &wait_status, WNOHANG)) > 0;) {
      auto found = std::find_if(members_.begin(), members_.end(), [&](const Member& m) {
        return m.process && m.process->pid() == pid;
      });
      if (found == members_.end()) continue;  // somebody a daemon left behind
      Member& member = *found;
      // A line that stands in the pipe counts although its writer has ended since.
      if (Status s = ReadReadiness(member); !s.ok()) failure = s;
      std::string how =
          member.name + " (pid " + std::to_string(pid) + ") " + DescribeExit(wait_status);
      member.process->Signal(SIGKILL);  // the rest of its group, if any
      std::string relay = Relay(member);
      member.process.reset();
      member.ready = false;
      member.due = MonotonicTime::Never();
      if (stop_ || stopping_) continue;
      if (!member.was_ready) {
        // What never worked will not work the second time; the reason stands in its log.
        failure =
            Status(Code::kInternal, how + " before it was ready" + relay, "its log: " + member.log);
        continue;
      }
      std::optional<Duration> pause = member.restarts.OnEnd(Clock());
      if (!pause) {
        failure = Status(Code::kInternal,
                         how + ": that was more than " + std::to_string(RestartPolicy::kMostEnds) +
                             " times in a minute" + relay,
                         "its log: " + member.log);
        continue;
      }
      console_.err << "cyxwiz: " << how << "; starting it again in " << FormatDuration(*pause)
                   << std::endl;
      member.due = Clock() + *pause;
    }
    return failure;
  }

  // The last lines that a member wrote, to be appended to a message.
  static std::string Relay(const Member& member) {
    std::string tail = member.process ? member.process->LogTail() : "";
    if (tail.size() >= 4096) tail.erase(0, tail.find('\n') + 1);
    while (!tail.empty() && tail.back() == '\n') tail.pop_back();
    return tail.empty()
               ? ""
               : "; it said: " +
                     tail.substr(tail.size() > 1000 ? tail.find('\n', tail.size() - 1000) + 1 : 0);
  }

  void Announce() {
    const Json& server = members_[0].line;
    std::string grpc = server.value("grpc", "");
    std::string rest = server.value("rest", "");
    if (rest.rfind("http", 0) != 0) rest = "http://" + rest;
    Json nodes = Json::array();
    for (size_t k = 1; k < members_.size(); ++k) {
      const Json& line = members_[k].line;
      nodes.push_back({{"node_id", line.value("node_id", "")},
                       {"endpoint", line.value("endpoint", "")},
                       {"pid", members_[k].process->pid()}});
    }
    if (console_.json) {
      // In the order of the documentation; nlohmann's plain object would sort the keys.
      nlohmann::ordered_json first;
      first["grpc"] = grpc;
      first["rest"] = rest;
      first["nodes"] = nodes;
      first["server_pid"] = members_[0].process->pid();
      first["data"] = data_;
      console_.out << first.dump() << std::endl;
      return;
    }
    std::ostream& out = console_.out;
    out << console_.Paint("CyxWiz is up.", "1;32") << " Ctrl-C stops it.\n\n"
        << "  server   " << grpc << "  (pid " << members_[0].process->pid() << ")\n"
        << "  REST     " << rest << "\n";
    for (size_t k = 1; k < members_.size(); ++k) {
      std::string name = members_[k].name;
      name.resize(std::max<size_t>(name.size(), 7), ' ');
      out << "  " << name << "  " << members_[k].line.value("endpoint", "") << "  (pid "
          << members_[k].process->pid() << ")\n";
    }
    out << "  data     " << data_ << "\n"
        << "  logs     " << data_ << "/server.log, node-1.log"
        << (options_.nodes > 1 ? ", ..." : "") << "\n\n"
        << "In another terminal:\n";
    if (grpc != std::string(kLoopback) + std::to_string(kDefaultGrpcPort)) {
      out << "  export CYXWIZ_SERVER=" << grpc << "\n";
    }
    out << "  cyxwiz submit examples/fashion-mnist-mlp.json --wait\n"
        << "  cyxwiz ps\n"
        << "  cyxwiz nodes\n"
        << std::endl;
  }

  // Nodes first: they end their runners and report it while the server still listens.
  void Stop() {
    stopping_ = true;
    if (members_.empty()) return;
    for (Member& member : members_) member.due = MonotonicTime::Never();
    StopMembers(1, members_.size());
    StopMembers(0, 1);
    EndOrphans();
  }

  void StopMembers(size_t begin, size_t end) {
    auto any_left = [&] {
      return std::any_of(members_.begin() + static_cast<ptrdiff_t>(begin),
                         members_.begin() + static_cast<ptrdiff_t>(end),
                         [](const Member& m) { return m.process.has_value(); });
    };
    auto signal_all = [&](int number) {
      for (size_t i = begin; i < end; ++i) {
        if (!members_[i].process) continue;
        if (number == SIGKILL)
          console_.err << "cyxwiz: " << members_[i].name << " does not stop: killing it"
                       << std::endl;
        members_[i].process->Signal(number);
      }
    };
    signal_all(SIGTERM);
    MonotonicTime deadline = Clock() + kStopTimeout;
    while (any_left() && Clock() < deadline && !impatient_) (void)Pump(deadline);
    if (any_left()) signal_all(SIGKILL);
    while (any_left()) (void)Pump(MonotonicTime::Never());
  }

  // Processes that lost their daemon are our children now. None is left when this returns.
  void EndOrphans() {
    while (true) {
      bool any = false;
      std::error_code error;
      for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
        auto pid = ParseInt(entry.path().filename().string());
        if (!pid) continue;
        auto stat = ReadFile(entry.path().string() + "/stat", 4096);
        if (!stat.ok()) continue;
        // pid (name) state ppid ...; the name may hold anything, so the last parenthesis counts.
        size_t after = stat->rfind(')');
        if (after == std::string::npos || after + 4 >= stat->size()) continue;
        if (std::atoi(stat->c_str() + after + 4) != ::getpid()) continue;
        any = true;
        ::kill(static_cast<pid_t>(*pid), SIGKILL);
        ::waitpid(static_cast<pid_t>(*pid), nullptr, 0);
      }
      if (!any) return;
    }
  }

  Console& console_;
  const UpOptions& options_;
  const std::string data_, programs_;
  SignalQueue signals_;
  std::vector<Member> members_;  // the server, then the nodes
  bool stop_ = false;            // the user wants it to end
  bool impatient_ = false;       // and has said so twice
  bool stopping_ = false;        // ends are expected
};

}  // namespace

bool IsPortFree(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
         ::listen(fd.get(), 1) == 0;
}

int MachineCores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

int64_t MachineMemoryBytes() {
  return static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
}

int RunUp(Console& console, const UpOptions& options) {
  std::error_code error;
  std::string data =
      std::filesystem::absolute(options.data.empty() ? DefaultDataFolder() : options.data, error)
          .lexically_normal()
          .string();
  if (data.size() > 1 && data.back() == '/') data.pop_back();
  if (Status s = MakeFolder(data, 0700); !s.ok()) return console.Fail(s);
  std::string lock_path = data + "/up.lock";
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock) return console.Fail(ErrnoStatus("cannot open '" + lock_path + "'", errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    auto holder = ReadFile(lock_path, 64);
    std::string pid = holder.ok() ? holder->substr(0, holder->find('\n')) : "";
    return console.Fail(FailedPrecondition("another 'cyxwiz up'" +
                                               (pid.empty() ? "" : " (pid " + pid + ")") +
                                               " uses the data folder '" + data + "'",
                                           "stop it, or choose another folder with --data DIR"));
  }
  if (::ftruncate(lock.get(), 0) != 0 ||
      !WriteAll(lock.get(), std::to_string(::getpid()) + "\n").ok()) {
    return console.Fail(ErrnoStatus("cannot write '" + lock_path + "'", errno));
  }
  return Cluster(console, options, data).Run();
}

}  // namespace cyxwiz::cli
