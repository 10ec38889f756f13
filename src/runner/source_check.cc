#include "runner/source_check.h"

#include <string>
#include <vector>

#include "data/source_files.h"
#include "runner/sha256.h"

namespace cyxwiz::runner {
namespace {

Status Changed(const std::string& what) {
  return InvalidArgument("the data set has changed since the job was accepted: " + what,
                         "submit the job again to take it as it is now, or keep versions of it: "
                         "'cyxwiz dataset put'");
}

}  // namespace

Status CheckSourceFiles(const spec::JobDescription& job, const data::Roots& roots) {
  const spec::DatasetFrom& from = job.dataset_from;
  if (from.stored() || from.files_state.empty()) return OkStatus();
  spec::Problems problems;
  auto uri = spec::ParseDatasetUri(job.dataset_uri, &problems);
  if (!uri) return OkStatus();  // the check of the job tells
  ASSIGN_OR_RETURN(std::vector<data::SourceFile> files, data::FindSourceFiles(*uri, roots));
  const std::string state = data::StateOf(files);
  if (state == from.files_state) return OkStatus();
  const std::vector<int64_t> before = data::SizesOf(from.files_state);
  if (before.size() != files.size()) {
    return Changed("expected " + std::to_string(before.size()) + " files, found " +
                   std::to_string(files.size()));
  }
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i].size == before[i]) continue;
    return Changed("expected '" + files[i].path + "' with " + std::to_string(before[i]) +
                   " bytes, found " + std::to_string(files[i].size));
  }
  if (from.manifest_sha256.empty()) return OkStatus();  // too large to be read at submit
  // Another time: a copy, or another content.
  ASSIGN_OR_RETURN(std::string manifest,
                   data::ManifestOf(files, [](const std::string& path) -> Result<std::string> {
                     ASSIGN_OR_RETURN(FileHash hash, HashFile(path));
                     return hash.sha256;
                   }));
  const std::string sha256 = Sha256Of(manifest);
  if (sha256 == from.manifest_sha256) return OkStatus();
  return Changed("expected the content with SHA-256 " + from.manifest_sha256 + ", found " + sha256 +
                 " in '" + files.front().path + "'" + (files.size() > 1 ? " and its like" : ""));
}

}  // namespace cyxwiz::runner
