#include "node/remote_files.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/logging.h"
#include "base/resources.h"

namespace cyxwiz::node {
namespace {

constexpr auto kBetweenNotes = std::chrono::seconds(5);

// What is remembered of a file that may have come with ".gz" at its end or without.
const FetchRecord* RecordOf(const FetchRecordsByName& records, const spec::RemoteFile& file) {
  auto found = records.find(file.name);
  if (found == records.end() && file.or_unpacked)
    found = records.find(file.name.substr(0, file.name.rfind('.')));
  return found == records.end() ? nullptr : &found->second;
}

}  // namespace

std::string Files(size_t count) {
  return std::to_string(count) + (count == 1 ? " file" : " files");
}

struct RemoteFiles::Request {
  explicit Request(boost::asio::io_context& io) : timer(io) {}

  spec::RemoteSource source;
  std::string key, folder;
  std::function<Status()> check_disk;
  Note note;
  Done done;
  FetchRecordsByName records;  // of the last time
  std::vector<fetch::Wanted> wanted;
  std::vector<FileCache::Hold> copies;  // of each wanted file; null: there is none
  std::shared_ptr<fetch::Fetching> fetching;
  MonotonicTime begun;
  boost::asio::steady_timer timer;
  int64_t told_bytes = 0;
  bool over = false;

