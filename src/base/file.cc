#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace cyxwiz {

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus("cannot open '" + path + "'", errno);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot read '" + path + "'", errno);
    if (n == 0) return content;
    if (content.size() + static_cast<size_t>(n) > max_bytes) {
      return ResourceExhausted("'" + path + "' is larger than " + std::to_string(max_bytes) +
                               " bytes");
    }
    content.append(buffer, static_cast<size_t>(n));
  }
}

Status WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot write", errno);
    data.remove_prefix(static_cast<size_t>(n));
  }
  return OkStatus();
}

Status WriteFileAtomically(const std::string& path, std::string_view content, int mode) {
  std::string temporary = path + ".new." + std::to_string(::getpid());
  Status written = [&]() -> Status {
    UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd) return ErrnoStatus("cannot create '" + temporary + "'", errno);
    if (Status s = WriteAll(fd.get(), content); !s.ok()) {
      return Status(s.code(), "'" + temporary + "': " + s.message());
    }
    return OkStatus();
  }();
  if (written.ok()) written = MoveIntoPlace(temporary, path);
  if (!written.ok()) ::unlink(temporary.c_str());
  return written;
}

Status MoveIntoPlace(const std::string& temporary, const std::string& path) {
  UniqueFd fd(::open(temporary.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus("cannot open '" + temporary + "'", errno);
  if (::fsync(fd.get()) != 0) return ErrnoStatus("cannot fsync '" + temporary + "'", errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return ErrnoStatus("cannot rename '" + temporary + "' to '" + path + "'", errno);
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  UniqueFd dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0)
    return ErrnoStatus("cannot fsync folder '" + folder + "'", errno);
  return OkStatus();
}

Status MakeFolder(const std::string& path, int mode) {
  std::error_code error;
  bool created = std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus("cannot create folder '" + path + "'", error.value());
  if (created && ::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0) {
    return ErrnoStatus("cannot set permissions of '" + path + "'", errno);
  }
  return OkStatus();
}

std::string DefaultDataFolder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/')
    return std::string(data) + "/cyxwiz";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr && *home != '\0' ? home : ".") + "/.local/share/cyxwiz";
}

std::string ProgramFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

}  // namespace cyxwiz
