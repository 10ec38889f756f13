#include "sim/disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sim/reach.h"

namespace cyxwiz::sim {
namespace {

Disk* mounted = nullptr;
constexpr int64_t kSector = 512;

}  // namespace

struct Disk::Handle {
  sqlite3_file base;
  Disk* disk;
  FilePtr* file;
  int64_t process;
};

// SQLite's C interface.
struct VfsMethods {
  using Handle = Disk::Handle;
  using Fault = Disk::Fault;
  static Handle* Of(sqlite3_file* file) { return reinterpret_cast<Handle*>(file); }

  static int Close(sqlite3_file* file) {
    delete Of(file)->file;
    Of(file)->file = nullptr;
    return SQLITE_OK;
  }

  static int Read(sqlite3_file* f, void* out, int n, sqlite3_int64 offset) {
    Handle& handle = *Of(f);
    bool part = false;
    if (int error = handle.disk->Begin(handle, Fault::kRead, &part)) return error;
    const std::string& data = (*handle.file)->current;
    int64_t size = static_cast<int64_t>(data.size());
    int64_t there = std::clamp<int64_t>(size - offset, 0, n);
    if (there > 0) std::memcpy(out, data.data() + offset, static_cast<size_t>(there));
    if (there == n) return SQLITE_OK;
    std::memset(static_cast<char*>(out) + there, 0, static_cast<size_t>(n - there));
    return SQLITE_IOERR_SHORT_READ;
  }

  static int Write(sqlite3_file* f, const void* in, int n, sqlite3_int64 offset) {
    Handle& handle = *Of(f);
    Disk& disk = *handle.disk;
    bool part = false;
    int error = disk.Begin(handle, Fault::kWrite, &part);
    if (error && !part) return error;
    Disk::File& file = **handle.file;
    int64_t space =
        disk.copies_on_write_ ? n : offset + n - static_cast<int64_t>(file.current.size());
    if (space > 0 && disk.used() + space > disk.capacity_) {
      disk.errno_ = disk.quota_like_ ? EDQUOT : ENOSPC;
      disk.Trace("no space to write", file, offset, n, SQLITE_FULL);
      return disk.quota_like_ ? SQLITE_IOERR_WRITE : SQLITE_FULL;
    }
    disk.Trace("write", file, offset, n, error);
    int64_t bytes = part ? disk.random_.Between(0, n) : n;
    if (bytes > 0) {
      file.unsynced.push_back(
          {offset, std::string(static_cast<const char*>(in), static_cast<size_t>(bytes))});
      Disk::Apply(file.unsynced.back(), &file.current);
    }
    return error;
  }

  static int Truncate(sqlite3_file* f, sqlite3_int64 size) {
    Handle& handle = *Of(f);
    bool part = false;
    if (int error = handle.disk->Begin(handle, Fault::kWrite, &part)) return error;
    Disk::File& file = **handle.file;
    handle.disk->Trace("truncate", file, size, 0, SQLITE_OK);
    file.unsynced.push_back({0, "", size});
    Disk::Apply(file.unsynced.back(), &file.current);
    return SQLITE_OK;
  }

  static int Sync(sqlite3_file* f, int) {
    Handle& handle = *Of(f);
    bool part = false;
    int error = handle.disk->Begin(handle, Fault::kSync, &part);
    Disk::File& file = **handle.file;
    handle.disk->Trace("sync", file, static_cast<int64_t>(file.unsynced.size()), 0, error);
    if (error == SQLITE_IOERR_FSYNC) file.unsynced.clear();  // nobody will try to write it again
    if (error) return error;
    // Replayed, so that what a failed sync dropped stays dropped.
    for (const Disk::Write& write : file.unsynced) Disk::Apply(write, &file.durable);
    file.unsynced.clear();
    if (!file.durable_exists) {  // its folder is synced with it
      file.durable_exists = true;
      std::erase_if(handle.disk->deleted_, [&](const auto& d) { return d->name == file.name; });
    }
    return SQLITE_OK;
  }

  static int FileSize(sqlite3_file* f, sqlite3_int64* size) {
    Handle& handle = *Of(f);
    bool part = false;
    if (int error = handle.disk->Begin(handle, Fault::kNone, &part)) return error;
    *size = static_cast<sqlite3_int64>((*handle.file)->current.size());
    return SQLITE_OK;
  }

