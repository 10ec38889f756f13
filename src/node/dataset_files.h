// Puts the files of data sets into attempts' folders: of those that the server keeps, and of those
// on other machines.
//
//   Give ──► manifest ──► files: kept here, and found right once in each run of the node
//     │              └──► the others are fetched and kept ──► folder of links ──► done
//     └────► RemoteFiles ────────────────────────────────────────┘
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "node/file_cache.h"
#include "node/file_upload.h"
#include "node/remote_files.h"
#include "spec/dataset_manifest.h"
#include "spec/job_spec.h"
#include "spec/remote_source.h"

namespace cyxwiz::node {

// Executor thread only; files are hashed and linked on a thread of its own.
class DatasetFiles {
 public:
  // Gets files from the server and calls done on the executor thread, unless the attempt ends
  // before.
  using Fetch =
      std::function<void(const AttemptId&, std::vector<StoredFile>, std::function<void(Status)>)>;
  using Note = std::function<void(const std::string& line)>;
  struct Given {
    std::vector<FileCache::Hold> holds;  // keep the files here until the attempt has ended
    std::string manifest_sha256;         // names what was given
    int64_t bytes = 0;                   // of all files
  };
  using Done = std::function<void(Status, Given given)>;

  // Everything outlives it. With fewer than min_free_disk_bytes left nothing is fetched.
  DatasetFiles(boost::asio::io_context& io, FileCache* cache, RemoteFiles* remote,
               int64_t min_free_disk_bytes, Fetch fetch)
      : io_(io),
        cache_(cache),
        remote_(remote),
        min_free_disk_bytes_(min_free_disk_bytes),
        fetch_(std::move(fetch)) {}
  ~DatasetFiles();

  // Makes `folder` with the files of a stored data set, to be read only. note: told what is going
  // on. RESOURCE_EXHAUSTED when the disk is too full; what fetching gives; DATA_LOSS. Attempts that
  // want the same data set go one after the other: what the first fetches the others find.
  void Give(const AttemptId& attempt, const spec::DatasetFrom& from, const std::string& folder,
            Note note, Done done);
  // The same with one on other machines; errors as of RemoteFiles.
  void GiveRemote(const AttemptId& attempt, const spec::RemoteSource& source,
                  const std::string& folder, Note note, Done done);
  // For an attempt that ends; done is not called any more.
  void Cancel(const AttemptId& attempt);
  // The data sets that were given last and are still kept, by their manifests, and those of other
  // machines by their identities; at most kMostTold.
  std::vector<ContentKey> Keys() const;

  // Deletes the folder that Give has made.
  void Discard(const std::string& folder);

  static constexpr size_t kMostTold = 500;

 private:
  struct Request;
  using RequestPtr = std::shared_ptr<Request>;
  using Then = std::function<void()>;

  void Enqueue(const RequestPtr& request);
  void Begin(const RequestPtr& request);
  void BeginRemote(const RequestPtr& request);
  void OnManifest(const RequestPtr& request);
  // Finds or fetches the files, so that request->sources names them all, and goes on.
  void Obtain(const RequestPtr& request, std::vector<spec::DatasetFile> files, Then then);
  void FetchMissing(const RequestPtr& request, std::vector<spec::DatasetFile> missing, size_t of,
                    Then then);
  void Link(const RequestPtr& request);
  void Finish(const RequestPtr& request, Status status);
  // The next one that wants the same data set.
  void GoOn(const std::string& key);

  boost::asio::io_context& io_;
  FileCache* const cache_;
  RemoteFiles* const remote_;
  const int64_t min_free_disk_bytes_;
  const Fetch fetch_;
  std::map<std::string, std::deque<RequestPtr>> waiting_;  // by key; the first is in work
  // Of those that were given, the last one first: their keys, and a file that each cannot do
  // without.
  std::deque<std::pair<std::string, std::string>> given_;
  boost::asio::thread_pool worker_{1};
};

}  // namespace cyxwiz::node
