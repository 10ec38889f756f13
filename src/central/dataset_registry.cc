#include "central/dataset_registry.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "base/logging.h"
#include "base/suggest.h"
#include "base/text.h"
#include "data/prepared.h"

namespace cyxwiz::central {
namespace {

namespace fs = std::filesystem;

constexpr char kNameEnd[] = ".json";
constexpr int64_t kLeftoverSeconds = 24 * 3600;
constexpr size_t kMostShown = 8;  // names or versions in a message

std::string Quoted(const std::string& text) { return "'" + Printable(text.substr(0, 200)) + "'"; }

Json ToJson(const DatasetVersion& version) {
  return {{"version", version.version},
          {"manifest", version.manifest_sha256},
          {"manifest_bytes", version.manifest_bytes},
          {"files", version.files},
          {"main_file", version.main_file},
          {"bytes", version.bytes},
          {"created_at", version.created_at.seconds()}};
}

// What dataset://NAME means of these files; empty: all of them.
std::string MainFile(const std::vector<spec::DatasetFile>& files) {
  if (files.size() == 1) return files.front().path;
  auto has = [&files](const std::string& path) {
    return std::any_of(files.begin(), files.end(),
                       [&](const spec::DatasetFile& file) { return file.path == path; });
  };
  const bool prepared = has(data::kPreparedFile) && has("train.safetensors");
  return prepared ? data::kPreparedFile : "";
}

Status TooManyNames() {
  return ResourceExhausted("the server keeps " + std::to_string(DatasetRegistry::kMostNames) +
                               " names of data sets, as many as it can",
                           "remove some: 'cyxwiz dataset rm NAME@VERSION'");
}

bool HasForm(const Json& json) {
  return json.is_object() && json.value("version", Json()).is_string() &&
         json.value("manifest", Json()).is_string() &&
         json.value("manifest_bytes", Json()).is_number_integer() &&
         json.value("files", Json()).is_number_integer() &&
         json.value("main_file", Json()).is_string() &&
         json.value("bytes", Json()).is_number_integer() &&
         json.value("created_at", Json()).is_number_integer();
}

}  // namespace

Result<std::map<std::string, DatasetName>> ReadDatasetNames(const std::string& folder) {
  std::map<std::string, DatasetName> names;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder + "/names", error)) {
    const std::string path = file.path().string(), name = file.path().stem().string();
    if (file.path().extension() != kNameEnd || !spec::IsDatasetName(name)) continue;
    auto refuse = [&path](const std::string& why) {
      return DataLoss("cannot read the versions of a data set in '" + path + "': " + why,
                      "put the file back from a backup, or take it away: its versions are then "
                      "unknown");
    };
    Result<std::string> text = ReadFile(path);
    if (!text.ok()) return refuse(text.status().message());
    Result<Json> json = ParseJson(*text, "file");
    if (!json.ok()) return refuse(json.status().message());
    if (!json->is_object() || !json->value("next", Json()).is_number_integer() ||
        !json->value("versions", Json()).is_array())
      return refuse("expected \"next\" and \"versions\"");
    DatasetName entry;
    entry.next = (*json)["next"];
    for (const Json& one : (*json)["versions"]) {
      if (!HasForm(one)) return refuse("a version lacks something");
      entry.versions.push_back(std::make_shared<const DatasetVersion>(
          DatasetVersion{.name = name,
                         .version = one["version"],
                         .manifest_sha256 = one["manifest"],
                         .manifest_bytes = one["manifest_bytes"],
                         .files = one["files"],
                         .bytes = one["bytes"],
                         .main_file = one["main_file"],
                         .created_at = {one["created_at"].get<int64_t>() * 1000}}));
    }
    names[name] = std::move(entry);
  }
  if (error) return ErrnoStatus("cannot list '" + folder + "/names'", error.value());
  return names;
}

Result<std::unique_ptr<DatasetRegistry>> DatasetRegistry::Open(const std::string& folder,
                                                               int64_t max_file_bytes) {
  std::unique_ptr<DatasetRegistry> registry(new DatasetRegistry(folder));
  ASSIGN_OR_RETURN(registry->store_, artifacts::OpenLocalStore(folder, max_file_bytes));
  RETURN_IF_ERROR(MakeFolder(folder + "/names"));
  RETURN_IF_ERROR(MakeFolder(folder + "/trees"));
  ASSIGN_OR_RETURN(registry->names_, ReadDatasetNames(folder));
  return registry;
}

