#include "node/dataset_files.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "artifacts/artifact_store.h"
#include "base/file.h"
#include "base/logging.h"
#include "base/resources.h"
#include "base/text.h"
#include "node/disk_space.h"
#include "security/job_token.h"

namespace cyxwiz::node {
namespace {

namespace fs = std::filesystem;

using Sources = std::unordered_map<std::string, std::string>;

Status LinkFiles(const std::vector<spec::DatasetFile>& files, const Sources& sources,
                 const std::string& folder) {
  std::error_code error;
  std::string made;
  for (const spec::DatasetFile& file : files) {
    const std::string path = folder + "/" + file.path;
    std::string parent = fs::path(path).parent_path().string();
    if (parent != made) RETURN_IF_ERROR(MakeFolder(parent, 0700));
    made = std::move(parent);
    fs::create_hard_link(sources.at(file.sha256), path, error);
    if (error) return ErrnoStatus("cannot make '" + path + "'", error.value());
  }
  return OkStatus();
}

}  // namespace

struct DatasetFiles::Request {
  AttemptId attempt;
  // SHA-256, in hex: of the manifest, or of the identity of a source on other machines.
  std::string key;
  spec::DatasetFrom from;
  std::optional<spec::RemoteSource> remote;
  std::shared_ptr<RemoteFiles::Request> obtaining;
  std::string folder;
  Note note;
  Done done;
  std::vector<spec::DatasetFile> files;
  Sources sources;  // path of each file, by hash
  std::vector<FileCache::Hold> holds;
  bool over = false;  // done was called, or nobody waits for it

