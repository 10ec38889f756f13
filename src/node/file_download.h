// Gets one file from the server's store through ModelService.DownloadModel.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"
#include "node/file_upload.h"

namespace cyxwiz::node {

// One download under way; keeps itself alive until `done` has been called.
class FileDownload : public grpc::ClientReadReactor<protocol::ModelChunk> {
 public:
  // Writes file.path, complete and with that hash or not at all; its folder exists. done: once, on
  // a thread of gRPC or within Start; it must only pass the result on. Errors as the server gives
  // them; DATA_LOSS when what came is not the file.
  static std::shared_ptr<FileDownload> Start(protocol::ModelService::Stub* stub,
                                             const StoredFile& file, const std::string& session,
                                             std::function<void(Status)> done);
  // Any thread, any time.
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  FileDownload(StoredFile file, std::function<void(Status)> done)
      : file_(std::move(file)), done_(std::move(done)) {}
  Status Finish();

  std::shared_ptr<FileDownload> self_;  // until OnDone
  StoredFile file_;
  std::function<void(Status)> done_;
  grpc::ClientContext context_;
  protocol::DownloadModelMetadataRequest request_;
  protocol::ModelChunk chunk_;
  UniqueFd fd_;
  int64_t received_ = 0;
  Status trouble_;
};

}  // namespace cyxwiz::node