Status DatasetRegistry::Save(const std::string& name, const DatasetName& entry) const {
  Json versions = Json::array();
  for (const auto& version : entry.versions) versions.push_back(ToJson(*version));
  return WriteFileAtomically(folder_ + "/names/" + name + kNameEnd,
                             Json{{"next", entry.next}, {"versions", versions}}.dump(1) + "\n");
}

Result<DatasetRegistry::Outcome> DatasetRegistry::Put(const std::string& name,
                                                      const std::string& version,
                                                      std::vector<spec::DatasetFile> files,
                                                      UnixTime now) {
  constexpr char kForm[] = " of letters, digits, '.', '_' and '-', not beginning with '.' or '-'";
  if (!spec::IsDatasetName(name)) {
    return InvalidArgument("name: expected 1 to 128" + std::string(kForm) + ", found " +
                           Quoted(name));
  }
  if (!version.empty() && !spec::IsDatasetVersion(version)) {
    return InvalidArgument("version: expected 1 to 64" + std::string(kForm) + ", found " +
                           Quoted(version));
  }
  std::vector<spec::DatasetFile> ordered = files;
  RETURN_IF_ERROR(spec::CheckDatasetFiles(&ordered));
  const std::string manifest = spec::ManifestText(ordered);

  std::lock_guard lock(mutex_);
  Outcome outcome;
  for (size_t i = 0; i < files.size(); ++i) {
    auto size = store_->SizeOf(files[i].sha256);
    if (size.status().code() == Code::kNotFound) {
      outcome.missing.push_back(static_cast<int32_t>(i));
    } else if (!size.ok()) {
      return size.status();
    } else if (*size != files[i].size) {
      return InvalidArgument("file " + Quoted(files[i].path) + " with SHA-256 " + files[i].sha256 +
                             " has " + std::to_string(*size) +
                             " bytes, but its size is said to be " + std::to_string(files[i].size));
    }
  }
  if (!outcome.missing.empty()) return outcome;

  ASSIGN_OR_RETURN(const std::string sha256, StoreManifest(manifest));
  auto found = names_.find(name);
  if (found == names_.end() && names_.size() >= kMostNames) {
    return ResourceExhausted(
        "the server keeps " + std::to_string(kMostNames) + " names of data sets, as many as it can",
        "remove some: 'cyxwiz dataset rm NAME@VERSION'");
  }
  DatasetName entry = found == names_.end() ? DatasetName() : found->second;
  for (const auto& other : entry.versions) {
    const bool newest = other == entry.versions.back();
    if (version.empty() ? !newest || other->manifest_sha256 != sha256 : other->version != version)
      continue;
    if (removing_.count({name, other->version}) > 0) {
      if (version.empty()) continue;
      return FailedPrecondition(
          "data set " + Quoted(name + "@" + version) + " is being removed at this moment",
          "try again in a moment");
    }
    if (other->manifest_sha256 != sha256) {
      return AlreadyExists("data set " + Quoted(name + "@" + version) +
                               " is there with another content, and a version never changes",
                           "take another version, or leave it out: the server counts on");
    }
    outcome.version = *other;
    outcome.existed = true;
    return outcome;
  }
  if (entry.versions.size() >= kMostVersions) {
    return ResourceExhausted("data set " + Quoted(name) + " has " + std::to_string(kMostVersions) +
                                 " versions, as many as it can",
                             "remove some: 'cyxwiz dataset rm " + name + "@VERSION'");
  }
  DatasetVersion fresh{.name = name,
                       .version = version,
                       .manifest_sha256 = sha256,
                       .manifest_bytes = static_cast<int64_t>(manifest.size()),
                       .files = static_cast<int64_t>(files.size()),
                       .bytes = spec::BytesOf(files),
                       .main_file = MainFile(ordered),
                       .created_at = now};
  if (version.empty()) fresh.version = std::to_string(entry.next);
  if (auto number = ParseInt(fresh.version); number && *number >= entry.next && *number < INT64_MAX)
    entry.next = *number + 1;
  entry.versions.push_back(std::make_shared<const DatasetVersion>(fresh));
  RETURN_IF_ERROR(Save(name, entry));
  names_[name] = std::move(entry);
  outcome.version = std::move(fresh);
  return outcome;
}

