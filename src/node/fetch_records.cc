#include "node/fetch_records.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/logging.h"
#include "spec/dataset_manifest.h"

namespace cyxwiz::node {

namespace fs = std::filesystem;

Result<FetchRecords> FetchRecords::Open(const std::string& folder) {
  RETURN_IF_ERROR(MakeFolder(folder, 0700));
  FetchRecords records(folder);
  records.Prune();
  return records;
}

void FetchRecords::Prune() {
  std::vector<std::pair<fs::file_time_type, fs::path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error))
    found.emplace_back(entry.last_write_time(error), entry.path());
  std::sort(found.begin(), found.end());
  const size_t too_many = found.size() > kMost ? found.size() - kMost : 0;
  for (size_t i = 0; i < too_many; ++i) fs::remove(found[i].second, error);
  count_ = found.size() - too_many;
}

FetchRecordsByName FetchRecords::Find(const std::string& key) const {
  FetchRecordsByName records;
  auto text = ReadFile(PathOf(key));
  auto json = text.ok() ? ParseJson(*text, "record") : text.status();
  if (!json.ok() || !json->is_object() || !json->value("files", Json()).is_object()) return records;
  for (const auto& [name, one] : (*json)["files"].items()) {
    if (!one.is_object() || !one.value("etag", Json()).is_string() ||
        !one.value("sha256", Json()).is_string() || !one.value("size", Json()).is_number_integer())
      continue;
    FetchRecord record{one["etag"], one["sha256"], one["size"]};
    if (spec::IsSha256(record.sha256)) records[name] = std::move(record);
  }
  return records;
}

void FetchRecords::Put(const std::string& key, const FetchRecordsByName& records) {
  Json files = Json::object();
  for (const auto& [name, one] : records)
    files[name] = {{"etag", one.etag}, {"sha256", one.sha256}, {"size", one.size}};
  const std::string text =
      Json{{"files", std::move(files)}}.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (Status written = WriteFileAtomically(PathOf(key), text, 0600); !written.ok())
    spdlog::warn("what was fetched is not remembered: {}", written.message());
  if (++count_ > 2 * kMost) Prune();
}

}  // namespace cyxwiz::node
