#include "store/sqlite/page_checksums.h"

#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>

namespace cyxwiz::store {
namespace {

constexpr int kPageBytes = 4096;
constexpr int kContentBytes = kPageBytes - kChecksumBytes;
// Places in the header of a database file.
constexpr int kPageSizeAt = 16, kReservedAt = 20;
// Our own codes for sqlite3_file_control, beyond those that SQLite keeps for itself.
constexpr int kGetChecksums = 0x43797801, kSetChecksums = 0x43797802;

// Every step can be undone when the word is known, so one changed word always changes the result.
uint64_t Checksum(const unsigned char* content, uint64_t page) {
  uint64_t hash = page * 0x9e3779b97f4a7c15u + 0x43797857u;
  for (int i = 0; i < kContentBytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, content + i, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash;
}

struct File {
  sqlite3_file base;  // first: SQLite's view of this
  enum class Checksums { kUnknown, kOff, kOn } checksums;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
static_assert(sizeof(File) % alignof(max_align_t) == 0);

File* Of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
sqlite3_file* Real(sqlite3_file* file) { return Of(file)->real(); }

bool SaysChecksums(const unsigned char* page) {
  return page[kPageSizeAt] == kPageBytes >> 8 && page[kPageSizeAt + 1] == 0 &&
         page[kReservedAt] == kChecksumBytes;
}

thread_local int64_t wrong_checksums_read = 0;

bool IsRight(const unsigned char* page, uint64_t number) {
  uint64_t stored;
  std::memcpy(&stored, page + kContentBytes, kChecksumBytes);
  return stored == Checksum(page, number);
}

// Finds out whether the file has checksums. SQLITE_IOERR_DATA when only the byte that tells is
// wrong.
int Learn(File* file) {
  if (file->checksums != File::Checksums::kUnknown) return SQLITE_OK;
  std::array<unsigned char, kPageBytes> page;
  int result = file->real()->pMethods->xRead(file->real(), page.data(), kPageBytes, 0);
  if (result == SQLITE_IOERR_SHORT_READ) return SQLITE_OK;  // a new file
  if (result != SQLITE_OK) return result;
  bool on = SaysChecksums(page.data());
  if (!on) {
    page[kPageSizeAt] = kPageBytes >> 8;
    page[kPageSizeAt + 1] = 0;
    page[kReservedAt] = kChecksumBytes;
    if (IsRight(page.data(), 0)) {
      ++wrong_checksums_read;
      return SQLITE_IOERR_DATA;
    }
  }
  file->checksums = on ? File::Checksums::kOn : File::Checksums::kOff;
  return SQLITE_OK;
}

bool IsPage(int amount, sqlite3_int64 at) { return amount == kPageBytes && at % kPageBytes == 0; }

int Close(sqlite3_file* file) { return Real(file)->pMethods->xClose(Real(file)); }

int Read(sqlite3_file* file, void* data, int amount, sqlite3_int64 at) {
  int result = Real(file)->pMethods->xRead(Real(file), data, amount, at);
  if (result != SQLITE_OK || !IsPage(amount, at)) return result;
  result = Learn(Of(file));
  if (result != SQLITE_OK || Of(file)->checksums != File::Checksums::kOn) return result;
  auto page = static_cast<const unsigned char*>(data);
  if (IsRight(page, static_cast<uint64_t>(at / kPageBytes))) return SQLITE_OK;
  ++wrong_checksums_read;
  sqlite3_log(SQLITE_IOERR_DATA, "page %lld has a wrong checksum", at / kPageBytes + 1);
  return SQLITE_IOERR_DATA;
}

int Write(sqlite3_file* file, const void* data, int amount, sqlite3_int64 at) {
  if (IsPage(amount, at)) {
    auto page = static_cast<const unsigned char*>(data);
    if (at == 0) {
      Of(file)->checksums = SaysChecksums(page) ? File::Checksums::kOn : File::Checksums::kOff;
    } else if (int result = Learn(Of(file)); result != SQLITE_OK) {
      return result;
    }
    if (Of(file)->checksums == File::Checksums::kOn) {
      std::array<unsigned char, kPageBytes> copy;
      std::memcpy(copy.data(), page, kContentBytes);
      uint64_t checksum = Checksum(page, static_cast<uint64_t>(at / kPageBytes));
      std::memcpy(copy.data() + kContentBytes, &checksum, kChecksumBytes);
      return Real(file)->pMethods->xWrite(Real(file), copy.data(), amount, at);
    }
  }
  return Real(file)->pMethods->xWrite(Real(file), data, amount, at);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (size == 0) Of(file)->checksums = File::Checksums::kUnknown;
  return Real(file)->pMethods->xTruncate(Real(file), size);
}
int Sync(sqlite3_file* file, int flags) { return Real(file)->pMethods->xSync(Real(file), flags); }
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Real(file)->pMethods->xFileSize(Real(file), size);
}
int Lock(sqlite3_file* file, int level) { return Real(file)->pMethods->xLock(Real(file), level); }
int Unlock(sqlite3_file* file, int level) {
  return Real(file)->pMethods->xUnlock(Real(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* out) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), out);
}
int FileControl(sqlite3_file* file, int code, void* argument) {
  if (code == kGetChecksums) {
    int result = Learn(Of(file));
    *static_cast<bool*>(argument) = Of(file)->checksums == File::Checksums::kOn;
    return result;
  }
  if (code == kSetChecksums) {
    bool on = *static_cast<bool*>(argument);
    Of(file)->checksums = on ? File::Checksums::kOn : File::Checksums::kOff;
    return SQLITE_OK;
  }
  return Real(file)->pMethods->xFileControl(Real(file), code, argument);
}
int SectorSize(sqlite3_file* file) { return Real(file)->pMethods->xSectorSize(Real(file)); }
int DeviceCharacteristics(sqlite3_file* file) {
  return Real(file)->pMethods->xDeviceCharacteristics(Real(file));
}

// Version 1: without memory shared or mapped, which would go past Read.
constexpr sqlite3_io_methods kMethods = {.iVersion = 1,
                                         .xClose = Close,
                                         .xRead = Read,
                                         .xWrite = Write,
                                         .xTruncate = Truncate,
                                         .xSync = Sync,
                                         .xFileSize = FileSize,
                                         .xLock = Lock,
                                         .xUnlock = Unlock,
                                         .xCheckReservedLock = CheckReservedLock,
                                         .xFileControl = FileControl,
                                         .xSectorSize = SectorSize,
                                         .xDeviceCharacteristics = DeviceCharacteristics};

// All that is not a database file is left to the VFS below.
int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* opened, int flags, int* out_flags) {
  auto below = static_cast<sqlite3_vfs*>(vfs->pAppData);
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0)
    return below->xOpen(below, name, opened, flags, out_flags);
  File* file = new (opened) File{};
  file->real()->pMethods = nullptr;
  int result = below->xOpen(below, name, file->real(), flags, out_flags);
  // SQLite closes what has methods, also after a failure.
  if (file->real()->pMethods != nullptr) file->base.pMethods = &kMethods;
  return result;
}

