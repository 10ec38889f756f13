// Stands in for cyxwiz-runner in the node's tests: speaks its protocol without libtorch and does
// what the job's name says, so that each way an attempt can end is a test of a few milliseconds.
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "base/json.h"

namespace {

using cyxwiz::Json;

void Say(int fd, const Json& json) {
  std::string line = json.dump() + "\n";
  if (::send(fd, line.data(), line.size(), MSG_NOSIGNAL) < 0) ::_exit(9);
}

Json Hear(int fd) {
  std::string line;
  for (char c; ::read(fd, &c, 1) == 1 && c != '\n';) line.push_back(c);
  return line.empty() ? Json::object() : Json::parse(line);
}

int ServeAttempt(int fd) {
  Say(fd, {{"type", "hello"}, {"protocol", 1}, {"pid", ::getpid()}});
  Json start = Hear(fd);
  std::string what = start["job"].value("name", ""), folder = start.value("folder", "");
  std::printf("doing %s\n", what.c_str());
  std::fflush(stdout);
  if (start.contains("gang")) {
    std::printf("gang %s\n", start["gang"].dump().c_str());
    std::fflush(stdout);
  }
  if (what == "peer-lost") {
    Say(fd, {{"type", "failed"}, {"cause", "peer_lost"}, {"message", "rank 1 does not answer"}});
    return 0;
  }
  if (what == "exit") return 3;
  if (what == "crash") std::abort();
  if (what == "kill-parent") {
    ::kill(::getppid(), SIGKILL);
    for (;;) ::pause();
  }
  if (what == "stop-parent") {  // as if it hung
    ::kill(::getppid(), SIGSTOP);
    Say(fd, {{"type", "started"}, {"device", "cpu"}, {"threads", 1}, {"parameters", 10}});
    for (;;) ::pause();
  }
  if (what == "stop-parent-and-succeed") {
    ::kill(::getppid(), SIGSTOP);
    Say(fd, {{"type", "succeeded"}, {"files", Json::array()}});
    return 0;
  }
  if (what == "linger") {
    Say(fd, {{"type", "succeeded"}, {"files", Json::array()}});
    for (;;) ::pause();
  }
  if (what == "close") {
    ::close(fd);
    for (;;) ::pause();
  }
  if (what == "user-error") {
    Say(fd, {{"type", "failed"},
             {"cause", "user_error"},
             {"message", "no such file"},
             {"hint", "check the path"},
             {"path", "$.dataset"}});
    return 0;
  }
  if (what == "disk-full") {
    Say(fd, {{"type", "failed"},
             {"cause", "disk_full"},
             {"message", "cannot keep the result: No space left on device"}});
    return 0;
  }
  if (what == "nonsense") {
    Say(fd, {{"type", "poem"}});
    for (;;) ::pause();
  }
  if (what == "chatty") {
    std::string line(99, 'x');
    for (int i = 0; i < 2000; ++i) std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  }
  if (what == "orphan" && ::fork() == 0) {
    ::close(fd);
    for (;;) ::pause();
  }
  Say(fd, {{"type", "started"}, {"device", "cpu"}, {"threads", 1}, {"parameters", 10}});
  if (what == "model") {
    std::ifstream weights(folder + "/" + start["weights"].get<std::string>());
    std::string text((std::istreambuf_iterator<char>(weights)), {});
    std::printf("weights: %s\n", text.c_str());
    std::fflush(stdout);
    if (text == "damaged") {
      Say(fd, {{"type", "failed"}, {"cause", "data_unavailable"}, {"message", "damaged"}});
    } else {
      Say(fd, {{"type", "succeeded"}, {"files", Json::array()}});
    }
    return 0;
  }
  if (what == "checkpoints") {
    // Goes on from what is there, or makes one of step 10; asked to yield, makes one of step 20.
    const bool leads = !start.contains("gang") || start["gang"]["rank"] == 0;
    auto write = [&](int step) {
      if (!leads) return;
      std::string name = "0000000000" + std::to_string(step), path = folder + "/checkpoints";
      std::filesystem::create_directories(path + "/" + name);
      std::string state = "state of step " + std::to_string(step);
      std::ofstream(path + "/" + name + "/state.safetensors") << state;
      std::ofstream(path + "/" + name + "/manifest.json") << "{}";
      // SHA-256 of these two texts and of {}.
      const char* hash = step == 10
                             ? "5309c422eb48b649fcc0a1e22e50cc08f4bb73da5adb4a139142b4b29e404e74"
                             : "99e1011d521da8b14c4d6e700c5148dae02658ec8b1db6b105aed34fd7834a31";
      Say(fd,
          {{"type", "checkpoint"},
           {"name", name},
           {"epoch", 2},
           {"step", step},
           {"files",
            {{{"name", "state.safetensors"}, {"size", state.size()}, {"sha256", hash}},
             {{"name", "manifest.json"},
              {"size", 2},
              {"sha256", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}}}});
    };
    if (start.contains("resume")) {
      for (const auto& entry :
           std::filesystem::directory_iterator(folder + "/" + start["resume"].get<std::string>())) {
        std::ifstream state(entry.path() / "state.safetensors");
        std::string text((std::istreambuf_iterator<char>(state)), {});
        std::printf("found %s: %s\n", entry.path().filename().c_str(), text.c_str());
      }
      std::fflush(stdout);
    } else {
      write(10);
    }
    while (Hear(fd).value("type", "stop") == "yield") {
      write(20);
      Say(fd, {{"type", "yielded"}, {"checkpoint", "000000000020"}});
      return 0;
    }
    Say(fd, {{"type", "stopped"}});
    return 0;
  }
  if (what == "burn") {
    // Takes all of a core that it can get for a while, and tells how much that was; begins when its
    // node has moved it into its groups.
    auto is_held = [] {
      std::ifstream groups("/proc/self/cgroup");
      for (std::string line; std::getline(groups, line);) {
        const bool cpu = line.find(":cpu:") != line.npos || line.find(":cpu,") != line.npos ||
                         line.starts_with("0::");
        if (cpu && line.find("cyxwiz-node-") != line.npos) return true;
      }
      return false;
    };
    for (int i = 0; i < 5000 && !is_held(); ++i) ::poll(nullptr, 0, 1);
    timespec wall_begin, wall, cpu_begin, cpu;
    ::clock_gettime(CLOCK_MONOTONIC, &wall_begin);
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_begin);
    auto seconds = [](const timespec& from, const timespec& to) {
      return static_cast<double>(to.tv_sec - from.tv_sec) +
             static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e9;
    };
    do {
      ::clock_gettime(CLOCK_MONOTONIC, &wall);
    } while (seconds(wall_begin, wall) < 1);
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    Say(fd, {{"type", "succeeded"},
             {"files", Json::array()},
             {"metrics", {{"cores", seconds(cpu_begin, cpu) / seconds(wall_begin, wall)}}}});
    return 0;
  }
  if (what == "show-gpus") {
    std::printf("CUDA_VISIBLE_DEVICES=%s\n", start.value("cuda_visible_devices", "?").c_str());
    std::fflush(stdout);
  }
  if (what == "hang" || what == "show-gpus") {
    while (Hear(fd).value("type", "stop") != "stop") {
    }
    Say(fd, {{"type", "stopped"}});
    return 0;
  }
  Say(fd, {{"type", "progress"},
           {"progress", 0.5},
           {"epoch", 1},
           {"epochs", 2},
           {"metrics", {{"train_loss", 0.25}}}});
  std::ofstream(folder + "/weights.safetensors") << std::string(1 << 20, 'w');
  std::ofstream(folder + "/model.json") << "{}";
  Say(fd, {{"type", "succeeded"},
           {"files", {"weights.safetensors", "model.json"}},
           {"metrics", {{"train_loss", 0.125}}},
           {"compute_seconds", 2.0}});
  return 0;
}

void SendPacket(const Json& json) {
  std::string text = json.dump();
  if (::send(3, text.data(), text.size(), MSG_NOSIGNAL) < 0) ::_exit(1);
}

// The message and its two descriptors; false at the end.
bool Receive(Json* message, int descriptors[2]) {
  char text[65536];
  iovec part{text, sizeof text};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n = ::recvmsg(3, &header, MSG_CMSG_CLOEXEC);
  if (n <= 0) return false;
  *message = Json::parse(std::string(text, static_cast<size_t>(n)));
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr) return false;
  std::memcpy(descriptors, CMSG_DATA(rights), 2 * sizeof(int));
  return true;
}

}  // namespace

