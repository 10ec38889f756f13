// The server's disk, kept in memory and given to SQLite as a VFS named "sim".
//
// A write reaches the operating system at once and the platter when the file is synced. What is
// left of the writes since the last sync after a crash:
//
//   the process is killed     all of them: the operating system still has them
//   the power fails           none, all, the first few, or any of them in part (sectors of 512)
//
// A sync that failed leaves what it should have written readable, but no later sync writes it (as
// Linux does): the power takes it away.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "central/disk_reserve.h"
#include "sim/random.h"

namespace cyxwiz::sim {

class Disk {
 public:
  explicit Disk(uint64_t seed) : random_(seed, "disk") { Mount(this); }
  ~Disk() { Mount(nullptr); }

  // Name of the VFS; its files are those of the Disk that lives, one at a time.
  static const char* Vfs();

  // Everything fails until a new process starts; handles of the old one, for ever.
  void KillProcess() { ++process_, alive_ = false; }
  void StartProcess() { alive_ = true, killed_ = power_fails_ = false, kill_at_ = 0; }
  void LosePower();

  // The process dies within its n-th next operation on the disk; 0: it does not. power_fails: so it
  // does because of that (LosePower is the caller's).
  void KillProcessAt(int64_t operation, bool power_fails) {
    kill_at_ = operation;
    power_fails_ = power_fails;
  }
  // Whether it did since it started.
  bool killed() const { return killed_; }
  bool power_fails() const { return killed_ && power_fails_; }

  enum class Fault { kNone, kRead, kWrite, kSync };
  // The n-th next operation of the kind fails with an I/O error.
  void FailAt(Fault kind, int64_t operation) { fail_ = kind, fail_at_ = operation; }

  // Bytes that may be used in all.
  void SetCapacity(int64_t bytes) { capacity_ = bytes; }
  // A full disk shows as an exceeded quota (an I/O error with errno EDQUOT), not as "full".
  void SetQuotaLike(bool on) { quota_like_ = on; }
  // What is written over something else takes space of its own, too.
  void SetCopiesOnWrite(bool on) { copies_on_write_ = on; }
  // Whether what failed last did so for want of space.
  bool out_of_space() const;
  // Whether a sync has failed since this was asked last.
  bool TakeFailedSync() { return std::exchange(sync_failed_, false); }
  int64_t used() const;
  int64_t operations() const { return operations_; }

  // Where each operation is told; empty: nowhere.
  void SetTrace(std::function<void(const std::string&)> trace) { trace_ = std::move(trace); }

  // Takes up space besides the files; false when there is none.
  bool TakeSpace(int64_t bytes);
  void GiveSpace(int64_t bytes) { taken_ -= bytes; }

 private:
  friend struct VfsMethods;
  struct Write {
    int64_t offset;
    std::string data;  // bytes written
    int64_t truncate = -1;
  };
  struct File {
    std::string durable, current;
    std::vector<Write> unsynced;  // since the last sync
    bool durable_exists = false;  // the folder's entry is on the platter
    std::string name;
  };
  struct Handle;
  using FilePtr = std::shared_ptr<File>;

  static void Mount(Disk* disk);
  static void Apply(const Write& write, std::string* data);
  // What a failing or dying operation returns; SQLITE_OK to go on. *part is set when the process
  // dies within this operation.
  int Begin(const Handle& handle, Fault kind, bool* part);
  void Trace(const char* what, const File& file, int64_t a, int64_t b, int result) const;

  Random random_;
  std::map<std::string, FilePtr> files_;
  std::vector<FilePtr> deleted_;  // and the deletion is not durable
  int64_t process_ = 0;
  bool alive_ = false;
  int64_t operations_ = 0;
  int64_t kill_at_ = 0;
  bool killed_ = false, power_fails_ = false;
  Fault fail_ = Fault::kNone;
  int64_t fail_at_ = 0;
  bool sync_failed_ = false;
  int64_t capacity_ = INT64_MAX;
  bool quota_like_ = false, copies_on_write_ = false;
  int64_t taken_ = 0;
  int errno_ = 0;  // of the last operation that failed, as errno
  std::function<void(const std::string&)> trace_;
};

// The committer's reserve on this disk.
class SimReserve final : public central::Reserve {
 public:
  SimReserve(Disk* disk, int64_t bytes) : disk_(disk), bytes_(bytes) {}
  ~SimReserve() override { GiveUp(); }
  Status MakeFirst() override;
  bool MakeAgain() override;
  bool GiveUp() override;

 private:
  Disk* const disk_;
  const int64_t bytes_;
  bool held_ = false;
};

}  // namespace cyxwiz::sim