Result<std::string> DatasetRegistry::Reserve(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto found = names_.find(name);
  if (found == names_.end() && names_.size() >= kMostNames) return TooManyNames();
  DatasetName entry = found == names_.end() ? DatasetName() : found->second;
  const std::string version = std::to_string(entry.next++);
  RETURN_IF_ERROR(Save(name, entry));
  names_[name] = std::move(entry);
  return version;
}

Result<std::string> DatasetRegistry::StoreManifest(const std::string& text) {
  ASSIGN_OR_RETURN(auto upload, store_->Begin());
  RETURN_IF_ERROR(upload->Append(text));
  return upload->Finish("");
}

Status DatasetRegistry::NoSuch(const std::string& name, const std::string& version) const {
  auto found = names_.find(name);
  std::vector<std::string> known;
  if (found != names_.end()) {
    for (auto one = found->second.versions.rbegin(); one != found->second.versions.rend(); ++one) {
      if (removing_.count({name, (*one)->version}) == 0) known.push_back((*one)->version);
    }
  }
  if (known.empty()) {
    std::vector<std::string> names;
    for (const auto& [other, entry] : names_) {
      if (!entry.versions.empty() && other != name) names.push_back(other);
    }
    std::string nearest = NearestName(name, names);
    return NotFound("there is no data set " + Quoted(name),
                    nearest.empty() ? "'cyxwiz dataset ls' lists the data sets"
                                    : "did you mean '" + nearest + "'?");
  }
  std::string list;
  for (size_t i = 0; i < known.size() && i < kMostShown; ++i)
    list += (list.empty() ? "" : ", ") + known[i];
  if (known.size() > kMostShown) list += ", ...";
  return NotFound("data set " + Quoted(name) + " has no version " + Quoted(version),
                  "it has " + list + "; the newest is the first");
}

Result<std::vector<DatasetVersion>> DatasetRegistry::List(const std::string& name) const {
  std::lock_guard lock(mutex_);
  std::vector<DatasetVersion> versions;
  auto add = [&versions](const DatasetName& entry) {
    for (auto one = entry.versions.rbegin(); one != entry.versions.rend(); ++one)
      versions.push_back(**one);
  };
  if (name.empty()) {
    for (const auto& [one, entry] : names_) add(entry);
    return versions;
  }
  if (auto found = names_.find(name); found != names_.end()) add(found->second);
  if (versions.empty()) return NoSuch(name, "");
  return versions;
}

Result<DatasetRegistry::Hold> DatasetRegistry::Find(const std::string& name,
                                                    const std::string& version) {
  std::lock_guard lock(mutex_);
  if (auto found = names_.find(name); found != names_.end()) {
    for (auto one = found->second.versions.rbegin(); one != found->second.versions.rend(); ++one) {
      if ((version.empty() || (*one)->version == version) &&
          removing_.count({name, (*one)->version}) == 0)
        return *one;
    }
  }
  return NoSuch(name, version);
}

Result<std::vector<spec::DatasetFile>> DatasetRegistry::Read(
    const std::string& manifest_sha256) const {
  ASSIGN_OR_RETURN(std::string path, store_->PathOf(manifest_sha256));
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, spec::kMaxManifestBytes));
  return spec::ParseManifest(text);
}

std::string DatasetRegistry::TreeOf(const std::string& manifest_sha256) const {
  return folder_ + "/trees/" + manifest_sha256;
}

Result<std::string> DatasetRegistry::FolderOf(const std::string& manifest_sha256) {
  const std::string folder = TreeOf(manifest_sha256), temporary = folder + ".new";
  std::lock_guard lock(mutex_);
  std::error_code error;
  if (fs::is_directory(folder, error)) return folder;
  ASSIGN_OR_RETURN(std::vector<spec::DatasetFile> files, Read(manifest_sha256));
  fs::remove_all(temporary, error);
  std::string made;
  for (const spec::DatasetFile& file : files) {
    const std::string path = temporary + "/" + file.path;
    const std::string parent = fs::path(path).parent_path().string();
    if (parent != made) RETURN_IF_ERROR(MakeFolder(parent, 0700));
    made = parent;
    ASSIGN_OR_RETURN(std::string stored, store_->PathOf(file.sha256));
    fs::create_hard_link(stored, path, error);
    if (error) return ErrnoStatus("cannot make '" + path + "'", error.value());
  }
  fs::rename(temporary, folder, error);
  if (error) return ErrnoStatus("cannot make '" + folder + "'", error.value());
  return folder;
}

