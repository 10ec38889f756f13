// ModelService for artifacts: files stored by content (see artifacts/artifact_store.h).
//
//   model_id in UploadModel:   "sha256:<hex>" or "artifact://sha256/<hex>", the hash of what is
//   sent model_id in Download*:     the same, or the id of a job; field `file` then names one of
//   its artifacts
//   checkpoint, dataset: the file is a part of a checkpoint or of a data set, in the store of these
//
// Chunks of one upload follow each other without a gap; the last one has is_final, and its
// checksum, when given, is the SHA-256 in hex. Disks are read and written on the pool.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/failpoint.h"
#include "base/file.h"
#include "central/convert.h"
#include "central/services.h"
#include "cyxwiz/protocol/deployment.grpc.pb.h"

namespace cyxwiz::central {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr size_t kChunkBytes = 1 << 20;
constexpr char kWeights[] = "weights.safetensors";

// The store that a chunk or a request means.
template <typename Message>
artifacts::ArtifactStore* StoreOf(const ServiceParts& parts, const Message& message) {
  if (message.checkpoint()) return parts.checkpoints;
  return message.dataset() ? parts.datasets->store() : parts.artifacts;
}

// One UploadModel call: reads a chunk, stores it on the pool, reads the next.
class UploadReactor final : public grpc::ServerReadReactor<protocol::ModelChunk> {
 public:
  UploadReactor(const ServiceParts& parts, CallbackServerContext* context,
                protocol::SimpleResponse* response)
      : parts_(parts), context_(context), response_(response) {
    StartRead(&chunk_);
  }

  void OnReadDone(bool ok) override {
    parts_.pool->Post([this, ok] { ok ? OnChunk() : OnEnd(); });
  }
  void OnDone() override { delete this; }

 private:
  // After Finish this object may be gone.
  void OnChunk() {
    Status status = Store();
    if (!status.ok()) return Finish(ToGrpc(status));
    if (chunk_.is_final()) {
      response_->set_status(protocol::STATUS_SUCCESS);
      return Finish(grpc::Status::OK);
    }
    StartRead(&chunk_);
  }

  void OnEnd() {
    if (context_->IsCancelled()) return Finish(ToGrpc(Status(Code::kCancelled, "cancelled")));
    Finish(ToGrpc(InvalidArgument(
        "the stream ended after " + std::to_string(received_) + " bytes without a final chunk",
        "set is_final on the last chunk")));
  }

  Status Store() {
    if (upload_ == nullptr) RETURN_IF_ERROR(Begin());
    if (!chunk_.model_id().empty() && Sha256OfUri(chunk_.model_id()) != sha256_)
      return InvalidArgument("model_id changed within the stream");
    if (chunk_.offset() != received_) {
      return InvalidArgument("offset: expected " + std::to_string(received_) + ", found " +
                                 std::to_string(chunk_.offset()),
                             "send the file from its beginning, without gaps");
    }
    RETURN_IF_ERROR(upload_->Append(chunk_.data()));
    received_ += static_cast<int64_t>(chunk_.data().size());
    if (!chunk_.is_final()) return OkStatus();
    if (total_ > 0 && received_ != total_) {
      return InvalidArgument("total_size said " + std::to_string(total_) + " bytes, but " +
                             std::to_string(received_) + " came");
    }
    std::string checksum = chunk_.checksum();
    if (checksum.starts_with("sha256:")) checksum = Sha256OfUri(checksum);
    if (!checksum.empty() && checksum != sha256_) {
      return InvalidArgument("checksum " + Clip(checksum, 80) + " is not the one of model_id, " +
                             sha256_);
    }
    CYXWIZ_FAILPOINT("server.upload.before");
    auto stored = upload_->Finish(sha256_);
    CYXWIZ_FAILPOINT("server.upload.after");
    return stored.ok() ? OkStatus() : stored.status();
  }

