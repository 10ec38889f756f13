#include "artifacts/artifact_store.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <new>
#include <set>
#include <vector>

#include "base/file.h"
#include "base/resources.h"

namespace cyxwiz::artifacts {
namespace {

// SHA-256 of data that comes in pieces. Throws std::bad_alloc, the only way it can fail.
class Sha256Stream {
 public:
  Sha256Stream() : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
      throw std::bad_alloc();
    }
  }
  void Append(std::string_view data) {
    if (EVP_DigestUpdate(context_.get(), data.data(), data.size()) != 1) throw std::bad_alloc();
  }
  std::string FinishHex() {
    unsigned char digest[32];
    if (EVP_DigestFinal_ex(context_.get(), digest, nullptr) != 1) throw std::bad_alloc();
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (unsigned char c : digest) {
      text += kDigits[c >> 4];
      text += kDigits[c & 15];
    }
    return text;
  }

 private:
  struct Deleter {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Deleter> context_;
};

// Lower case; INVALID_ARGUMENT unless 64 hex digits, so that nothing else can become part of a
// path.
Result<std::string> CheckedHash(const std::string& text) {
  std::string hash = text;
  bool valid = hash.size() == 64;
  for (char& c : hash) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    valid = valid && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
  }
  if (valid) return hash;
  std::string shown;
  for (char c : text.substr(0, 80)) shown += c >= ' ' && c < 127 ? c : '?';
  return InvalidArgument("not a SHA-256: expected 64 hex digits, found '" + shown + "'" +
                         (text.size() > 80 ? "..." : ""));
}

Status SyncFolder(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0)
    return ErrnoStatus("cannot fsync folder '" + folder + "'", errno);
  return OkStatus();
}

// The folders sha256/00 .. sha256/ff, each made when the first file needs it. Any number of
// threads.
class Shards {
 public:
  explicit Shards(std::string folder) : folder_(std::move(folder)) {}

  // The folder of `hash`, durable: a thread that finds it made by another one, not yet fsynced,
  // waits.
  Result<std::string> Make(const std::string& hash) {
    std::string shard = PathOf(hash);
    std::lock_guard lock(mutex_);
    if (!durable_.contains(shard)) {
      RETURN_IF_ERROR(MakeFolder(shard));
      RETURN_IF_ERROR(SyncFolder(folder_));
      durable_.insert(shard);
    }
    return shard;
  }
  std::string PathOf(const std::string& hash) const { return folder_ + "/" + hash.substr(0, 2); }

 private:
  const std::string folder_;
  std::mutex mutex_;
  std::set<std::string> durable_;  // at most 256
};

class LocalUpload : public Upload {
 public:
  LocalUpload(UniqueFd fd, std::string temporary, std::shared_ptr<Shards> shards, int64_t max_bytes)
      : fd_(std::move(fd)),
        temporary_(std::move(temporary)),
        shards_(std::move(shards)),
        max_bytes_(max_bytes) {}

  ~LocalUpload() override { Drop(); }

  Status Append(std::string_view data) override {
    RETURN_IF_ERROR(failed_);
    if (static_cast<int64_t>(data.size()) > max_bytes_ - size_) {
      return Fail(Status(
          Code::kOutOfRange,
          "the file is larger than the " + FormatBytes(max_bytes_) + " that an artifact may have"));
    }
    if (Status written = WriteAll(fd_.get(), data); !written.ok()) {
      return Fail(Status(written.code(), "'" + temporary_ + "': " + written.message()));
    }
    size_ += static_cast<int64_t>(data.size());
    hash_.Append(data);
    return OkStatus();
  }

  Result<std::string> Finish(const std::string& expected_sha256) override {
    RETURN_IF_ERROR(failed_);
    std::string expected;
    if (!expected_sha256.empty()) {
      Result<std::string> checked = CheckedHash(expected_sha256);
      if (!checked.ok()) return Fail(checked.status());
      expected = *checked;
    }
    std::string hash = hash_.FinishHex();
    if (!expected.empty() && hash != expected) {
      return Fail(DataLoss("the file arrived altered: expected SHA-256 " + expected + ", found " +
                               hash + " in " + std::to_string(size_) + " bytes",
                           "send it again"));
    }
    // Read-only from here on: its name says what it holds.
    if (::fchmod(fd_.get(), 0440) != 0 || ::fsync(fd_.get()) != 0) {
      return Fail(ErrnoStatus("cannot fsync '" + temporary_ + "'", errno));
    }
    // When the same content is there already it is replaced by itself, which also heals a damaged
    // copy.
    Result<std::string> shard = shards_->Make(hash);
    if (!shard.ok()) return Fail(shard.status());
    if (::rename(temporary_.c_str(), (*shard + "/" + hash).c_str()) != 0) {
      return Fail(ErrnoStatus("cannot move '" + temporary_ + "' to '" + *shard + "'", errno));
    }
    temporary_.clear();
    failed_ = FailedPrecondition("the upload is finished");
    fd_.Reset();
    RETURN_IF_ERROR(SyncFolder(*shard));
    return hash;
  }

