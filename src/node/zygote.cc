#include "node/zygote.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "base/logging.h"
#include "base/text.h"
#include "node/attempt_log.h"

extern char** environ;

namespace cyxwiz::node {
namespace {

constexpr size_t kMaxPacketBytes = 64 << 10;
constexpr int kZygoteFd = 3;
constexpr size_t kLastWordsBytes = 1024;
constexpr size_t kMaxLineBytes = 1024;
constexpr int kMostReadsAtEnd = 32;   // who goes on writing does not keep us
constexpr int kMaxLinesLogged = 100;  // of one zygote; it has little to say

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

// Whether the process is a zombie, or gone: its parent could tell. One whose first thread alone has
// ended has not.
bool HasEnded(pid_t pid) {
  Result<std::string> stat = ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!stat.ok()) return true;
  // After the name, which may hold anything: state, and 16 fields later the number of threads.
  size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(stat->substr(name_end + 1));
  std::string state, skipped;
  fields >> state;
  for (int i = 0; i < 16; ++i) fields >> skipped;
  int threads = 0;
  fields >> threads;
  return state == "X" || (state == "Z" && threads <= 1);
}

std::string InSeconds(Duration time) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", std::chrono::duration<double>(time).count());
  return text;
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

Zygote::Zygote(boost::asio::io_context& io, Options options, Events events)
    : io_(io),
      options_(std::move(options)),
      events_(std::move(events)),
      child_signal_(io),
      restart_timer_(io),
      debt_timer_(io),
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
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return ErrnoStatus("cannot make the pipe of the runner's errors", errno);
  }
  UniqueFd our_errors(ends[0]), their_errors(ends[1]);
  ::fcntl(our_errors.get(), F_SETFL, O_NONBLOCK);

  std::vector<std::string> variables = RunnerEnvironment();
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::array<std::string, 2> words = {options_.runner, "--zygote"};
  char* arguments[] = {words[0].data(), words[1].data(), nullptr};

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  // Standard output goes where standard error does: the runner's stdout is nobody's data.
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, their_errors.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, their_errors.get(), 2);
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
  int error = ::posix_spawn(&pid, options_.runner.c_str(), &actions, &attributes, arguments,
                            environment.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus("cannot start '" + options_.runner + "'", error);

  pid_ = pid;
  ready_ = false;
  writing_ = false;
  ++generation_;
  socket_ = std::make_unique<boost::asio::posix::stream_descriptor>(io_, ours.Release());
  errors_ = std::make_unique<boost::asio::posix::stream_descriptor>(io_, our_errors.Release());
  last_words_.clear();
  line_.clear();
  lines_logged_ = 0;
  WaitReadable();
  ReadErrors();
  Expect({DebtKind::kReady, ""}, options_.start_within);
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
  std::erase_if(condemned_, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
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
                        // It is ending, and SIGCHLD will tell how; or it is broken.
                        Expect({DebtKind::kEnd, ""}, options_.answer_within);
                      });
}

void Zygote::ReadErrors() {
  // Only waited for: what the loop had read already would be missing when its end is told first.
  errors_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this, generation = generation_](const boost::system::error_code& error) {
                        if (error || stopped_ || generation != generation_ || !errors_) return;
                        const ssize_t n = HearMore();
                        if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) ReadErrors();
                      });
}

ssize_t Zygote::HearMore() {
  ssize_t n = ::read(errors_->native_handle(), error_chunk_.data(), error_chunk_.size());
  if (n > 0) Hear({error_chunk_.data(), static_cast<size_t>(n)});
  return n;
}

void Zygote::Hear(std::string_view text) {
  last_words_.append(text);
  if (last_words_.size() > 2 * kLastWordsBytes) {
    last_words_.erase(0, last_words_.size() - kLastWordsBytes);
  }
  for (char c : text) {
    if (c != '\n' && line_.size() < kMaxLineBytes) {
      line_.push_back(c);
      continue;
    }
    if (++lines_logged_ <= kMaxLinesLogged) {
      spdlog::warn("the runner's parent process: {}", Printable(line_));
    }
    line_.clear();
    if (c != '\n') line_.push_back(c);
  }
}

std::string Zygote::LastWords() const {
  std::string_view text = last_words_;
  text.remove_prefix(text.size() - std::min(text.size(), kLastWordsBytes));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  while (!text.empty() && (text.front() == '\n' || text.front() == ' ')) text.remove_prefix(1);
  std::string lines;
  for (char c : text) lines += c == '\n' ? std::string(" | ") : std::string(1, c);
  return ToUtf8(Printable(lines));
}

void Zygote::Expect(Debt debt, Duration within) {
  debts_.try_emplace(debt, Due{ReadClocks().monotonic + within});
  WatchDebts();
}

void Zygote::Paid(const Debt& debt) {
  if (debts_.erase(debt) > 0) WatchDebts();
}

void Zygote::WatchDebts() {
  debt_timer_.cancel();
  if (debts_.empty()) return;
  MonotonicTime due = MonotonicTime::Never();
  for (const auto& [debt, when] : debts_) due = std::min(due, when.at);
  debt_timer_.expires_at(boost::asio::steady_timer::time_point(Duration(due.ns)));
  debt_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !stopped_) CollectDebts();
  });
}

