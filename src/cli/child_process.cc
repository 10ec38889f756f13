#include "cli/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cyxwiz::cli {

std::string DescribeExit(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    int number = WTERMSIG(wait_status);
    return "was ended by signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
  }
  return "ended with exit code " + std::to_string(WEXITSTATUS(wait_status));
}

Result<ChildProcess> ChildProcess::Start(const std::vector<std::string>& arguments,
                                         const std::string& log_path) {
  ChildProcess child;
  child.log_path_ = log_path;
  UniqueFd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return ErrnoStatus("cannot open the log '" + log_path + "'", errno);
  struct stat info {};
  if (::fstat(log.get(), &info) == 0) child.log_start_ = info.st_size;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("cannot make a pipe", errno);
  child.ready_.Reset(ends[0]);
  UniqueFd ready_write(ends[1]);
  ::fcntl(child.ready_.get(), F_SETFL, O_NONBLOCK);
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));

  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const std::string failure = "cyxwiz up: cannot execute '" + arguments[0] + "'\n";
  pid_t parent = ::getpid();

  // Only calls that are safe between fork and exec from here on.
  pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus("cannot start '" + arguments[0] + "'", errno);
  if (pid == 0) {
    ::setpgid(0, 0);  // Ctrl-C of the terminal is for the parent alone
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(127);  // it died before the line above
    ::signal(SIGPIPE, SIG_DFL);               // ignored signals stay ignored across exec
    // The descriptors may be among 0 to 3 themselves: they are first moved out of the way.
    int in = ::fcntl(null.get(), F_DUPFD_CLOEXEC, 10);
    int out = ::fcntl(log.get(), F_DUPFD_CLOEXEC, 10);
    int ready = ::fcntl(ready_write.get(), F_DUPFD_CLOEXEC, 10);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::dup2(ready, kReadyFd);
    ::execv(argv[0], argv.data());
    [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, failure.data(), failure.size());
    ::_exit(127);
  }
  ::setpgid(pid, pid);  // whichever of the two comes first: the group exists when Start returns
  child.pid_ = pid;
  return child;
}

Result<std::optional<Json>> ChildProcess::ReadReady() {
  char buffer[4096];
  for (;;) {
    ssize_t n = ::read(ready_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::optional<Json>();
    if (n <= 0) {
      ready_.Reset();  // it closed the pipe or died; its end will tell
      return std::optional<Json>();
    }
    ready_text_.append(buffer, static_cast<size_t>(n));
    size_t end = ready_text_.find('\n');
    if (end == std::string::npos) continue;
    ready_.Reset();
    Result<Json> line =
        ParseJson(std::string_view(ready_text_).substr(0, end), "the readiness line");
    if (!line.ok()) return Internal(line.status().message());
    return std::optional<Json>(std::move(*line));
  }
}

void ChildProcess::Signal(int number) const {
  if (pid_ > 0) ::kill(-pid_, number);
}

std::string ChildProcess::LogTail(size_t most) const {
  UniqueFd fd(::open(log_path_.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return "";
  off_t begin = std::max<off_t>(log_start_, info.st_size - static_cast<off_t>(most));
  std::string tail(static_cast<size_t>(std::max<off_t>(0, info.st_size - begin)), '\0');
  ssize_t n = ::pread(fd.get(), tail.data(), tail.size(), begin);
  tail.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return tail;
}

}  // namespace cyxwiz::cli
