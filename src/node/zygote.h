// The node's side of the warm runner process that forks one child per attempt
// (docs/reference/runner-protocol.md, "Node and zygote"). Starts it, talks to it, and starts it
// again with backoff when it dies.
#pragma once

#include <sys/types.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "node/backoff.h"

namespace cyxwiz::node {

// How a forked process ended.
struct ProcessExit {
  int code = 0;    // -1 when a signal ended it
  int signal = 0;  // 0 when none did
  int64_t max_rss_bytes = 0;
};

// Executor thread only, and that thread must live as long as the process: the zygote is killed when
// the thread that started it ends. The zygote in turn takes its children with it.
class Zygote {
 public:
  // Called on the executor thread, never from within a call to this class.
  struct Events {
    std::function<void()> ready;
    std::function<void(const std::string& id, pid_t pid)> forked;
    std::function<void(const std::string& id, const std::string& message)> fork_failed;
    std::function<void(const std::string& id, const ProcessExit& exit)> exited;
    // The zygote is gone, its children are being killed by the kernel, forks that were asked for
    // will not happen; another zygote is started by itself. hung: it did not do what it owed, and
    // was killed for that.
    std::function<void(const std::string& reason, bool hung)> died;
  };

  struct Options {
    std::string runner;                               // path of cyxwiz-runner
    Duration start_within = std::chrono::minutes(5);  // libraries on a slow disk take a while
    Duration answer_within = std::chrono::seconds(10);
  };
  Zygote(boost::asio::io_context& io, Options options, Events events);
  ~Zygote();  // as Stop

  void Start();
  // Kills the zygote and, by the kernel, its children; no events come afterwards.
  void Stop();

  // Asks for a child that has `socket` as its attempt's socket and `output` as stdout and stderr.
  // Waits while the zygote is starting. The id comes back in the events.
  void Fork(const std::string& id, UniqueFd socket, UniqueFd output);
  // Takes the request back; false when it has been sent already.
  bool Withdraw(const std::string& id);
  // The child is ending, having been killed: its end must be told within answer_within. A child
  // that the kernel is still taking down is waited for.
  void ExpectExit(const std::string& id);

  bool ready() const { return ready_; }
  // Why no zygote can be started, with its last words; empty when one runs or its start is under
  // way for the first time.
  const std::string& trouble() const { return trouble_; }
  const std::string& libtorch_version() const { return libtorch_version_; }
  // False when the runner said that its libtorch cannot use GPUs.
  bool can_use_gpus() const { return can_use_gpus_; }
  // Whether the runner said that it trains as a rank of a gang.
  bool trains_in_gangs() const { return trains_in_gangs_; }
  pid_t pid() const { return pid_; }

 private:
  struct Packet {
    std::string id, text;
    UniqueFd socket, output;
  };
  // What it owes us by a certain time; when that has passed it is killed.
  enum class DebtKind { kReady, kEnd, kForked, kExited };
  using Debt = std::pair<DebtKind, std::string>;  // and of which child

  Status Spawn();
  void WaitReadable();
  void ReadErrors();
  ssize_t HearMore();                // as read(2)
  void Hear(std::string_view text);  // of its standard error
  std::string LastWords() const;
  void Expect(Debt debt, Duration within);
  void Paid(const Debt& debt);
  void WatchDebts();
  void CollectDebts();
  void WaitWritable();
  bool ReadPackets();  // false at the end of the stream
  void Handle(const std::string& text);
  void SendPackets();
  void WaitForChildSignal();
  void CheckProcess();  // whether the process has ended
  // Kills one that is of no more use.
  void Condemn(const std::string& reason);
  void Died(std::string reason, bool hung = false);

  boost::asio::io_context& io_;
  Options options_;
  Events events_;
  boost::asio::signal_set child_signal_;
  boost::asio::steady_timer restart_timer_, debt_timer_;
  struct Due {
    MonotonicTime at;
    bool overdue = false;  // that time has passed, and this is the one after it
  };
  std::map<Debt, Due> debts_;
  std::map<std::string, pid_t> children_;  // whose ends have not been told
  std::unique_ptr<boost::asio::posix::stream_descriptor> socket_, errors_;
  uint64_t generation_ = 0;  // of socket_ and errors_; late completions of earlier ones are ignored
  std::string last_words_;   // the end of its standard error
  int lines_logged_ = 0;     // of it
  std::string line_;         // of it, not yet complete
  std::array<char, 4096> error_chunk_;
  pid_t pid_ = 0;
  std::vector<pid_t> condemned_;  // killed, not yet waited for
  bool ready_ = false, stopped_ = false, writing_ = false;
  std::string trouble_, libtorch_version_;
  bool can_use_gpus_ = true, trains_in_gangs_ = false;
  std::deque<Packet> packets_;  // not yet sent
  Backoff backoff_;
};

}  // namespace cyxwiz::node
