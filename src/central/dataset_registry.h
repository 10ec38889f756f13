// The data sets that the server keeps: names, their versions, and the files of these by content.
//
//   datasets/sha256/       the store: files and manifests (spec/dataset_manifest.h), each once
//   datasets/names/NAME.json   {"next": 3, "versions": [{"version": "2", "manifest": "<hex>",
//                           "manifest_bytes": 456, "files": 4, "main_file": "", "bytes": 1234,
//                           "created_at": 1733000000}, ...]}
//                          in the order of their making; next: the number of the next version
//   datasets/trees/<hex>/  the files of that manifest under their names, for looking into them;
//                          links into the store, made when first needed
//
// Files that no version has are left of uploads that were broken off; they are kept for a day, so
// that the upload can go on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "artifacts/artifact_store.h"
#include "base/clock.h"
#include "base/status.h"
#include "spec/dataset_manifest.h"
#include "spec/dataset_reference.h"

namespace cyxwiz::central {

struct DatasetVersion {
  std::string name, version, manifest_sha256;
  int64_t manifest_bytes = 0, files = 0, bytes = 0;
  // What dataset://NAME means: its only file, or the dataset.json of prepared data; empty: all of
  // it.
  std::string main_file;
  UnixTime created_at;
};

// One name's versions.
struct DatasetName {
  int64_t next = 1;
  std::vector<std::shared_ptr<const DatasetVersion>> versions;  // the newest last
};

// What the registry in `folder` keeps, also of one that somebody has open: for looking at it.
// DATA_LOSS, naming the file, when a name's file cannot be read.
Result<std::map<std::string, DatasetName>> ReadDatasetNames(const std::string& folder);

// Any thread; methods read and write files, so not those of gRPC.
class DatasetRegistry {
 public:
  static constexpr size_t kMostNames = 10'000;
  static constexpr size_t kMostVersions = 1'000;  // of one name

  // Errors as of ReadDatasetNames.
  static Result<std::unique_ptr<DatasetRegistry>> Open(const std::string& folder,
                                                       int64_t max_file_bytes);

  artifacts::ArtifactStore* store() { return store_.get(); }

  struct Outcome {
    std::optional<DatasetVersion> version;  // durable
    bool existed = false;
    std::vector<int32_t> missing;  // places in the files that were given; then there is no version
  };
  // version empty: the newest when that has this content, else the next number. ALREADY_EXISTS when
  // it is there with another content.
  Result<Outcome> Put(const std::string& name, const std::string& version,
                      std::vector<spec::DatasetFile> files, UnixTime now);

  // The number of the next version, which nobody else is given; durable. Names are as for Put.
  Result<std::string> Reserve(const std::string& name);

  // Of a name, the newest first; of all names in their order when it is empty. NOT_FOUND.
  Result<std::vector<DatasetVersion>> List(const std::string& name) const;

  // While somebody has it, its version is not removed.
  using Hold = std::shared_ptr<const DatasetVersion>;
  // version empty: the newest. NOT_FOUND says what is known.
  Result<Hold> Find(const std::string& name, const std::string& version);

  // The files of a version. DATA_LOSS.
  Result<std::vector<spec::DatasetFile>> Read(const std::string& manifest_sha256) const;
  // A folder with the files under their names, which must not be written to.
  Result<std::string> FolderOf(const std::string& manifest_sha256);

  // Removing takes two steps, so that jobs can be looked at between them: from the first on nobody
  // finds the version. FAILED_PRECONDITION while somebody holds it. *shared: another version has
  // the same content.
  Result<DatasetVersion> BeginRemoval(const std::string& name, const std::string& version,
                                      bool* shared);
  void AbandonRemoval(const DatasetVersion& version);
  Status FinishRemoval(const DatasetVersion& version);

  // Deletes what broken-off uploads have left; reads every manifest.
  Status DeleteLeftovers(UnixTime now);

 private:
  using Key = std::pair<std::string, std::string>;

  explicit DatasetRegistry(std::string folder) : folder_(std::move(folder)) {}
  Status Save(const std::string& name, const DatasetName& entry) const;
  Status NoSuch(const std::string& name, const std::string& version) const;
  Result<std::string> StoreManifest(const std::string& text);
  std::set<std::string> Manifests() const;  // of all versions; with the mutex
  // Deletes those of the store's files that no version has.
  Status DeleteUnneeded(std::set<std::string> files);
  std::string TreeOf(const std::string& manifest_sha256) const;

  const std::string folder_;
  std::unique_ptr<artifacts::ArtifactStore> store_;
  mutable std::mutex mutex_;
  std::map<std::string, DatasetName> names_;
  std::set<Key> removing_;
};

}  // namespace cyxwiz::central
