#include "central/dataset_api.h"

#include <algorithm>
#include <utility>

#include "central/convert.h"
#include "central/page_token.h"

namespace cyxwiz::central {
namespace {

constexpr size_t kMostJobsNamed = 5;

void ToWire(const DatasetVersion& version, protocol::DatasetVersion* wire) {
  wire->set_name(version.name);
  wire->set_version(version.version);
  wire->set_sha256(version.manifest_sha256);
  wire->set_files(version.files);
  wire->set_size(version.bytes);
  wire->set_created_at(version.created_at.seconds());
}

Status NeededBy(const DatasetVersion& version, const std::vector<JobId>& jobs) {
  std::string list;
  for (size_t i = 0; i < jobs.size() && i < kMostJobsNamed; ++i)
    list += (list.empty() ? "" : ", ") + jobs[i].value;
  if (jobs.size() > kMostJobsNamed)
    list += " and " + std::to_string(jobs.size() - kMostJobsNamed) + " more";
  return FailedPrecondition(
      "data set '" + version.name + "@" + version.version + "' is needed by " +
          (jobs.size() == 1 ? "a job that has" : "jobs that have") + " not ended: " + list,
      "remove it when they have ended, or cancel them first");
}

}  // namespace

void DatasetApi::Put(const protocol::PutDatasetRequest& request,
                     Done<protocol::PutDatasetResponse> done) {
  pool_->Post([this, request, done = std::move(done)] {
    // A disk that is nearly full is left to the jobs' records.
    if (Status ready = core_->Ready(); !ready.ok()) return done(std::move(ready), {});
    std::vector<spec::DatasetFile> files;
    for (const protocol::DatasetFile& file : request.files())
      files.push_back({file.path(), file.sha256(), file.size()});
    auto outcome =
        registry_->Put(request.name(), request.version(), std::move(files), ReadClocks().unix);
    if (!outcome.ok()) return done(outcome.status(), {});
    protocol::PutDatasetResponse response;
    if (outcome->version) ToWire(*outcome->version, response.mutable_dataset());
    response.set_existed(outcome->existed);
    response.mutable_missing()->Add(outcome->missing.begin(), outcome->missing.end());
    done(OkStatus(), std::move(response));
  });
}

void DatasetApi::StorePiece(DatasetPiece piece, Done<DatasetPieceStored> done) {
  pool_->Post([this, piece = std::move(piece), done = std::move(done)] {
    if (Status ready = core_->Ready(); !ready.ok()) return done(std::move(ready), {});
    auto stored = pieces_.Store(piece, ReadClocks().monotonic);
    done(stored.status(), stored.ok() ? *stored : DatasetPieceStored());
  });
}

void DatasetApi::List(const protocol::ListDatasetsRequest& request,
                      Done<protocol::ListDatasetsResponse> done) {
  auto page_size = CheckPageSize(request.page_size());
  if (!page_size.ok()) return done(page_size.status(), {});
  const std::string filter = "datasets/" + request.name();
  size_t begin = 0;
  if (!request.page_token().empty()) {
    auto position = ParsePageToken(request.page_token(), filter);
    if (!position.ok()) return done(position.status(), {});
    begin = static_cast<size_t>(*position);
  }
  pool_->Post(
      [this, name = request.name(), filter, begin, page_size = *page_size, done = std::move(done)] {
        auto all = registry_->List(name);
        if (!all.ok()) return done(all.status(), {});
        protocol::ListDatasetsResponse response;
        const size_t end = std::min(all->size(), begin + static_cast<size_t>(page_size));
        for (size_t i = begin; i < end; ++i) ToWire((*all)[i], response.add_datasets());
        if (end < all->size())
          response.set_next_page_token(MakePageToken(static_cast<int64_t>(end), filter));
        done(OkStatus(), std::move(response));
      });
}

void DatasetApi::Remove(const protocol::RemoveDatasetRequest& request,
                        Done<protocol::RemoveDatasetResponse> done) {
  pool_->Post([this, request, done = std::move(done)] {
    if (request.version().empty()) {
      return done(InvalidArgument("version: which one? Expected one of the data set's versions",
                                  "such as NAME@1"),
                  {});
    }
    bool shared = false;
    auto version = registry_->BeginRemoval(request.name(), request.version(), &shared);
    if (!version.ok()) return done(version.status(), {});
    auto finish = [this, version = *version, done] {
      Status removed = registry_->FinishRemoval(version);
      protocol::RemoveDatasetResponse response;
      if (removed.ok()) ToWire(version, response.mutable_dataset());
      done(std::move(removed), std::move(response));
    };
    if (shared) return finish();  // its content stays
    core_->Post(control::FindJobs{.text = version->manifest_sha256},
                [this, version = *version, done, finish](control::Reply reply) {
                  Status needed = std::move(reply.status);
                  if (needed.ok()) {
                    const auto& jobs = std::get<control::FoundReply>(reply.content).jobs;
                    if (!jobs.empty()) needed = NeededBy(version, jobs);
                  }
                  if (needed.ok()) return pool_->Post(finish);
                  registry_->AbandonRemoval(version);
                  done(std::move(needed), {});
                });
  });
}

}  // namespace cyxwiz::central
