#include "node/zygote.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "base/logging.h"

extern char** environ;

namespace cyxwiz::node {
namespace {

constexpr size_t kMaxPacketBytes = 64 << 10;
constexpr int kZygoteFd = 3;

double Random() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(random);
}

// The environment of the runner: OpenMP threads must not spin between loops (on small machines that
// makes training many times slower), and their number is the runner's to choose.
std::vector<std::string> RunnerEnvironment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text(*variable);
    if (text.starts_with("OMP_NUM_THREADS=") || text.starts_with("OMP_WAIT_POLICY=") ||
        text.starts_with("GOMP_SPINCOUNT=")) {
      continue;
    }
    variables.emplace_back(text);
  }
  variables.emplace_back("OMP_WAIT_POLICY=passive");
  variables.emplace_back("GOMP_SPINCOUNT=0");
  return variables;
}

std::string DescribeEnd(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    return "it was ended by signal " + std::to_string(WTERMSIG(wait_status)) + " (" +
           ::strsignal(WTERMSIG(wait_status)) + ")";
  }
  return "it exited with code " + std::to_string(WEXITSTATUS(wait_status));
}

std::string TextOf(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

int64_t NumberOf(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

Zygote::Zygote(boost::asio::io_context& io, std::string runner, Events events)
    : io_(io),
      runner_(std::move(runner)),
      events_(std::move(events)),
      child_signal_(io),
      restart_timer_(io),
      backoff_(std::chrono::milliseconds(100), std::chrono::seconds(10)) {}

Zygote::~Zygote() { Stop(); }

void Zygote::Start() {
  boost::system::error_code error;
  child_signal_.add(SIGCHLD, error);
  WaitForChildSignal();
  if (Status spawned = Spawn(); !spawned.ok()) {
    boost::asio::post(io_, [this, spawned] {
      if (!stopped_) Died(spawned.message());
    });
  }
}

Status Zygote::Spawn() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus("cannot make the socket of the runner", errno);
  }
  UniqueFd ours(ends[0]), theirs(ends[1]);
  ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);

  std::vector<std::string> variables = RunnerEnvironment();
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::array<std::string, 2> words = {runner_, "--zygote"};
  char* arguments[] = {words[0].data(), words[1].data(), nullptr};

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  // Standard output becomes standard error: the runner's stdout is nobody's data.
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, 2, 1);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), kZygoteFd);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kZygoteFd + 1);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  // Its own process group, so that Ctrl-C in a terminal reaches the node alone, which then stops
  // its attempts in order; and none of the node's signal settings.
  ::posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigfillset(&defaults);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  int error =
      ::posix_spawn(&pid, runner_.c_str(), &actions, &attributes, arguments, environment.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus("cannot start '" + runner_ + "'", error);

  pid_ = pid;
  ready_ = false;
  writing_ = false;
  ++generation_;
  socket_ = std::make_unique<boost::asio::posix::stream_descriptor>(io_, ours.Release());
  WaitReadable();
  return OkStatus();
}

void Zygote::WaitForChildSignal() {
  child_signal_.async_wait([this](const boost::system::error_code& error, int) {
    if (error || stopped_) return;
    WaitForChildSignal();
    CheckProcess();
  });
}

void Zygote::CheckProcess() {
  int wait_status = 0;
  if (pid_ == 0 || ::waitpid(pid_, &wait_status, WNOHANG) != pid_) return;
  pid_ = 0;
  if (socket_) ReadPackets();  // what it still had to say
  if (socket_) Died(DescribeEnd(wait_status));
}

void Zygote::WaitReadable() {
  socket_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this, generation = generation_](const boost::system::error_code& error) {
                        if (error == boost::asio::error::operation_aborted || stopped_ ||
                            generation != generation_ || !socket_) {
                          return;
                        }
                        bool open = !error && ReadPackets();
                        if (generation != generation_ || !socket_) return;
                        if (open) return WaitReadable();
                        int wait_status = 0;
                        std::string how = "it closed its socket";
                        if (pid_ > 0) {
                          // Whether it is ending or broken, it is of no more use.
                          if (::waitpid(pid_, &wait_status, WNOHANG) != pid_) {
                            ::kill(pid_, SIGKILL);
                            ::waitpid(pid_, &wait_status, 0);
                          } else {
                            how = DescribeEnd(wait_status);
                          }
                          pid_ = 0;
                        }
                        Died(how);
                      });
}

