// The node's side of the warm runner process that forks one child per attempt
// (docs/reference/runner-protocol.md, "Node and zygote"). Starts it, talks to it, and starts it
// again with backoff when it dies.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

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
    // will not happen; another zygote is started by itself.
    std::function<void(const std::string& reason)> died;
  };

  // runner: path of cyxwiz-runner.
  Zygote(boost::asio::io_context& io, std::string runner, Events events);
  ~Zygote();  // as Stop

  void Start();
  // Kills the zygote and, by the kernel, its children; no events come afterwards.
  void Stop();

  // Asks for a child that has `socket` as its attempt's socket and `output` as stdout and stderr.
  // Waits while the zygote is starting. The id comes back in the events.
  void Fork(const std::string& id, UniqueFd socket, UniqueFd output);

  bool ready() const { return ready_; }
  // Why no zygote can be started, empty when one runs or its start is under way for the first time.
  const std::string& trouble() const { return trouble_; }
  const std::string& libtorch_version() const { return libtorch_version_; }
  // False when the runner said that its libtorch cannot use GPUs.
  bool can_use_gpus() const { return can_use_gpus_; }
  pid_t pid() const { return pid_; }

 private:
  struct Packet {
    std::string text;
    UniqueFd socket, output;
  };
  Status Spawn();
  void WaitReadable();
  void WaitWritable();
  bool ReadPackets();  // false at the end of the stream
  void Handle(const std::string& text);
  void SendPackets();
  void WaitForChildSignal();
  void CheckProcess();  // whether the process has ended
  void Died(const std::string& reason);

  boost::asio::io_context& io_;
  std::string runner_;
  Events events_;
  boost::asio::signal_set child_signal_;
  boost::asio::steady_timer restart_timer_;
  std::unique_ptr<boost::asio::posix::stream_descriptor> socket_;
  uint64_t generation_ = 0;  // of socket_; late completions of an earlier one are ignored
  pid_t pid_ = 0;
  bool ready_ = false, stopped_ = false, writing_ = false;
  std::string trouble_, libtorch_version_;
  bool can_use_gpus_ = true;
  std::deque<Packet> packets_;  // not yet sent
  Backoff backoff_;
};

}  // namespace cyxwiz::node
