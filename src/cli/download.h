// Writes the files of a job into a folder. A file appears under its name only when all of it has
// come and its SHA-256 is the one the server promised.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"
#include "cli/client.h"

namespace cyxwiz::cli {

class Sha256;

// Whether a name that a server sent may become a file in the user's folder: no folder in it,
// nothing hidden or special.
bool IsSafeFileName(const std::string& name);

// A file being received. Dropped without a trace when destroyed before Finish.
class IncomingFile {
 public:
  // Creates "<folder>/.<name>.part.<pid>". The folder exists.
  static Result<IncomingFile> Create(const std::string& folder, const std::string& name);
  IncomingFile(IncomingFile&& other) noexcept;
  IncomingFile& operator=(IncomingFile&&) = delete;
  ~IncomingFile();

  Status Append(std::string_view data);
  // DATA_LOSS when size or SHA-256 (hex) differ from what was received; else the file is in its
  // place.
  Status Finish(int64_t expected_size, const std::string& expected_sha256);
  const std::string& path() const { return path_; }

 private:
  IncomingFile(std::string path, std::string temporary, UniqueFd fd);

  std::string path_, temporary_;
  UniqueFd fd_;
  int64_t size_ = 0;
  std::unique_ptr<Sha256> hash_;
};

// Why a job that has no files has none, and what to do.
Status HasNoFiles(const protocol::JobStatus& status, const std::string& server);

// Fetches one artifact of a job into `folder`; the path it has there.
Result<std::string> DownloadArtifact(Client* client, const std::string& job_id,
                                     const protocol::Artifact& artifact, const std::string& folder);

}  // namespace cyxwiz::cli