void Zygote::CollectDebts() {
  // What it owes may be waiting to be read.
  const uint64_t generation = generation_;
  if (socket_) ReadPackets();
  CheckProcess();
  if (generation != generation_) return;
  MonotonicTime now = ReadClocks().monotonic;
  for (auto& [debt, due] : debts_) {
    if (now < due.at) continue;
    if (!due.overdue) {
      // A little more: this process may have stood still itself, or what is owed may be just
      // coming.
      due = {now + options_.answer_within / 10, true};
      continue;
    }
    const auto& [kind, id] = debt;
    const std::string within = " within " + InSeconds(options_.answer_within);
    switch (kind) {
      case DebtKind::kReady:
        return Condemn("it was not ready within " + InSeconds(options_.start_within));
      case DebtKind::kEnd:
        return Condemn("it closed its socket and did not end");
      case DebtKind::kForked:
        return Condemn("it did not answer a request to fork" + within);
      case DebtKind::kExited:
        if (HasEnded(children_.at(id))) {
          return Condemn("it did not tell the end of a runner" + within);
        }
        spdlog::warn("runner {} was killed, and has not ended{}: the kernel holds it", id, within);
        due = {now + options_.answer_within};
        break;
    }
  }
  WatchDebts();
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
                    options_.runner, NumberOf(json, "protocol"));
      return Condemn("it speaks version " + std::to_string(NumberOf(json, "protocol")) +
                     " of the runner protocol, this node speaks version 1");
    }
    Paid({DebtKind::kReady, ""});
    libtorch_version_ = TextOf(json, "libtorch");
    auto cuda = json.find("cuda");
    can_use_gpus_ = cuda == json.end() || !cuda->is_boolean() || cuda->get<bool>();
    auto gangs = json.find("gangs");
    trains_in_gangs_ = gangs != json.end() && gangs->is_boolean() && gangs->get<bool>();
    ready_ = true;
    trouble_.clear();
    backoff_.Reset();
    SendPackets();
    events_.ready();
  } else if (type == "forked") {
    pid_t pid = static_cast<pid_t>(NumberOf(json, "pid"));
    Paid({DebtKind::kForked, id});
    children_[id] = pid;
    events_.forked(id, pid);
  } else if (type == "fork_failed") {
    Paid({DebtKind::kForked, id});
    events_.fork_failed(id, TextOf(json, "message"));
  } else if (type == "exited") {
    Paid({DebtKind::kExited, id});
    children_.erase(id);
    events_.exited(
        id, {static_cast<int>(NumberOf(json, "code")), static_cast<int>(NumberOf(json, "signal")),
             NumberOf(json, "max_rss_bytes")});
  } else {
    spdlog::error("the runner's parent says: {}", text);
  }
}

void Zygote::Fork(const std::string& id, UniqueFd socket, UniqueFd output) {
  Json message = {{"type", "fork"}, {"id", id}};
  packets_.push_back({id, message.dump(), std::move(socket), std::move(output)});
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
    Expect({DebtKind::kForked, packet.id}, options_.answer_within);
    packets_.pop_front();
  }
}

bool Zygote::Withdraw(const std::string& id) {
  return std::erase_if(packets_, [&](const Packet& packet) { return packet.id == id; }) > 0;
}

void Zygote::ExpectExit(const std::string& id) {
  if (children_.count(id) > 0) Expect({DebtKind::kExited, id}, options_.answer_within);
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

void Zygote::Condemn(const std::string& reason) {
  // Not waited for here: what is stuck in the kernel ends when it can.
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    condemned_.push_back(std::exchange(pid_, 0));
  }
  Died(reason + ", and was killed", /*hung=*/true);
}

void Zygote::Died(std::string reason, bool hung) {
  bool was_ready = ready_;
  ready_ = false;
  ++generation_;
  socket_.reset();
  debts_.clear();
  debt_timer_.cancel();
  children_.clear();
  packets_.clear();
  // What it said at last is in the pipe by now.
  if (errors_) {
    for (int i = 0; i < kMostReadsAtEnd && HearMore() > 0; ++i) {
    }
    errors_.reset();
    if (!line_.empty()) Hear("\n");
    if (std::string words = LastWords(); !words.empty()) reason += "; its last words: " + words;
  }
  std::string text = "the runner's parent process died: " + reason;
  // One that worked is started anew at once, and work waits for it.
  trouble_ = was_ready ? "" : "'" + options_.runner + "' does not start: " + reason;
  Duration wait = backoff_.Next(Random());
  spdlog::error("{}; starting another in {} ms", text,
                std::chrono::duration_cast<std::chrono::milliseconds>(wait).count());
  restart_timer_.expires_after(wait);
  restart_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || stopped_) return;
    if (Status spawned = Spawn(); !spawned.ok()) Died(spawned.message());
  });
  events_.died(reason, hung);
}

void Zygote::Stop() {
  if (stopped_) return;
  stopped_ = true;
  ++generation_;
  restart_timer_.cancel();
  debt_timer_.cancel();
  boost::system::error_code error;
  child_signal_.cancel(error);
  child_signal_.clear(error);
  socket_.reset();
  errors_.reset();
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
