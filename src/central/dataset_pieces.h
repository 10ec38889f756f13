// Files of data sets that come in pieces, a request each: what has come of each is kept until it is
// whole.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "artifacts/artifact_store.h"
#include "base/clock.h"
#include "base/status.h"

namespace cyxwiz::central {

struct DatasetPiece {
  std::string sha256;  // of the whole file, in hex
  int64_t offset = 0;  // of the piece in it
  int64_t size = 0;    // of the whole file
  std::string data;
};

struct DatasetPieceStored {
  int64_t received = 0;  // bytes of the file so far
  bool complete = false;
};

// Any thread; not those of gRPC and REST, since it writes files.
class DatasetPieces {
 public:
  static constexpr size_t kMostOpen = 64;
  static constexpr Duration kIdle = std::chrono::minutes(10);  // after which a file is given up

  // Not owned.
  explicit DatasetPieces(artifacts::ArtifactStore* store) : store_(store) {}

  // Takes the next piece of a file; one at offset 0 begins anew. A file that is stored already is
  // complete at once. FAILED_PRECONDITION, saying where to go on, for a piece that does not follow;
  // DATA_LOSS when the file is whole and has another hash.
  Result<DatasetPieceStored> Store(const DatasetPiece& piece, MonotonicTime now);

 private:
  struct Open {
    std::unique_ptr<artifacts::Upload> upload;
    int64_t size = 0, received = 0;
    MonotonicTime used;
  };
  Status Begin(const DatasetPiece& piece, MonotonicTime now);

  artifacts::ArtifactStore* const store_;
  std::mutex mutex_;
  std::map<std::string, Open> open_;
};

}  // namespace cyxwiz::central