  std::string shown() const { return spec::WithoutQuery(source.url); }
};

std::shared_ptr<RemoteFiles::Request> RemoteFiles::Obtain(const spec::RemoteSource& source,
                                                          const std::string& key,
                                                          const std::string& folder,
                                                          std::function<Status()> check_disk,
                                                          Note note, Done done) {
  auto request = std::make_shared<Request>(io_);
  request->source = source;
  request->key = key;
  request->folder = folder;
  request->check_disk = std::move(check_disk);
  request->note = std::move(note);
  request->done = std::move(done);
  request->records = records_->Find(key);
  request->begun = ReadClocks().monotonic;
  if (fetcher_->options().max_bytes == 0) {
    Finish(request, PermissionDenied("nothing is fetched by this node",
                                     "its operator decides with fetch.max_size"));
    return request;
  }
  if (!source.lists()) {
    std::vector<fetch::Listed> files;
    for (const spec::RemoteFile& file : source.files) files.push_back({file, ""});
    Fetch(request, std::move(files));
    return request;
  }
  request->note("listing " + request->shown());
  request->fetching =
      fetcher_->List(source.url, [this, request](Result<std::vector<fetch::Listed>> listed) {
        boost::asio::post(io_, [this, request, listed = std::move(listed)]() mutable {
          if (request->over) return;
          if (!listed.ok()) return Finish(request, listed.status());
          Fetch(request, std::move(listed).value());
        });
      });
  return request;
}

void RemoteFiles::Cancel(const std::shared_ptr<Request>& request) {
  request->over = true;
  request->timer.cancel();
  request->copies.clear();
  if (request->fetching) request->fetching->Cancel();
}

void RemoteFiles::Fetch(const RequestPtr& request, std::vector<fetch::Listed> listed) {
  std::map<std::string, std::string> hashes = request->source.sha256;
  for (fetch::Listed& one : listed) {
    if (auto given = hashes.extract(one.file.name)) one.file.sha256 = given.mapped();
    const FetchRecord* record = RecordOf(request->records, one.file);
    const std::string sha256 = !one.file.sha256.empty() ? one.file.sha256
                               : record != nullptr      ? record->sha256
                                                        : "";
    const bool recorded = record != nullptr && record->sha256 == sha256;
    const std::string etag = recorded ? record->etag : "";
    FileCache::Hold copy;
    // Without a hash or an ETag nobody could say whether it is still the same.
    if (!one.file.sha256.empty() || !etag.empty()) copy = cache_->Find(sha256);
    fetch::Wanted wanted{.file = std::move(one.file),
                         .path = request->folder + "/" + std::to_string(request->wanted.size())};
    if (copy != nullptr) {
      wanted.copy = fetch::Copy{.path = cache_->PathOf(sha256),
                                .sha256 = sha256,
                                .etag = etag,
                                .checked = copy->checked,
                                .current = !etag.empty() && one.etag == etag};
    }
    request->wanted.push_back(std::move(wanted));
    request->copies.push_back(std::move(copy));
  }
  if (!hashes.empty()) {
    const std::string& name = hashes.begin()->first;
    return Finish(request,
                  InvalidArgument(request->shown() + ": sha256 names a file that is not there: '" +
                                  name + "'"));
  }
  fetch::FetchJob job;
  job.wanted = request->wanted;
  job.check_disk = request->check_disk;
  job.notice = [this, request](const std::string& line) {
    boost::asio::post(io_, [request, line] {
      if (!request->over) request->note(line);
    });
  };
  job.done = [this, request](Result<std::vector<fetch::Had>> had) {
    boost::asio::post(io_, [this, request, had = std::move(had)]() mutable {
      if (!request->over) OnFetched(request, std::move(had));
    });
  };
  request->fetching = fetcher_->Fetch(std::move(job));
  TellProgress(request);
}

void RemoteFiles::TellProgress(const RequestPtr& request) {
  request->timer.expires_after(kBetweenNotes);
  request->timer.async_wait([this, request](const boost::system::error_code& error) {
    if (error || request->over) return;
    const int64_t bytes = request->fetching->received();
    const int64_t expected = request->fetching->expected();
    if (bytes != request->told_bytes) {
      request->told_bytes = bytes;
      request->note("fetched " + FormatBytes(bytes) +
                    (expected > bytes ? " of " + FormatBytes(expected) : "") + " of " +
                    request->shown());
    }
    TellProgress(request);
  });
}

void RemoteFiles::Finish(const RequestPtr& request, Result<Obtained> result) {
  request->over = true;
  request->timer.cancel();
  request->done(std::move(result));
}

void RemoteFiles::OnFetched(const RequestPtr& request, Result<std::vector<fetch::Had>> had) {
  if (!had.ok()) return Finish(request, had.status());
  Obtained obtained;
  FetchRecordsByName records;
  size_t fetched = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < had->size(); ++i) {
    const fetch::Wanted& wanted = request->wanted[i];
    const fetch::Had& one = (*had)[i];
    FileCache::Hold hold = std::move(request->copies[i]);
    if (one.damaged) {
      spdlog::warn("the file {} of data sets is damaged here and fetched again",
                   wanted.copy->sha256);
      cache_->Drop(wanted.copy->sha256);
      hold.reset();
    }
    if (one.absent) {
      request->note(spec::WithoutQuery(wanted.file.url) + " is not there: going on without it");
      continue;
    }
    cache_->Count(one.copied ? 1 : 0, one.copied ? 0 : 1);
    int64_t size = one.bytes;
    std::string path = wanted.path;
    if (one.copied) {
      hold->checked = true;
      size = hold->bytes;
      path = cache_->PathOf(one.sha256);
    } else {
      ++fetched;
      bytes += size;
      hold = cache_->Find(one.sha256);  // another file has the same content
      if (hold == nullptr || !hold->checked) {
        cache_->MakeRoom(size);
        hold = cache_->Keep(one.sha256, path);
      }
    }
    obtained.sources[one.sha256] = std::move(path);
    if (hold != nullptr) obtained.holds.push_back(std::move(hold));
    obtained.files.push_back({one.name, one.sha256, size});
    records[one.name] = {one.etag, one.sha256, size};
  }
  if (Status checked = spec::CheckDatasetFiles(&obtained.files); !checked.ok())
    return Finish(request, std::move(checked));
  records_->Put(request->key, records);
  if (fetched == 0) {
    request->note(request->shown() + " is here already");
  } else {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f",
                  std::chrono::duration<double>(ReadClocks().monotonic - request->begun).count());
    request->note("fetched " + request->shown() + ": " + std::to_string(fetched) + " of " +
                  Files(had->size()) + ", " + FormatBytes(bytes) + " in " + seconds + " s");
  }
  Finish(request, std::move(obtained));
}

}  // namespace cyxwiz::node
