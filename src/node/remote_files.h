// Has the files of data sets on other machines ready: those that are kept here and are still right,
// and the others fetched.
//
//   Obtain ──► [listing] ──► copies in the cache ──► found right by their hash, or by their ETag
//                                └──► the others are fetched and kept ──► done
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "fetch/fetcher.h"
#include "node/fetch_records.h"
#include "node/file_cache.h"
#include "spec/dataset_manifest.h"
#include "spec/remote_source.h"

namespace cyxwiz::node {

// "1 file", "2 files"
std::string Files(size_t count);

// Executor thread only.
class RemoteFiles {
 public:
  struct Obtained {
    std::vector<spec::DatasetFile> files;                  // in order, as of a manifest
    std::unordered_map<std::string, std::string> sources;  // path of each, by hash
    std::vector<FileCache::Hold> holds;                    // keep them there
  };
  using Note = std::function<void(const std::string& line)>;
  // Errors as of fetch::FetchFile.
  using Done = std::function<void(Result<Obtained>)>;

  // Everything outlives it.
  RemoteFiles(boost::asio::io_context& io, FileCache* cache, FetchRecords* records,
              fetch::Fetcher* fetcher)
      : io_(io), cache_(cache), records_(records), fetcher_(fetcher) {}

  struct Request;

  // key: as of FetchRecords. folder: there, and on the disk of the cache; what is fetched goes
  // there, under names of our own. check_disk: called on other threads.
  std::shared_ptr<Request> Obtain(const spec::RemoteSource& source, const std::string& key,
                                  const std::string& folder, std::function<Status()> check_disk,
                                  Note note, Done done);
  // It ends soon; note and done are not called any more.
  void Cancel(const std::shared_ptr<Request>& request);

 private:
  using RequestPtr = std::shared_ptr<Request>;

  void Fetch(const RequestPtr& request, std::vector<fetch::Listed> listed);
  void TellProgress(const RequestPtr& request);
  void OnFetched(const RequestPtr& request, Result<std::vector<fetch::Had>> had);
  void Finish(const RequestPtr& request, Result<Obtained> result);

  boost::asio::io_context& io_;
  FileCache* const cache_;
  FetchRecords* const records_;
  fetch::Fetcher* const fetcher_;
};

}  // namespace cyxwiz::node