  static int Lock(sqlite3_file*, int) { return SQLITE_OK; }
  static int CheckReservedLock(sqlite3_file*, int* result) {
    *result = 0;
    return SQLITE_OK;
  }
  static int FileControl(sqlite3_file* f, int code, void* argument) {
    if (code != SQLITE_FCNTL_LAST_ERRNO) return SQLITE_NOTFOUND;
    *static_cast<int*>(argument) = Of(f)->disk->errno_;
    return SQLITE_OK;
  }
  static int SectorSize(sqlite3_file*) { return 4096; }
  // As SQLite assumes of every file system of Unix.
  static int DeviceCharacteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

  static int Open(sqlite3_vfs*, const char* name, sqlite3_file* f, int flags, int* out_flags) {
    static const sqlite3_io_methods methods = [] {
      sqlite3_io_methods m{};
      m.iVersion = 1;
      m.xClose = Close;
      m.xRead = Read;
      m.xWrite = Write;
      m.xTruncate = Truncate;
      m.xSync = Sync;
      m.xFileSize = FileSize;
      m.xLock = Lock;
      m.xUnlock = Lock;
      m.xCheckReservedLock = CheckReservedLock;
      m.xFileControl = FileControl;
      m.xSectorSize = SectorSize;
      m.xDeviceCharacteristics = DeviceCharacteristics;
      return m;
    }();
    Handle& handle = *Of(f);
    std::memset(&handle, 0, sizeof handle);
    if (mounted == nullptr) return SQLITE_CANTOPEN;
    Disk& disk = *mounted;
    Handle opening{{}, &disk, nullptr, disk.process_};
    bool part = false;
    if (int error = disk.Begin(opening, Fault::kNone, &part)) return error;
    Disk::FilePtr file;
    if (name == nullptr) {
      file = std::make_shared<Disk::File>();
    } else {
      auto found = disk.files_.find(name);
      if (found == disk.files_.end()) {
        if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
        found = disk.files_.emplace(name, std::make_shared<Disk::File>()).first;
        found->second->name = name;
      }
      file = found->second;
    }
    disk.Trace("open", *file, static_cast<int64_t>(file->current.size()), 0, SQLITE_OK);
    handle.base.pMethods = &methods;
    handle.disk = &disk;
    handle.file = new Disk::FilePtr(std::move(file));
    handle.process = disk.process_;
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
  }

  static int Delete(sqlite3_vfs*, const char* name, int sync_folder) {
    Disk& disk = *mounted;
    Handle deleting{{}, &disk, nullptr, disk.process_};
    bool part = false;
    if (int error = disk.Begin(deleting, Fault::kWrite, &part)) return error;
    auto found = disk.files_.find(name);
    if (found == disk.files_.end()) return SQLITE_IOERR_DELETE_NOENT;
    disk.Trace("delete", *found->second, sync_folder, 0, SQLITE_OK);
    if (!sync_folder) disk.deleted_.push_back(found->second);
    disk.files_.erase(found);
    return SQLITE_OK;
  }

  static int Access(sqlite3_vfs*, const char* name, int, int* result) {
    *result = mounted->files_.count(name) > 0;
    return SQLITE_OK;
  }
  static int FullPathname(sqlite3_vfs*, const char* name, int n, char* out) {
    sqlite3_snprintf(n, out, "%s", name);
    return SQLITE_OK;
  }
  // SQLite's own chance (salts of its log) is always the same.
  static int Randomness(sqlite3_vfs*, int n, char* out) {
    std::memset(out, 7, static_cast<size_t>(n));
    return n;
  }
  static int Sleep(sqlite3_vfs*, int microseconds) { return microseconds; }
  static int CurrentTime(sqlite3_vfs*, double* out) {
    *out = 2460000;
    return SQLITE_OK;
  }
  static int GetLastError(sqlite3_vfs*, int, char*) { return mounted ? mounted->errno_ : 0; }

