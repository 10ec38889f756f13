// A daemon that `cyxwiz up` started: in a process group of its own, writing to a log file, dying
// with its parent, and saying with one line of JSON at descriptor 3 (--ready-fd 3) that it serves.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace cyxwiz::cli {

inline constexpr int kReadyFd = 3;

// How a process ended, as a person says it: "ended with exit code 1", "was ended by signal 9
// (Killed)".
std::string DescribeExit(int wait_status);

// For the thread that started it: a child dies with that thread, not only with the process.
class ChildProcess {
 public:
  // arguments[0] is the program's path. Output is appended to `log_path`. UNAVAILABLE or what errno
  // says when the process cannot be made; a program that cannot be executed ends with code 127 and
  // says why in the log.
  static Result<ChildProcess> Start(const std::vector<std::string>& arguments,
                                    const std::string& log_path);

  ChildProcess(ChildProcess&&) = default;
  ChildProcess& operator=(ChildProcess&&) = default;

  pid_t pid() const { return pid_; }
  // Readable when there is news of readiness; -1 once it is known or can no longer come.
  int ready_fd() const { return ready_ ? ready_.get() : -1; }
  // Reads what stands at ready_fd(); the line once it is whole. INTERNAL when it is not JSON.
  Result<std::optional<Json>> ReadReady();

  // To the whole process group.
  void Signal(int number) const;

  // What the child wrote to its log, at most the last `most` bytes of it.
  std::string LogTail(size_t most = 4096) const;

 private:
  ChildProcess() = default;
  pid_t pid_ = -1;
  UniqueFd ready_;
  std::string ready_text_;
  std::string log_path_;
  off_t log_start_ = 0;
};

}  // namespace cyxwiz::cli
