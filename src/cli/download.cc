#include "cli/download.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/ids.h"
#include "base/resources.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/job_follower.h"
#include "cli/progress_view.h"
#include "cli/sha256.h"

namespace cyxwiz::cli {

bool IsSafeFileName(const std::string& name) { return IsValidId(name); }

IncomingFile::IncomingFile(std::string path, std::string temporary, UniqueFd fd)
    : path_(std::move(path)),
      temporary_(std::move(temporary)),
      fd_(std::move(fd)),
      hash_(std::make_unique<Sha256>()) {}

IncomingFile::IncomingFile(IncomingFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, "")),
      fd_(std::move(other.fd_)),
      size_(other.size_),
      hash_(std::move(other.hash_)) {}

IncomingFile::~IncomingFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<IncomingFile> IncomingFile::Create(const std::string& folder, const std::string& name) {
  if (!IsSafeFileName(name)) {
    return PermissionDenied("the server named a file '" + Printable(name) +
                            "', which is no plain file name: nothing was written");
  }
  std::string temporary = folder + "/." + name + ".part." + std::to_string(::getpid());
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd) return ErrnoStatus("cannot create '" + temporary + "'", errno);
  return IncomingFile(folder + "/" + name, temporary, std::move(fd));
}

Status IncomingFile::Append(std::string_view data) {
  hash_->Update(data);
  size_ += static_cast<int64_t>(data.size());
  if (Status s = WriteAll(fd_.get(), data); !s.ok())
    return Status(s.code(), "'" + temporary_ + "': " + s.message());
  return OkStatus();
}

Status IncomingFile::Finish(int64_t expected_size, const std::string& expected_sha256) {
  if (size_ != expected_size) {
    return DataLoss("'" + path_ + "' should have " + std::to_string(expected_size) +
                    " bytes, but " + std::to_string(size_) + " came: nothing was kept");
  }
  if (std::string found = hash_->Hex(); found != expected_sha256) {
    return DataLoss("'" + path_ + "' should have SHA-256 " + expected_sha256 +
                    ", but what came has " + found + ": nothing was kept");
  }
  if (::fsync(fd_.get()) != 0) return ErrnoStatus("cannot fsync '" + temporary_ + "'", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    return ErrnoStatus("cannot rename to '" + path_ + "'", errno);
  temporary_.clear();
  return OkStatus();
}

Result<std::string> DownloadArtifact(Client* client, const std::string& job_id,
                                     const protocol::Artifact& artifact,
                                     const std::string& folder) {
  ASSIGN_OR_RETURN(IncomingFile file, IncomingFile::Create(folder, artifact.name()));
  protocol::DownloadModelMetadataRequest request;
  request.set_model_id(job_id);
  request.set_file(artifact.name());
  grpc::ClientContext context;
  auto reader = client->models().DownloadModel(&context, request);
  protocol::ModelChunk chunk;
  Status written;
  while (written.ok() && reader->Read(&chunk)) written = file.Append(chunk.data());
  if (!written.ok()) context.TryCancel();
  Status received = FromGrpc(reader->Finish());
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(file.Finish(artifact.size(), artifact.sha256()));
  return file.path();
}

Status HasNoFiles(const protocol::JobStatus& status, const std::string& server) {
  const std::string& id = status.job_id();
  const std::string flag = ServerFlag(server);
  if (status.has_array()) {
    return FailedPrecondition("job " + id + " is an array: its members have the files",
                              "'cyxwiz ps --array " + id + flag +
                                  "' lists them, 'cyxwiz download " + id + ".0" + flag +
                                  "' fetches those of the first");
  }
  return FailedPrecondition(
      "job " + id + " is " + StateWord(status.state()) + ": it has left no files",
      IsFinal(status.state()) ? "" : "follow it with 'cyxwiz watch " + id + flag + "'");
}

int RunDownload(const Session& session, const DownloadOptions& options) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  auto status = (*client)->GetJobStatus(options.job_id);
  if (!status.ok()) return console.Fail(status.status());
  if (status->result().artifacts().empty())
    return console.Fail(HasNoFiles(status->status(), session.server));
  std::string folder = options.folder.empty() ? options.job_id : options.folder;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  if (Status s = MakeFolder(folder); !s.ok()) return console.Fail(s);
  Json files = Json::array();
  for (const protocol::Artifact& artifact : status->result().artifacts()) {
    auto path = DownloadArtifact(client->get(), options.job_id, artifact, folder);
    if (!path.ok()) return console.Fail(path.status());
    if (!console.json) console.out << *path << "  " << FormatBytes(artifact.size()) << std::endl;
    files.push_back({{"name", artifact.name()},
                     {"path", *path},
                     {"sha256", artifact.sha256()},
                     {"size", artifact.size()}});
  }
  if (console.json) console.PrintJson({{"job_id", options.job_id}, {"files", files}});
  return kExitOk;
}

}  // namespace cyxwiz::cli