  Status Begin() {
    sha256_ = Sha256OfUri(chunk_.model_id());
    if (sha256_.empty()) {
      return InvalidArgument(
          "model_id: expected 'sha256:' and the SHA-256 of the file in hex, found '" +
          Clip(chunk_.model_id(), 100) + "'");
    }
    artifacts::ArtifactStore* store = StoreOf(parts_, chunk_);
    auto size = store->SizeOf(sha256_);
    if (size.status().code() == Code::kInvalidArgument) return size.status();
    total_ = chunk_.total_size();
    if (total_ > parts_.max_artifact_bytes) {
      return Status(Code::kOutOfRange,
                    "the file has " + std::to_string(total_) +
                        " bytes; this server takes artifacts of at most " +
                        std::to_string(parts_.max_artifact_bytes),
                    "start the server with a larger --max-artifact-bytes");
    }
    // A disk that is nearly full is left to the jobs' records.
    RETURN_IF_ERROR(parts_.core->Ready());
    ASSIGN_OR_RETURN(upload_, store->Begin());
    return OkStatus();
  }

  const ServiceParts parts_;
  CallbackServerContext* const context_;
  protocol::SimpleResponse* const response_;
  protocol::ModelChunk chunk_;
  std::unique_ptr<artifacts::Upload> upload_;
  std::string sha256_;
  int64_t received_ = 0, total_ = 0;
};

// Finds what a model_id means. found(status, sha256, name, store), on any thread; name is "" for a
// hash.
using Found = std::function<void(Status, std::string sha256, std::string name,
                                 artifacts::ArtifactStore* store)>;
void Resolve(const ServiceParts& parts, const protocol::DownloadModelMetadataRequest& request,
             Found found) {
  std::string sha256 = Sha256OfUri(request.model_id());
  if (!sha256.empty()) return found(OkStatus(), std::move(sha256), "", StoreOf(parts, request));
  std::string file = request.file().empty() ? kWeights : request.file();
  parts.core->Post(
      control::GetJob{.job = {request.model_id()}},
      [parts, file, found = std::move(found)](control::Reply reply) {
        if (!reply.status.ok()) return found(std::move(reply.status), "", "", nullptr);
        const control::Job& job = std::get<control::JobReply>(reply.content).view.job;
        std::string names;
        artifacts::ArtifactStore* store = job.type == protocol::JOB_TYPE_PREPROCESSING
                                              ? parts.datasets->store()
                                              : parts.artifacts;
        for (const control::Artifact& artifact : *job.artifacts) {
          if (artifact.name == file)
            return found(OkStatus(), artifact.sha256, artifact.name, store);
          names += (names.empty() ? "" : ", ") + artifact.name;
        }
        Status status =
            control::IsFinal(job.state)
                ? NotFound("job '" + job.id.value + "' left no file '" + Clip(file, 200) + "'",
                           names.empty() ? "it left none" : "it left " + names)
                : FailedPrecondition("job '" + job.id.value +
                                         "' has not ended: " + control::JobStateName(job.state),
                                     "download when it has succeeded");
        found(std::move(status), "", "", nullptr);
      });
}

// One DownloadModel call: reads a chunk on the pool, sends it, reads the next.
class DownloadReactor final : public grpc::ServerWriteReactor<protocol::ModelChunk> {
 public:
  DownloadReactor(const ServiceParts& parts, const protocol::DownloadModelMetadataRequest& request)
      : parts_(parts) {
    Resolve(parts_, request,
            [this](Status status, std::string sha256, const std::string&,
                   artifacts::ArtifactStore* store) {
              if (!status.ok()) return Finish(ToGrpc(status));
              store_ = store;
              sha256_ = std::move(sha256);
              parts_.pool->Post([this] {
                Status opened = Open();
                if (!opened.ok()) return Finish(ToGrpc(opened));
                SendNext();
              });
            });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(ToGrpc(Status(Code::kCancelled, "the client is gone")));
    if (chunk_.is_final()) return Finish(grpc::Status::OK);
    parts_.pool->Post([this] { SendNext(); });
  }
  void OnDone() override { delete this; }

 private:
  Status Open() {
    ASSIGN_OR_RETURN(std::string path, store_->PathOf(sha256_));
    ASSIGN_OR_RETURN(total_, store_->SizeOf(sha256_));
    file_ = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return file_ ? OkStatus() : ErrnoStatus("cannot open '" + path + "'", errno);
  }