// What the VFS below does with its own pAppData needs itself as its first argument.
sqlite3_vfs* Below(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }
int Delete(sqlite3_vfs* vfs, const char* name, int sync) {
  return Below(vfs)->xDelete(Below(vfs), name, sync);
}
int Access(sqlite3_vfs* vfs, const char* name, int flags, int* out) {
  return Below(vfs)->xAccess(Below(vfs), name, flags, out);
}
int FullPathname(sqlite3_vfs* vfs, const char* name, int size, char* out) {
  return Below(vfs)->xFullPathname(Below(vfs), name, size, out);
}
int Randomness(sqlite3_vfs* vfs, int size, char* out) {
  return Below(vfs)->xRandomness(Below(vfs), size, out);
}
int Sleep(sqlite3_vfs* vfs, int microseconds) {
  return Below(vfs)->xSleep(Below(vfs), microseconds);
}
int CurrentTime(sqlite3_vfs* vfs, double* out) { return Below(vfs)->xCurrentTime(Below(vfs), out); }
int GetLastError(sqlite3_vfs* vfs, int size, char* out) {
  return Below(vfs)->xGetLastError == nullptr ? 0
                                              : Below(vfs)->xGetLastError(Below(vfs), size, out);
}

struct Named {
  std::string name;
  sqlite3_vfs vfs = {};
};

}  // namespace

std::string ChecksumVfs(const std::string& below) {
  static std::mutex mutex;
  static std::map<sqlite3_vfs*, std::unique_ptr<Named>> made;
  std::lock_guard lock(mutex);
  sqlite3_vfs* real = sqlite3_vfs_find(below.empty() ? nullptr : below.c_str());
  if (real == nullptr) return below;  // SQLite says that there is none
  std::unique_ptr<Named>& named = made[real];
  if (named == nullptr) {
    named = std::make_unique<Named>();
    named->name = std::string("cyxwiz-checksums-") + real->zName;
    named->vfs = {.iVersion = 1,
                  .szOsFile = static_cast<int>(sizeof(File)) + real->szOsFile,
                  .mxPathname = real->mxPathname,
                  .zName = named->name.c_str(),
                  .pAppData = real,
                  .xOpen = Open,
                  .xDelete = Delete,
                  .xAccess = Access,
                  .xFullPathname = FullPathname,
                  .xRandomness = Randomness,
                  .xSleep = Sleep,
                  .xCurrentTime = CurrentTime,
                  .xGetLastError = GetLastError};
    sqlite3_vfs_register(&named->vfs, /*makeDflt=*/0);
  }
  return named->name;
}

void ReserveChecksums(SQLite::Database& database) {
  int bytes = kChecksumBytes;
  sqlite3_file_control(database.getHandle(), "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes);
}

int64_t WrongChecksumsRead() { return wrong_checksums_read; }

bool HasChecksums(SQLite::Database& database) {
  bool on = false;
  sqlite3_file_control(database.getHandle(), "main", kGetChecksums, &on);
  return on;
}

void SetChecksums(SQLite::Database& database, bool on) {
  sqlite3_file_control(database.getHandle(), "main", kSetChecksums, &on);
}

}  // namespace cyxwiz::store