Result<DatasetVersion> DatasetRegistry::BeginRemoval(const std::string& name,
                                                     const std::string& version, bool* shared) {
  std::lock_guard lock(mutex_);
  auto found = names_.find(name);
  std::shared_ptr<const DatasetVersion> wanted;
  *shared = false;
  if (found != names_.end()) {
    for (const auto& one : found->second.versions) {
      if (one->version == version && removing_.count({name, version}) == 0) wanted = one;
    }
  }
  if (wanted == nullptr) return NoSuch(name, version);
  if (wanted.use_count() > 2) {
    return FailedPrecondition("a job that needs data set " + Quoted(name + "@" + version) +
                                  " is being submitted at this moment",
                              "try again in a moment");
  }
  for (const auto& [other, entry] : names_) {
    for (const auto& one : entry.versions) {
      *shared = *shared || (one != wanted && one->manifest_sha256 == wanted->manifest_sha256 &&
                            removing_.count({other, one->version}) == 0);
    }
  }
  removing_.insert({name, version});
  return *wanted;
}

void DatasetRegistry::AbandonRemoval(const DatasetVersion& version) {
  std::lock_guard lock(mutex_);
  removing_.erase({version.name, version.version});
}

Status DatasetRegistry::FinishRemoval(const DatasetVersion& version) {
  auto content = Read(version.manifest_sha256);
  {
    std::lock_guard lock(mutex_);
    DatasetName entry = names_[version.name];
    std::erase_if(entry.versions, [&](const auto& one) { return one->version == version.version; });
    Status saved = Save(version.name, entry);
    removing_.erase({version.name, version.version});
    RETURN_IF_ERROR(saved);
    names_[version.name] = std::move(entry);
  }
  std::set<std::string> files{version.manifest_sha256};
  if (content.ok()) {
    for (const spec::DatasetFile& file : *content) files.insert(file.sha256);
  }
  // The version is gone, whatever becomes of its files.
  if (Status deleted = DeleteUnneeded(std::move(files)); !deleted.ok()) {
    spdlog::warn("files of data set {}@{} stay: {}", version.name, version.version,
                 deleted.message());
  }
  return OkStatus();
}

std::set<std::string> DatasetRegistry::Manifests() const {
  std::set<std::string> manifests;
  for (const auto& [name, entry] : names_) {
    for (const auto& version : entry.versions) manifests.insert(version->manifest_sha256);
  }
  return manifests;
}

Status DatasetRegistry::DeleteUnneeded(std::set<std::string> files) {
  std::set<std::string> seen;
  auto spare = [&](const std::set<std::string>& manifests) -> Status {
    for (const std::string& sha256 : manifests) {
      if (!seen.insert(sha256).second) continue;
      files.erase(sha256);
      ASSIGN_OR_RETURN(std::vector<spec::DatasetFile> kept, Read(sha256));
      for (const spec::DatasetFile& file : kept) files.erase(file.sha256);
    }
    return OkStatus();
  };
  // Reading takes long: most of it goes on without the mutex, what came meanwhile with it.
  std::unique_lock lock(mutex_);
  std::set<std::string> manifests = Manifests();
  lock.unlock();
  RETURN_IF_ERROR(spare(manifests));
  lock.lock();
  RETURN_IF_ERROR(spare(Manifests()));
  for (const std::string& sha256 : files) {
    std::error_code error;
    fs::remove_all(TreeOf(sha256), error);
    RETURN_IF_ERROR(store_->Remove(sha256));
  }
  return OkStatus();
}

Status DatasetRegistry::DeleteLeftovers(UnixTime now) {
  ASSIGN_OR_RETURN(std::vector<std::string> all, store_->List());
  std::set<std::string> old;
  for (std::string& sha256 : all) {
    auto path = store_->PathOf(sha256);
    struct stat info {};
    if (path.ok() && ::stat(path->c_str(), &info) == 0 &&
        info.st_mtim.tv_sec + kLeftoverSeconds < now.seconds())
      old.insert(std::move(sha256));
  }
  return old.empty() ? OkStatus() : DeleteUnneeded(std::move(old));
}

}  // namespace cyxwiz::central