  void SendNext() {
    size_t size = std::min(kChunkBytes, static_cast<size_t>(total_ - sent_));
    std::string& data = *chunk_.mutable_data();
    data.resize(size);
    for (size_t done = 0; done < size;) {
      ssize_t got = pread(file_.get(), data.data() + done, size - done,
                          static_cast<off_t>(sent_) + static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        return Finish(ToGrpc(
            DataLoss("artifact " + sha256_ + " cannot be read to its end: " +
                     (got < 0 ? ErrnoStatus("read", errno).message() : "it became shorter"))));
      }
      done += static_cast<size_t>(got);
    }
    chunk_.set_model_id("sha256:" + sha256_);
    chunk_.set_offset(sent_);
    chunk_.set_total_size(total_);
    sent_ += static_cast<int64_t>(size);
    if (sent_ == total_) {
      chunk_.set_is_final(true);
      chunk_.set_checksum(sha256_);
    }
    StartWrite(&chunk_);
  }

  const ServiceParts parts_;
  artifacts::ArtifactStore* store_ = nullptr;
  std::string sha256_;
  UniqueFd file_;
  protocol::ModelChunk chunk_;
  int64_t sent_ = 0, total_ = 0;
};

class ModelServiceImpl final : public protocol::ModelService::CallbackService {
 public:
  explicit ModelServiceImpl(const ServiceParts& parts) : parts_(parts) {}

  grpc::ServerReadReactor<protocol::ModelChunk>* UploadModel(
      CallbackServerContext* context, protocol::SimpleResponse* response) override {
    return new UploadReactor(parts_, context, response);
  }

  grpc::ServerWriteReactor<protocol::ModelChunk>* DownloadModel(
      CallbackServerContext*, const protocol::DownloadModelMetadataRequest* request) override {
    return new DownloadReactor(parts_, *request);
  }

  ServerUnaryReactor* DownloadMetadata(CallbackServerContext* context,
                                       const protocol::DownloadModelMetadataRequest* request,
                                       protocol::DownloadModelMetadataResponse* response) override {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    Resolve(parts_, *request,
            [reactor, response](Status status, const std::string& sha256, const std::string& name,
                                const artifacts::ArtifactStore* store) {
              if (status.ok()) {
                auto size = store->SizeOf(sha256);
                status = size.status();
                if (size.ok()) {
                  response->set_status(protocol::STATUS_SUCCESS);
                  response->set_download_url(ArtifactUri(sha256));
                  response->mutable_entry()->set_model_id("sha256:" + sha256);
                  protocol::ModelInfo* info = response->mutable_entry()->mutable_info();
                  info->set_model_id("sha256:" + sha256);
                  info->set_name(name);
                  info->set_size_bytes(*size);
                  if (name.ends_with(".safetensors"))
                    info->set_format(protocol::MODEL_FORMAT_SAFETENSORS);
                }
              }
              reactor->Finish(ToGrpc(status));
            });
    return reactor;
  }

  ServerUnaryReactor* UploadMetadata(CallbackServerContext* context,
                                     const protocol::UploadModelMetadataRequest*,
                                     protocol::UploadModelMetadataResponse*) override {
    return Later(context);
  }
  ServerUnaryReactor* ListModels(CallbackServerContext* context, const protocol::ListModelsRequest*,
                                 protocol::ListModelsResponse*) override {
    return Later(context);
  }
  ServerUnaryReactor* DeleteModel(CallbackServerContext* context,
                                  const protocol::DeleteModelRequest*,
                                  protocol::DeleteModelResponse*) override {
    return Later(context);
  }

 private:
  static ServerUnaryReactor* Later(CallbackServerContext* context) {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(
        Unimplemented("the model registry is not part of this release: models are the artifacts of "
                      "jobs",
                      "list them with JobService.GetJobStatus, fetch them with DownloadModel")));
    return reactor;
  }

  const ServiceParts parts_;
};

}  // namespace

NamedService MakeModelService(const ServiceParts& parts) {
  return {std::make_unique<ModelServiceImpl>(parts), protocol::ModelService::service_full_name()};
}

}  // namespace cyxwiz::central