bool Zygote::ReadPackets() {
  std::string buffer(kMaxPacketBytes, '\0');
  while (socket_) {
    ssize_t n = ::recv(socket_->native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (n == 0) return false;
    Handle(buffer.substr(0, static_cast<size_t>(n)));
  }
  return true;
}

void Zygote::Handle(const std::string& text) {
  Result<Json> message = ParseJson(text, "message of the runner's parent");
  if (!message.ok() || !message->is_object()) {
    spdlog::error("the runner's parent sent what is not a message: {}",
                  message.ok() ? text : message.status().ToString());
    return;
  }
  const Json& json = *message;
  std::string type = TextOf(json, "type"), id = TextOf(json, "id");
  if (type == "ready") {
    if (NumberOf(json, "protocol") != 1) {
      spdlog::error("'{}' speaks version {} of the runner protocol; this node speaks version 1",
                    runner_, NumberOf(json, "protocol"));
      trouble_ = "the runner speaks another version of the protocol";
      ::kill(pid_, SIGKILL);
      return;
    }
    libtorch_version_ = TextOf(json, "libtorch");
    auto cuda = json.find("cuda");
    can_use_gpus_ = cuda == json.end() || !cuda->is_boolean() || cuda->get<bool>();
    ready_ = true;
    trouble_.clear();
    backoff_.Reset();
    SendPackets();
    events_.ready();
  } else if (type == "forked") {
    events_.forked(id, static_cast<pid_t>(NumberOf(json, "pid")));
  } else if (type == "fork_failed") {
    events_.fork_failed(id, TextOf(json, "message"));
  } else if (type == "exited") {
    events_.exited(
        id, {static_cast<int>(NumberOf(json, "code")), static_cast<int>(NumberOf(json, "signal")),
             NumberOf(json, "max_rss_bytes")});
  } else {
    spdlog::error("the runner's parent says: {}", text);
  }
}

void Zygote::Fork(const std::string& id, UniqueFd socket, UniqueFd output) {
  Json message = {{"type", "fork"}, {"id", id}};
  packets_.push_back({message.dump(), std::move(socket), std::move(output)});
  SendPackets();
}

void Zygote::SendPackets() {
  while (ready_ && socket_ && !writing_ && !packets_.empty()) {
    Packet& packet = packets_.front();
    iovec part{packet.text.data(), packet.text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(2 * sizeof(int));
    int descriptors[2] = {packet.socket.get(), packet.output.get()};
    std::memcpy(CMSG_DATA(rights), descriptors, sizeof descriptors);
    ssize_t n = ::sendmsg(socket_->native_handle(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return WaitWritable();
    if (n < 0) return;  // it is dying: the read side notices
    packets_.pop_front();
  }
}

void Zygote::WaitWritable() {
  writing_ = true;
  socket_->async_wait(boost::asio::posix::stream_descriptor::wait_write,
                      [this, generation = generation_](const boost::system::error_code& error) {
                        if (error || stopped_ || generation != generation_) return;
                        writing_ = false;
                        SendPackets();
                      });
}

void Zygote::Died(const std::string& reason) {
  bool was_ready = ready_;
  ready_ = false;
  ++generation_;
  socket_.reset();
  packets_.clear();
  std::string text = "the runner's parent process died: " + reason;
  if (trouble_.empty() || !was_ready) trouble_ = "'" + runner_ + "' does not start: " + reason;
  // One that worked is started anew at once, and work waits for it.
  if (was_ready) trouble_.clear();
  Duration wait = backoff_.Next(Random());
  spdlog::error("{}; starting another in {} ms", text,
                std::chrono::duration_cast<std::chrono::milliseconds>(wait).count());
  restart_timer_.expires_after(wait);
  restart_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || stopped_) return;
    if (Status spawned = Spawn(); !spawned.ok()) Died(spawned.message());
  });
  events_.died(reason);
}

void Zygote::Stop() {
  if (stopped_) return;
  stopped_ = true;
  ++generation_;
  restart_timer_.cancel();
  boost::system::error_code error;
  child_signal_.cancel(error);
  child_signal_.clear(error);
  socket_.reset();
  packets_.clear();
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    int wait_status = 0;
    while (::waitpid(pid_, &wait_status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
  }
}

}  // namespace cyxwiz::node
