// Files stored by their content: a file's name is its SHA-256, so what was stored once is never
// stored twice and a wrong byte is noticed. Layout: <folder>/sha256/ab/abcdef...; files being
// written lie in <folder>/incoming/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cyxwiz::artifacts {

// A file being stored, by one thread at a time. Dropped without a trace when destroyed before
// Finish, and after any failure; once failed, every later call gives the same failure.
class Upload {
 public:
  virtual ~Upload() = default;
  // OUT_OF_RANGE when the file gets larger than allowed, RESOURCE_EXHAUSTED when the disk is full.
  virtual Status Append(std::string_view data) = 0;
  // Fsyncs and moves the file into place. DATA_LOSS when `expected_sha256` (hex) is given and
  // differs; INVALID_ARGUMENT when it is not a SHA-256. Durable once it returns the SHA-256 in hex.
  virtual Result<std::string> Finish(const std::string& expected_sha256) = 0;
};

// Any number of threads.
class ArtifactStore {
 public:
  virtual ~ArtifactStore() = default;
  virtual Result<std::unique_ptr<Upload>> Begin() = 0;
  // Path of a stored file to read from; NOT_FOUND; INVALID_ARGUMENT when `sha256` is not 64 hex
  // digits.
  virtual Result<std::string> PathOf(const std::string& sha256) const = 0;
  virtual Result<int64_t> SizeOf(const std::string& sha256) const = 0;
  // Deletes a file; fine when it is not there. Who has it open reads on.
  virtual Status Remove(const std::string& sha256) = 0;
  // The hashes of all files.
  virtual Result<std::vector<std::string>> List() const = 0;
};

// Removes what an earlier crash left in incoming/. The folder belongs to the store, under a lock,
// while it lives: FAILED_PRECONDITION when another process has it.
Result<std::unique_ptr<ArtifactStore>> OpenLocalStore(const std::string& folder,
                                                      int64_t max_file_bytes);

// Where the store in `folder` has a file, or would have it: for looking at a store that nobody has
// open. `sha256` is 64 hex digits, else INVALID_ARGUMENT.
Result<std::string> PathInStore(const std::string& folder, const std::string& sha256);

// SHA-256 of a file, in hex.
Result<std::string> HashFile(const std::string& path);

}  // namespace cyxwiz::artifacts
