// Sends files of this machine to the server as a version of a data set.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/client.h"
#include "cyxwiz/protocol/dataset.pb.h"
#include "spec/dataset_manifest.h"

namespace cyxwiz::cli {

// The files of a data set on this machine.
struct LocalDataset {
  std::string folder;                    // before each path
  std::vector<spec::DatasetFile> files;  // without hashes until HashFiles
  int64_t hidden = 0;                    // files and folders that were left out for their names
};

// A file alone, or everything below a folder but what is hidden. Links to files are followed, links
// to folders are refused.
Result<LocalDataset> FindFiles(const std::string& path);

// progress: called now and then with the bytes done.
using BytesDone = std::function<void(int64_t bytes)>;
Status HashFiles(LocalDataset* dataset, const BytesDone& progress);

struct PutResult {
  protocol::DatasetVersion dataset;
  bool existed = false;
  int64_t sent_files = 0, sent_bytes = 0;
};
// Sends what the server lacks; begin is told before how many files and bytes that is. Once broken
// off, a second call goes on with the files that have not come yet. FAILED_PRECONDITION when a file
// has changed since it was hashed.
Result<PutResult> PutDataset(Client* client, const LocalDataset& dataset, const std::string& name,
                             const std::string& version,
                             const std::function<void(int64_t files, int64_t bytes)>& begin,
                             const BytesDone& progress);

}  // namespace cyxwiz::cli