  std::string name() const { return "the data set " + from.name + "@" + from.version; }
  // Where files from elsewhere arrive.
  std::string incoming() const { return folder + ".incoming"; }
};

DatasetFiles::~DatasetFiles() { worker_.join(); }

void DatasetFiles::Give(const AttemptId& attempt, const spec::DatasetFrom& from,
                        const std::string& folder, Note note, Done done) {
  auto request = std::make_shared<Request>();
  request->attempt = attempt;
  request->key = from.manifest_sha256;
  request->from = from;
  request->folder = folder;
  request->note = std::move(note);
  request->done = std::move(done);
  Enqueue(request);
}

void DatasetFiles::GiveRemote(const AttemptId& attempt, const spec::RemoteSource& source,
                              const std::string& folder, Note note, Done done) {
  auto request = std::make_shared<Request>();
  request->attempt = attempt;
  request->key = security::HexEncode(security::Sha256(source.Identity()));
  request->remote = source;
  request->folder = folder;
  request->note = std::move(note);
  request->done = std::move(done);
  Enqueue(request);
}

void DatasetFiles::Enqueue(const RequestPtr& request) {
  auto& line = waiting_[request->key];
  line.push_back(request);
  if (line.size() == 1) Begin(request);
}

void DatasetFiles::Cancel(const AttemptId& attempt) {
  for (auto& [key, line] : waiting_) {
    auto found = std::find_if(line.begin(), line.end(), [&](const RequestPtr& request) {
      return request->attempt == attempt;
    });
    if (found == line.end()) continue;
    const RequestPtr request = *found;
    const bool in_work = found == line.begin();
    request->over = true;
    if (request->obtaining) remote_->Cancel(request->obtaining);
    line.erase(found);
    Discard(request->folder);
    if (in_work) GoOn(std::string(key));
    return;
  }
}

void DatasetFiles::Discard(const std::string& folder) {
  boost::asio::post(worker_, [folder] {
    std::error_code error;
    fs::remove_all(folder, error);
    fs::remove_all(folder + ".incoming", error);
  });
}

void DatasetFiles::GoOn(const std::string& key) {
  auto line = waiting_.find(key);
  if (line->second.empty()) {
    waiting_.erase(line);
  } else {
    Begin(line->second.front());
  }
}

std::vector<ContentKey> DatasetFiles::Keys() const {
  std::vector<ContentKey> keys;
  for (const auto& [key, file] : given_) {
    if (cache_->Has(file)) keys.push_back(ContentKeyOf(key));
  }
  return keys;
}

void DatasetFiles::Finish(const RequestPtr& request, Status status) {
  request->over = true;
  Given given{.holds = std::move(request->holds), .bytes = spec::BytesOf(request->files)};
  if (status.ok()) {
    const bool remote = request->remote.has_value();
    given.manifest_sha256 =
        remote ? security::HexEncode(security::Sha256(spec::ManifestText(request->files)))
               : request->key;
    std::erase_if(given_, [&](const auto& one) { return one.first == request->key; });
    given_.emplace_front(request->key, remote ? request->files.front().sha256 : request->key);
    if (given_.size() > kMostTold) given_.pop_back();
  } else {
    Discard(request->folder);
  }
  waiting_[request->key].pop_front();
  GoOn(request->key);
  request->done(std::move(status), std::move(given));
}

void DatasetFiles::BeginRemote(const RequestPtr& request) {
  if (Status made = MakeFolder(request->incoming(), 0700); !made.ok())
    return Finish(request, std::move(made));
  auto check_disk = [minimum = min_free_disk_bytes_, folder = request->incoming()] {
    auto free = FreeDiskBytes(folder);
    if (!free.ok()) return free.status();
    return CheckDiskSpace(folder, *free, minimum, /*promised=*/0, /*result=*/0);
  };
  request->obtaining =
      remote_->Obtain(*request->remote, request->key, request->incoming(), check_disk,
                      request->note, [this, request](Result<RemoteFiles::Obtained> obtained) {
                        if (!obtained.ok()) return Finish(request, obtained.status());
                        request->files = std::move(obtained->files);
                        request->sources = std::move(obtained->sources);
                        request->holds = std::move(obtained->holds);
                        Link(request);
                      });
}

void DatasetFiles::Begin(const RequestPtr& request) {
  if (request->remote) return BeginRemote(request);
  if (!spec::IsSha256(request->from.manifest_sha256)) {
    return Finish(request, InvalidArgument("its manifest is named by no SHA-256: '" +
                                           Printable(request->from.manifest_sha256) + "'"));
  }
  if (Status made = MakeFolder(request->incoming(), 0700); !made.ok())
    return Finish(request, std::move(made));
  const spec::DatasetFrom& from = request->from;
  Obtain(request, {{"manifest", from.manifest_sha256, from.manifest_bytes}},
         [this, request] { OnManifest(request); });
}

void DatasetFiles::OnManifest(const RequestPtr& request) {
  boost::asio::post(worker_,
                    [this, request, path = request->sources.at(request->from.manifest_sha256)] {
                      Result<std::string> text = ReadFile(path, spec::kMaxManifestBytes);
                      Result<std::vector<spec::DatasetFile>> files =
                          text.ok() ? spec::ParseManifest(*text) : text.status();
                      boost::asio::post(io_, [this, request, files = std::move(files)]() mutable {
                        if (request->over) return;
                        if (!files.ok()) return Finish(request, files.status());
                        request->files = *std::move(files);
                        // Files of the same content are one.
                        std::vector<spec::DatasetFile> different;
                        std::unordered_set<std::string> seen;
                        for (const spec::DatasetFile& file : request->files) {
                          if (seen.insert(file.sha256).second) different.push_back(file);
                        }
                        Obtain(request, std::move(different), [this, request] { Link(request); });
                      });
                    });
}

void DatasetFiles::Obtain(const RequestPtr& request, std::vector<spec::DatasetFile> files,
                          Then then) {
  std::vector<spec::DatasetFile> missing;
  std::vector<std::pair<spec::DatasetFile, FileCache::Hold>> unchecked;
  for (const spec::DatasetFile& file : files) {
    FileCache::Hold hold = cache_->Find(file.sha256);
    if (hold == nullptr) {
      missing.push_back(file);
      continue;
    }
    if (!hold->checked) unchecked.emplace_back(file, hold);
    request->sources[file.sha256] = cache_->PathOf(file.sha256);
    request->holds.push_back(std::move(hold));
  }
  const size_t count = files.size();
  if (unchecked.empty()) return FetchMissing(request, std::move(missing), count, std::move(then));
  std::vector<std::string> paths;
  for (const auto& [file, hold] : unchecked) paths.push_back(cache_->PathOf(file.sha256));
  boost::asio::post(
      worker_, [this, request, missing = std::move(missing), unchecked = std::move(unchecked),
                paths = std::move(paths), count, then = std::move(then)]() mutable {
        std::vector<bool> right;
        for (size_t i = 0; i < paths.size(); ++i) {
          Result<std::string> hash = artifacts::HashFile(paths[i]);
          right.push_back(hash.ok() && *hash == unchecked[i].first.sha256);
        }
        boost::asio::post(io_, [this, request, missing = std::move(missing),
                                unchecked = std::move(unchecked), right = std::move(right), count,
                                then = std::move(then)]() mutable {
          for (size_t i = 0; i < unchecked.size(); ++i) {
            auto& [file, hold] = unchecked[i];
            hold->checked = right[i];
            if (right[i]) continue;
            spdlog::warn("the file {} of data sets is damaged here and fetched again", file.sha256);
            cache_->Drop(file.sha256);
            missing.push_back(file);
          }
          if (request->over) return;
          FetchMissing(request, std::move(missing), count, std::move(then));
        });
      });
}

void DatasetFiles::FetchMissing(const RequestPtr& request, std::vector<spec::DatasetFile> missing,
                                size_t of, Then then) {
  const bool manifest = request->files.empty();
  cache_->Count(static_cast<int64_t>(of - missing.size()), static_cast<int64_t>(missing.size()));
  if (missing.empty()) {
    if (!manifest) request->note(request->name() + " is here already");
    return then();
  }
  const int64_t bytes = spec::BytesOf(missing);
  auto free = FreeDiskBytes(fs::path(request->folder).parent_path().string());
  if (!free.ok()) return Finish(request, free.status());
  if (*free - min_free_disk_bytes_ < bytes) {
    return Finish(
        request,
        ResourceExhausted("the disk is too full for " + request->name() + ": expected " +
                          FormatBytes(bytes) + " beside the minimum of " +
                          FormatBytes(min_free_disk_bytes_) + ", found " + FormatBytes(*free)));
  }
  if (!manifest) {
    request->note("getting " + request->name() + " from the server: " +
                  std::to_string(missing.size()) + " of " + Files(of) + ", " + FormatBytes(bytes));
  }
  cache_->MakeRoom(bytes);
  std::vector<StoredFile> wanted;
  for (const spec::DatasetFile& file : missing) {
    wanted.push_back({.path = request->incoming() + "/" + file.sha256,
                      .name = file.sha256,
                      .sha256 = file.sha256,
                      .size = file.size,
                      .store = StoredFile::Store::kDatasets});
  }
  fetch_(request->attempt, wanted, [this, request, wanted, then](const Status& status) {
    if (request->over) return;
    // Also after a failure: the next attempt need not fetch them again.
    std::error_code error;
    for (const StoredFile& file : wanted) {
      if (!fs::exists(file.path, error)) continue;
      request->sources[file.sha256] = file.path;
      FileCache::Hold hold = cache_->Keep(file.sha256, file.path);
      if (hold != nullptr) request->holds.push_back(std::move(hold));
    }
    if (!status.ok()) return Finish(request, status);
    then();
  });
}

void DatasetFiles::Link(const RequestPtr& request) {
  boost::asio::post(worker_, [this, request, files = request->files, sources = request->sources,
                              folder = request->folder, incoming = request->incoming()] {
    Status linked = LinkFiles(files, sources, folder);
    std::error_code error;
    fs::remove_all(incoming, error);
    boost::asio::post(io_, [this, request, linked = std::move(linked)] {
      if (!request->over) Finish(request, linked);
    });
  });
}

}  // namespace cyxwiz::node
