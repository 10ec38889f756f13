#include "node/file_download.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>

#include "artifacts/artifact_store.h"
#include "node/rpc_status.h"

namespace cyxwiz::node {

std::shared_ptr<FileDownload> FileDownload::Start(protocol::ModelService::Stub* stub,
                                                  const StoredFile& file,
                                                  const std::string& session,
                                                  std::function<void(Status)> done) {
  std::shared_ptr<FileDownload> download(new FileDownload(file, std::move(done)));
  const std::string temporary = file.path + ".new";
  download->fd_.Reset(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!download->fd_) {
    download->done_(ErrnoStatus("cannot create '" + temporary + "'", errno));
    return download;
  }
  download->self_ = download;
  download->context_.AddMetadata("cyxwiz-session", session);
  // As for an upload: less than 1 MiB/s is taken for stuck.
  download->context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60) +
                                  std::chrono::seconds(file.size >> 20));
  download->request_.set_model_id("sha256:" + file.sha256);
  download->request_.set_checkpoint(file.store == StoredFile::Store::kCheckpoints);
  download->request_.set_dataset(file.store == StoredFile::Store::kDatasets);
  stub->async()->DownloadModel(&download->context_, &download->request_, download.get());
  download->StartRead(&download->chunk_);
  download->StartCall();
  return download;
}

void FileDownload::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone tells
  received_ += static_cast<int64_t>(chunk_.data().size());
  if (trouble_.ok() && received_ > file_.size) {
    trouble_ = DataLoss("the server sends more than the " + std::to_string(file_.size) +
                        " bytes of '" + file_.name + "'");
  }
  if (trouble_.ok()) trouble_ = WriteAll(fd_.get(), chunk_.data());
  if (!trouble_.ok()) context_.TryCancel();
  StartRead(&chunk_);
}

Status FileDownload::Finish() {
  const std::string temporary = file_.path + ".new";
  // Those of data sets can be many; what a crash leaves of them is looked at before it is used.
  if (file_.store != StoredFile::Store::kDatasets && ::fsync(fd_.get()) != 0)
    return ErrnoStatus("cannot fsync '" + temporary + "'", errno);
  ASSIGN_OR_RETURN(std::string hash, artifacts::HashFile(temporary));
  if (hash != file_.sha256) {
    return DataLoss("'" + file_.name + "' arrived altered: expected SHA-256 " + file_.sha256 +
                    ", found " + hash + " in " + std::to_string(received_) + " bytes");
  }
  if (std::rename(temporary.c_str(), file_.path.c_str()) != 0) {
    return ErrnoStatus("cannot rename to '" + file_.path + "'", errno);
  }
  return OkStatus();
}

void FileDownload::OnDone(const grpc::Status& status) {
  Status result = trouble_.ok() ? FromGrpc(status) : trouble_;
  if (result.ok()) result = Finish();
  if (!result.ok()) ::unlink((file_.path + ".new").c_str());
  std::shared_ptr<FileDownload> self = std::move(self_);
  done_(std::move(result));
}

}  // namespace cyxwiz::node