int main() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
  int ends = ::signalfd(-1, &children, SFD_CLOEXEC);
  std::map<pid_t, std::string> running;
  SendPacket({{"type", "ready"},
              {"protocol", 1},
              {"pid", ::getpid()},
              {"libtorch", "none"},
              {"gangs", true}});
  for (;;) {
    pollfd waits[2] = {{3, POLLIN, 0}, {ends, POLLIN, 0}};
    ::poll(waits, 2, -1);
    if (waits[1].revents != 0) {
      signalfd_siginfo info;
      if (::read(ends, &info, sizeof info) < 0) return 1;
      int status = 0;
      rusage usage{};
      for (pid_t pid; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
        bool signalled = WIFSIGNALED(status);
        SendPacket({{"type", "exited"},
                    {"id", running[pid]},
                    {"pid", pid},
                    {"code", signalled ? -1 : WEXITSTATUS(status)},
                    {"signal", signalled ? WTERMSIG(status) : 0},
                    {"max_rss_bytes", usage.ru_maxrss * 1024}});
      }
    }
    if (waits[0].revents == 0) continue;
    Json message;
    int descriptors[2];
    if (!Receive(&message, descriptors)) return 0;
    std::string id = message["id"];
    pid_t pid = ::fork();
    if (pid == 0) {
      ::setsid();
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::sigprocmask(SIG_UNBLOCK, &children, nullptr);
      ::dup2(descriptors[1], 1);
      ::dup2(descriptors[1], 2);
      ::close(3);
      ::exit(ServeAttempt(descriptors[0]));
    }
    ::close(descriptors[0]);
    ::close(descriptors[1]);
    running[pid] = id;
    SendPacket({{"type", "forked"}, {"id", id}, {"pid", pid}});
  }
}