 private:
  // Remembers the failure: what comes after it would store a file with a hole.
  Status Fail(Status status) {
    Drop();
    failed_ = status;
    return status;
  }
  void Drop() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
    fd_.Reset();
  }

  UniqueFd fd_;
  std::string temporary_;  // empty once moved or dropped
  const std::shared_ptr<Shards> shards_;
  const int64_t max_bytes_;
  int64_t size_ = 0;
  Sha256Stream hash_;
  Status failed_;
};

class LocalStore : public ArtifactStore {
 public:
  LocalStore(std::string folder, UniqueFd lock, int64_t max_file_bytes)
      : folder_(std::move(folder)),
        shards_(std::make_shared<Shards>(folder_ + "/sha256")),
        lock_(std::move(lock)),
        max_file_bytes_(max_file_bytes) {}

  Result<std::unique_ptr<Upload>> Begin() override {
    std::string path = folder_ + "/incoming/" + std::to_string(next_.fetch_add(1));
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return ErrnoStatus("cannot create '" + path + "'", errno);
    return std::unique_ptr<Upload>(
        new LocalUpload(std::move(fd), std::move(path), shards_, max_file_bytes_));
  }

  Result<std::string> PathOf(const std::string& sha256) const override {
    struct stat info;
    return Find(sha256, &info);
  }

  Result<int64_t> SizeOf(const std::string& sha256) const override {
    struct stat info;
    Result<std::string> path = Find(sha256, &info);
    if (!path.ok()) return path.status();
    return static_cast<int64_t>(info.st_size);
  }

  Status Remove(const std::string& sha256) override {
    ASSIGN_OR_RETURN(std::string hash, CheckedHash(sha256));
    std::string path = shards_->PathOf(hash) + "/" + hash;
    if (::unlink(path.c_str()) == 0 || errno == ENOENT) return OkStatus();
    return ErrnoStatus("cannot delete '" + path + "'", errno);
  }

  Result<std::vector<std::string>> List() const override {
    std::vector<std::string> hashes;
    std::error_code error;
    for (auto it = std::filesystem::recursive_directory_iterator(folder_ + "/sha256", error);
         !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
      if (!it->is_directory(error)) hashes.push_back(it->path().filename().string());
    }
    if (error) return ErrnoStatus("cannot list '" + folder_ + "/sha256'", error.value());
    return hashes;
  }

 private:
  Result<std::string> Find(const std::string& sha256, struct stat* info) const {
    ASSIGN_OR_RETURN(std::string hash, CheckedHash(sha256));
    std::string path = shards_->PathOf(hash) + "/" + hash;
    if (::stat(path.c_str(), info) == 0) return path;
    if (errno == ENOENT) return NotFound("no artifact with SHA-256 " + hash + " is stored here");
    return ErrnoStatus("cannot inspect '" + path + "'", errno);
  }

  const std::string folder_;
  const std::shared_ptr<Shards> shards_;
  const UniqueFd lock_;
  const int64_t max_file_bytes_;
  std::atomic<uint64_t> next_{1};  // incoming/ is empty at the start and nobody else's
};

}  // namespace

Result<std::unique_ptr<ArtifactStore>> OpenLocalStore(const std::string& folder,
                                                      int64_t max_file_bytes) {
  if (max_file_bytes <= 0) {
    return InvalidArgument("the size limit of artifacts must be positive, found " +
                           std::to_string(max_file_bytes));
  }
  RETURN_IF_ERROR(MakeFolder(folder));
  // Two owners would take each other's incoming files for leftovers. The kernel drops the lock with
  // the process.
  UniqueFd lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return ErrnoStatus("cannot open folder '" + folder + "'", errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition("the artifact folder '" + folder + "' is in use by another process",
                                "stop it, or give this one a folder of its own");
    }
    return ErrnoStatus("cannot lock '" + folder + "'", errno);
  }
  std::string incoming = folder + "/incoming";
  RETURN_IF_ERROR(MakeFolder(incoming));
  std::error_code error;
  std::vector<std::filesystem::path> leftovers;
  for (auto it = std::filesystem::directory_iterator(incoming, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    leftovers.push_back(it->path());
  }
  for (const auto& path : leftovers) {
    if (!error) std::filesystem::remove_all(path, error);
  }
  if (error) return ErrnoStatus("cannot empty '" + incoming + "'", error.value());
  RETURN_IF_ERROR(MakeFolder(folder + "/sha256"));
  RETURN_IF_ERROR(SyncFolder(folder));
  return std::unique_ptr<ArtifactStore>(new LocalStore(folder, std::move(lock), max_file_bytes));
}

Result<std::string> PathInStore(const std::string& folder, const std::string& sha256) {
  ASSIGN_OR_RETURN(std::string hash, CheckedHash(sha256));
  return Shards(folder + "/sha256").PathOf(hash) + "/" + hash;
}

Result<std::string> HashFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return ErrnoStatus("cannot open '" + path + "'", errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus("cannot inspect '" + path + "'", errno);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("'" + path + "' is not a regular file");
  Sha256Stream hash;
  std::vector<char> buffer(256 << 10);
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot read '" + path + "'", errno);
    if (n == 0) return hash.FinishHex();
    hash.Append({buffer.data(), static_cast<size_t>(n)});
  }
}

}  // namespace cyxwiz::artifacts
