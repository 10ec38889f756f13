// Sends one file to the server's artifact store through ModelService.UploadModel.
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

namespace cyxwiz::node {

// A file that goes to the server's store or comes from it: `sha256` (hex) and `size` are known
// before.
struct StoredFile {
  std::string path, name, sha256;
  int64_t size = 0;
  enum class Store { kArtifacts, kCheckpoints, kDatasets } store = Store::kArtifacts;
};

// One upload under way; keeps itself alive until `done` has been called.
class FileUpload : public grpc::ClientWriteReactor<protocol::ModelChunk> {
 public:
  // done: once, on a thread of gRPC or within Start; it must only pass the result on. Errors as the
  // server gives them; DATA_LOSS when the file can no longer be read as it was.
  static std::shared_ptr<FileUpload> Start(protocol::ModelService::Stub* stub,
                                           const StoredFile& file, const std::string& session,
                                           std::function<void(Status)> done);
  // Any thread, any time.
  void Cancel() { context_.TryCancel(); }

  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  FileUpload(StoredFile file, std::function<void(Status)> done)
      : file_(std::move(file)), done_(std::move(done)) {}
  void WriteNext();

  std::shared_ptr<FileUpload> self_;  // until OnDone
  StoredFile file_;
  std::function<void(Status)> done_;
  grpc::ClientContext context_;
  protocol::SimpleResponse response_;
  protocol::ModelChunk chunk_;
  UniqueFd fd_;
  int64_t offset_ = 0;
  bool sent_all_ = false;
  Status trouble_;
};

}  // namespace cyxwiz::node
