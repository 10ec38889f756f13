#include "central/dataset_source.h"

#include <algorithm>
#include <utility>

#include "artifacts/artifact_store.h"
#include "base/suggest.h"
#include "data/source_files.h"
#include "data/stored.h"
#include "security/job_token.h"
#include "spec/dataset_reference.h"
#include "spec/shard_pattern.h"

namespace cyxwiz::central {
namespace {

constexpr char kPath[] = "$.dataset";
// Of files that are read at each submission that finds them changed.
constexpr int64_t kMostHashedBytes = 256 << 20;

// Whether the path is that of a file of the data set, or of a folder with some. files: in order.
bool Holds(const std::vector<spec::DatasetFile>& files, const std::string& path) {
  auto first_from = [&](const std::string& wanted) {
    return std::lower_bound(files.begin(), files.end(), wanted,
                            [](const auto& file, const auto& text) { return file.path < text; });
  };
  if (auto file = first_from(path); file != files.end() && file->path == path) return true;
  auto inside = first_from(path + "/");
  return inside != files.end() && inside->path.starts_with(path + "/");
}

// Adds a problem unless the data set has what the path names: one file or folder, or the shards of
// a pattern.
bool CheckPath(const spec::DatasetReference& reference, const std::vector<spec::DatasetFile>& files,
               spec::Problems* problems) {
  std::vector<std::string> wanted{reference.path};
  if (auto shards = spec::ExpandShards(reference.path)) wanted = *std::move(shards);
  auto missing = std::find_if(wanted.begin(), wanted.end(),
                              [&](const std::string& path) { return !Holds(files, path); });
  if (missing == wanted.end()) return true;
  std::vector<std::string> paths;
  for (const spec::DatasetFile& file : files) {
    if (paths.size() < 1000) paths.push_back(file.path);
  }
  const std::string nearest = NearestName(*missing, paths);
  problems->Add({kPath, "data set '" + reference.FullName() + "' has no such file or folder",
                 "one of its files, such as '" + files.front().path + "'", "'" + *missing + "'",
                 nearest.empty() ? "" : "did you mean '" + nearest + "'?"});
  return false;
}

}  // namespace

bool UsesStoredDataset(const protocol::JobConfig& config) {
  return config.dataset_uri().starts_with(spec::kDatasetScheme);
}

Status CompleteOutput(DatasetRegistry* registry, protocol::JobConfig* config) {
  auto name = spec::ParseFullName(config->output_dataset());
  if (!name || !name->version.empty()) return OkStatus();
  ASSIGN_OR_RETURN(name->version, registry->Reserve(name->name));
  config->set_output_dataset(name->FullName());
  return OkStatus();
}

DatasetRegistry::Hold LookUpDataset(DatasetRegistry* registry, protocol::JobConfig* config,
                                    spec::Problems* problems) {
  config->clear_dataset_from();
  spec::Problems form;
  if (!spec::ParseDatasetUri(config->dataset_uri(), &form)) {
    // What a path is may show only once it is completed.
    spec::Problems of_name;
    if (!spec::ParseDatasetReference(config->dataset_uri(), &of_name)) return nullptr;
  }
  auto reference = spec::ParseDatasetReference(config->dataset_uri(), &form);
  auto found = registry->Find(reference->name, reference->version);
  if (!found.ok()) {
    problems->Add({kPath, found.status().message(), "", "", found.status().hint()});
    return nullptr;
  }
  const DatasetVersion& version = **found;
  reference->version = version.version;
  if (reference->path.empty()) {
    reference->path = version.main_file;
  } else {
    auto files = registry->Read(version.manifest_sha256);
    if (!files.ok()) {
      problems->Add({kPath, files.status().message(), "", "",
                     "'cyxwiz-central-server check' looks for damage"});
      return nullptr;
    }
    if (!CheckPath(*reference, *files, problems)) return nullptr;
  }
  config->set_dataset_uri(reference->ToUri());
  protocol::DatasetFrom* from = config->mutable_dataset_from();
  from->set_name(version.name);
  from->set_version(version.version);
  from->set_manifest_sha256(version.manifest_sha256);
  from->set_manifest_size(version.manifest_bytes);
  from->set_size(version.bytes);
  return *std::move(found);
}

Result<DatasetRegistry::Hold> FindDataset(DatasetRegistry* registry,
                                          const protocol::DatasetFrom& from) {
  auto found = registry->Find(from.name(), from.version());
  if (found.ok() && (*found)->manifest_sha256 == from.manifest_sha256()) return found;
  const std::string name = from.name() + "@" + from.version();
  return FailedPrecondition("the data set of the job, '" + name + "', is not kept any more",
                            "put it again as " + name + ", or submit the job with another one");
}

void NoteSourceFiles(const spec::DatasetUri& uri, const data::Roots& roots,
                     protocol::JobConfig* config) {
  auto files = data::FindSourceFiles(uri, roots);
  if (!files.ok() || files->empty()) return;
  protocol::DatasetFrom* from = config->mutable_dataset_from();
  from->set_files_state(data::StateOf(*files));
  from->set_size(data::BytesOf(*files));
  if (from->size() > kMostHashedBytes) return;
  auto manifest = data::ManifestOf(*files, artifacts::HashFile);
  // Files that a stored data set could not have, for their names say, are known by their sizes.
  if (!manifest.ok()) return;
  from->set_manifest_sha256(security::HexEncode(security::Sha256(*manifest)));
  from->set_manifest_size(static_cast<int64_t>(manifest->size()));
}

ServerInspector::ServerInspector(spec::DatasetInspector* files, DatasetRegistry* registry,
                                 const std::string& registry_folder)
    : files_(files),
      registry_(registry),
      trees_(registry_folder + "/trees"),
      stored_(trees_.roots(), /*must_see=*/true) {}

std::optional<spec::DatasetInfo> ServerInspector::Inspect(const spec::DatasetUri& uri,
                                                          spec::Problems* problems) {
  if (uri.fetched()) return std::nullopt;  // only nodes fetch
  if (!uri.stored()) return files_->Inspect(uri, problems);
  if (uri.manifest_sha256.empty()) return std::nullopt;
  auto folder = registry_->FolderOf(uri.manifest_sha256);
  if (!folder.ok()) {
    problems->Add({kPath,
                   "data set '" + uri.stored_as + "' cannot be read: " + folder.status().message(),
                   "", "", "put it again: its files may be damaged or gone"});
    return std::nullopt;
  }
  const data::StoredFolder stored(*folder);
  spec::Problems found;
  auto info = stored_.Inspect(stored.UriOf(uri), &found);
  for (spec::Problem problem : found.list()) {
    for (std::string* text : {&problem.message, &problem.expected, &problem.found, &problem.hint})
      *text = trees_.Shown(stored.Shown(*text));
    problems->Add(std::move(problem));
  }
  return info;
}

}  // namespace cyxwiz::central
