// AdminService: see proto/cyxwiz/protocol/control.proto.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/file.h"
#include "base/resources.h"
#include "central/convert.h"
#include "central/services.h"
#include "cyxwiz/protocol/control.grpc.pb.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;

constexpr size_t kChunkBytes = 1 << 20;
// Left to the jobs' records when a backup is made, more than the reserve.
constexpr int64_t kRoomToLeave = 32 << 20;

// One BackUp call: the core writes the copy, the pool sends it, a piece after the other.
class BackUpReactor final : public grpc::ServerWriteReactor<protocol::BackUpChunk> {
 public:
  explicit BackUpReactor(const ServiceParts& parts)
      : parts_(parts), path_(parts.database + ".backup") {
    parts_.pool->Post([this] {
      Status room = CheckRoom();
      if (!room.ok()) return Finish(ToGrpc(room));
      parts_.core->BackUp(path_, [this](const Status& made) {
        parts_.pool->Post([this, made] {
          Status opened = made.ok() ? Open() : made;
          if (!opened.ok()) return Finish(ToGrpc(opened));
          SendNext();
        });
      });
    });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(ToGrpc(Status(Code::kCancelled, "the client is gone")));
    if (sent_ == total_) return Finish(grpc::Status::OK);
    parts_.pool->Post([this] { SendNext(); });
  }
  void OnDone() override { delete this; }

 private:
  Status CheckRoom() const {
    RETURN_IF_ERROR(parts_.core->Ready());
    std::error_code error;
    auto size = static_cast<int64_t>(std::filesystem::file_size(parts_.database, error));
    auto log = static_cast<int64_t>(std::filesystem::file_size(parts_.database + "-wal", error));
    int64_t needed = size + std::max<int64_t>(log, 0) + kRoomToLeave;
    auto space =
        std::filesystem::space(std::filesystem::path(parts_.database).parent_path(), error);
    if (error) return ErrnoStatus("cannot see how much room there is for a backup", error.value());
    auto free = static_cast<int64_t>(space.available);
    if (free >= needed) return OkStatus();
    return ResourceExhausted("a backup is first made beside the database, which needs " +
                                 FormatBytes(needed) + "; " + FormatBytes(free) + " are free",
                             "free some space, or stop the server and use --data");
  }

  // The file is gone once it has been sent, also when this process is killed from here on.
  Status Open() {
    file_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_) return ErrnoStatus("cannot open '" + path_ + "'", errno);
    ::unlink(path_.c_str());
    struct stat info;
    if (::fstat(file_.get(), &info) != 0)
      return ErrnoStatus("cannot inspect '" + path_ + "'", errno);
    total_ = info.st_size;
    return OkStatus();
  }

  void SendNext() {
    std::string& data = *chunk_.mutable_data();
    data.resize(std::min(kChunkBytes, static_cast<size_t>(total_ - sent_)));
    ssize_t got = ::pread(file_.get(), data.data(), data.size(), static_cast<off_t>(sent_));
    if (got <= 0) return Finish(ToGrpc(ErrnoStatus("cannot read '" + path_ + "'", errno)));
    data.resize(static_cast<size_t>(got));
    chunk_.set_offset(sent_);
    chunk_.set_total_size(total_);
    sent_ += got;
    StartWrite(&chunk_);
  }

  const ServiceParts parts_;
  const std::string path_;
  UniqueFd file_;
  protocol::BackUpChunk chunk_;
  int64_t sent_ = 0, total_ = 0;
};

class AdminServiceImpl final : public protocol::AdminService::CallbackService {
 public:
  explicit AdminServiceImpl(const ServiceParts& parts) : parts_(parts) {}

  grpc::ServerWriteReactor<protocol::BackUpChunk>* BackUp(CallbackServerContext*,
                                                          const protocol::BackUpRequest*) override {
    return new BackUpReactor(parts_);
  }

 private:
  const ServiceParts parts_;
};

}  // namespace

NamedService MakeAdminService(const ServiceParts& parts) {
  // Left by a server that was killed while it made one.
  ::unlink((parts.database + ".backup").c_str());
  return {std::make_unique<AdminServiceImpl>(parts), protocol::AdminService::service_full_name()};
}

}  // namespace cyxwiz::central
