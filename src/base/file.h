// Files: descriptors that close themselves, whole-file reads, writes that are complete or absent.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace cyxwiz {

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Whole content of a file of at most `max_bytes`.
Result<std::string> ReadFile(const std::string& path, size_t max_bytes = 64u << 20);

// Replaces `path` with `content`: written beside it, fsynced, renamed, the folder fsynced. After a
// failure or a crash the file has its old content or the new one, never a part. mode as for
// open(2).
Status WriteFileAtomically(const std::string& path, std::string_view content, int mode = 0644);

// Makes the complete file `temporary` the file `path` of the same folder, durably: fsyncs it,
// renames it, fsyncs the folder.
Status MoveIntoPlace(const std::string& temporary, const std::string& path);

// Writes all of `data` to `fd`, going on after short writes and signals.
Status WriteAll(int fd, std::string_view data);

// Creates the folder and its parents; fine when it exists.
Status MakeFolder(const std::string& path, int mode = 0755);

// Where a user's data lies: $XDG_DATA_HOME/cyxwiz (ignored when relative, as the XDG base directory
// specification says) or ~/.local/share/cyxwiz.
std::string DefaultDataFolder();

// Absolute path of the running program's folder.
std::string ProgramFolder();

}  // namespace cyxwiz
