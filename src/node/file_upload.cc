#include "node/file_upload.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "node/rpc_status.h"

namespace cyxwiz::node {
namespace {

constexpr int64_t kChunkBytes = 512 << 10;

}  // namespace

std::shared_ptr<FileUpload> FileUpload::Start(protocol::ModelService::Stub* stub,
                                              const StoredFile& file, const std::string& session,
                                              std::function<void(Status)> done) {
  std::shared_ptr<FileUpload> upload(new FileUpload(file, std::move(done)));
  upload->fd_.Reset(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!upload->fd_) {
    upload->done_(DataLoss(ErrnoStatus("cannot open '" + file.path + "'", errno).message()));
    return upload;
  }
  upload->self_ = upload;
  upload->context_.AddMetadata("cyxwiz-session", session);
  // A transfer that does not manage 1 MiB/s is taken for stuck and tried again.
  upload->context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60) +
                                std::chrono::seconds(file.size >> 20));
  stub->async()->UploadModel(&upload->context_, &upload->response_, upload.get());
  upload->chunk_.set_model_id("sha256:" + file.sha256);
  upload->chunk_.set_file(file.name);
  upload->chunk_.set_checkpoint(file.store == StoredFile::Store::kCheckpoints);
  upload->chunk_.set_dataset(file.store == StoredFile::Store::kDatasets);
  upload->WriteNext();
  upload->StartCall();
  return upload;
}

void FileUpload::WriteNext() {
  int64_t length = std::min(kChunkBytes, file_.size - offset_);
  std::string* data = chunk_.mutable_data();
  data->resize(static_cast<size_t>(length));
  int64_t done = 0;
  while (done < length) {
    ssize_t n = ::pread(fd_.get(), data->data() + done, static_cast<size_t>(length - done),
                        static_cast<off_t>(offset_ + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      trouble_ = DataLoss("'" + file_.path + "' cannot be read at " +
                          std::to_string(offset_ + done) + " any more");
      context_.TryCancel();
      StartWritesDone();
      return;
    }
    done += n;
  }
  chunk_.set_offset(offset_);
  chunk_.set_total_size(file_.size);
  offset_ += length;
  sent_all_ = offset_ == file_.size;
  if (sent_all_) {
    chunk_.set_is_final(true);
    chunk_.set_checksum(file_.sha256);
    StartWriteLast(&chunk_, grpc::WriteOptions());
  } else {
    StartWrite(&chunk_);
  }
}

void FileUpload::OnWriteDone(bool ok) {
  if (!ok || sent_all_) return;  // OnDone tells
  chunk_.clear_model_id();
  chunk_.clear_file();
  chunk_.clear_checkpoint();
  chunk_.clear_dataset();
  WriteNext();
}

void FileUpload::OnDone(const grpc::Status& status) {
  Status result = trouble_.ok() ? FromGrpc(status) : trouble_;
  if (result.ok() && response_.status() == protocol::STATUS_ERROR) {
    result = Status(response_.error().code() == 0 ? Code::kInternal
                                                  : static_cast<Code>(response_.error().code()),
                    response_.error().message());
  }
  std::shared_ptr<FileUpload> self = std::move(self_);
  done_(std::move(result));
}

}  // namespace cyxwiz::node