  static sqlite3_vfs* Registered() {
    static sqlite3_vfs* const vfs = [] {
      static sqlite3_vfs v{};
      v.iVersion = 1;
      v.szOsFile = sizeof(Handle);
      v.mxPathname = 512;
      v.zName = "sim";
      v.xOpen = Open;
      v.xDelete = Delete;
      v.xAccess = Access;
      v.xFullPathname = FullPathname;
      v.xRandomness = Randomness;
      v.xSleep = Sleep;
      v.xCurrentTime = CurrentTime;
      v.xGetLastError = GetLastError;
      // The default, because SQLite asks that one for its first random numbers.
      sqlite3_vfs_register(&v, 1);
      return &v;
    }();
    return vfs;
  }
};

const char* Disk::Vfs() { return VfsMethods::Registered()->zName; }

void Disk::Mount(Disk* disk) {
  VfsMethods::Registered();
  mounted = disk;
  sqlite3_randomness(0, nullptr);  // begins anew
}

int Disk::Begin(const Handle& handle, Fault kind, bool* part) {
  if (!alive_ || handle.process != process_) return SQLITE_IOERR;
  ++operations_;
  if (kill_at_ > 0 && --kill_at_ == 0) {
    killed_ = true;
    KillProcess();
    *part = true;
    return SQLITE_IOERR;
  }
  if (kind != Fault::kNone && kind == fail_ && --fail_at_ <= 0) {
    fail_ = Fault::kNone;
    errno_ = EIO;
    sync_failed_ |= kind == Fault::kSync;
    return kind == Fault::kRead    ? SQLITE_IOERR_READ
           : kind == Fault::kWrite ? SQLITE_IOERR_WRITE
                                   : SQLITE_IOERR_FSYNC;
  }
  return SQLITE_OK;
}

void Disk::Apply(const Write& write, std::string* data) {
  if (write.truncate >= 0) {
    data->resize(static_cast<size_t>(write.truncate));
    return;
  }
  size_t end = static_cast<size_t>(write.offset) + write.data.size();
  if (data->size() < end) data->resize(end);
  std::memcpy(data->data() + write.offset, write.data.data(), write.data.size());
}

void Disk::LosePower() {
  ++process_;
  for (FilePtr& file : deleted_) {
    if (random_.Chance(0.5)) files_[file->name] = file;
  }
  deleted_.clear();
  enum { kNone, kAll, kFirst, kAny };
  int64_t kept = random_.Below(4);
  for (auto it = files_.begin(); it != files_.end();) {
    File& file = *it->second;
    int64_t count = static_cast<int64_t>(file.unsynced.size());
    int64_t first = random_.Between(0, count);
    for (int64_t i = 0; i < count; ++i) {
      Write& write = file.unsynced[static_cast<size_t>(i)];
      bool lost =
          kept == kNone || (kept == kFirst && i > first) || (kept == kAny && random_.Chance(0.4));
      if (lost) {
        Reach(Place::kWritesLost);
        continue;
      }
      bool torn = (kept == kFirst && i == first) || (kept == kAny && random_.Chance(0.3));
      if (!torn || write.truncate >= 0) {
        Apply(write, &file.durable);
        continue;
      }
      // Sector by sector, in any order.
      Reach(Place::kWriteTorn);
      int64_t end = write.offset + static_cast<int64_t>(write.data.size());
      for (int64_t at = write.offset; at < end;) {
        int64_t stop = std::min(end, (at / kSector + 1) * kSector);
        if (random_.Chance(0.5)) {
          Apply({at, write.data.substr(static_cast<size_t>(at - write.offset),
                                       static_cast<size_t>(stop - at))},
                &file.durable);
        }
        at = stop;
      }
    }
    Trace("power lost", file, count, static_cast<int64_t>(file.durable.size()), SQLITE_OK);
    file.unsynced.clear();
    file.current = file.durable;
    if (!file.durable_exists && file.current.empty() && random_.Chance(0.5)) {
      it = files_.erase(it);
    } else {
      file.durable_exists = true;
      ++it;
    }
  }
}

void Disk::Trace(const char* what, const File& file, int64_t a, int64_t b, int result) const {
  if (!trace_) return;
  trace_(std::string(what) + " " + file.name + " " + std::to_string(a) + " " + std::to_string(b) +
         (result == SQLITE_OK ? "" : " error " + std::to_string(result)));
}

bool Disk::out_of_space() const { return errno_ == ENOSPC || errno_ == EDQUOT; }

int64_t Disk::used() const {
  int64_t bytes = taken_;
  for (const auto& [name, file] : files_) bytes += static_cast<int64_t>(file->current.size());
  return bytes;
}

bool Disk::TakeSpace(int64_t bytes) {
  if (used() + bytes > capacity_) return false;
  taken_ += bytes;
  return true;
}

Status SimReserve::MakeFirst() {
  held_ = disk_->TakeSpace(bytes_);
  return held_ ? OkStatus() : ResourceExhausted("no space left for the reserve");
}

bool SimReserve::MakeAgain() {
  if (held_) return true;
  if (!disk_->TakeSpace(2 * bytes_)) return false;
  disk_->GiveSpace(bytes_);
  return held_ = true;
}

bool SimReserve::GiveUp() {
  if (!held_) return false;
  held_ = false;
  disk_->GiveSpace(bytes_);
  return true;
}

}  // namespace cyxwiz::sim
