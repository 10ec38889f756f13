#include "central/disk_reserve.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/file.h"

namespace cyxwiz::central {
namespace {

constexpr int64_t kLeastBytes = 64 << 10;

int64_t FreeBytes(const std::string& path) {
  struct statvfs info;
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (statvfs(folder.empty() ? "." : folder.c_str(), &info) != 0) return 0;
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

}  // namespace

Status DiskReserve::Allocate() {
  UniqueFd fd(open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  if (!fd) return ErrnoStatus("cannot create '" + path_ + "'", errno);
  if (ftruncate(fd.get(), 0) != 0) return ErrnoStatus("cannot truncate '" + path_ + "'", errno);
  int error = posix_fallocate(fd.get(), 0, bytes_);
  if (error == 0) {
    held_ = true;
    return OkStatus();
  }
  unlink(path_.c_str());
  if (error == ENOSPC || error == EDQUOT)
    return ResourceExhausted("no space left for the reserve '" + path_ + "'");
  return ErrnoStatus("cannot allocate '" + path_ + "'", error);
}

Status DiskReserve::MakeFirst() {
  if (path_.empty() || bytes_ == 0) return OkStatus();
  unlink(path_.c_str());
  int64_t bytes = std::min(bytes_, FreeBytes(path_) / 8);
  if (bytes < kLeastBytes)
    return ResourceExhausted("no space left for the reserve '" + path_ + "'");
  bytes_ = bytes;
  return Allocate();
}

bool DiskReserve::MakeAgain() {
  if (path_.empty() || bytes_ == 0 || held_) return true;
  return FreeBytes(path_) >= 2 * bytes_ && Allocate().ok();
}

bool DiskReserve::GiveUp() {
  if (!held_) return false;
  held_ = false;
  return unlink(path_.c_str()) == 0;
}

}  // namespace cyxwiz::central
