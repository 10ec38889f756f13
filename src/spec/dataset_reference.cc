#include "spec/dataset_reference.h"

#include <algorithm>
#include <cctype>

#include "base/ids.h"
#include "spec/dataset_manifest.h"
#include "spec/object_reader.h"
#include "spec/percent.h"

namespace cyxwiz::spec {
namespace {

constexpr char kPath[] = "$.dataset";
constexpr size_t kMaxVersionBytes = 64;

}  // namespace

bool IsDatasetName(std::string_view text) { return IsValidId(text); }

bool IsDatasetVersion(std::string_view text) {
  return text.size() <= kMaxVersionBytes && IsValidId(text);
}

std::string DatasetReference::ToUri() const {
  return std::string(kDatasetScheme) + FullName() +
         (path.empty() ? "" : "/" + EncodePercent(path, "/")) + query;
}

std::optional<DatasetReference> ParseFullName(std::string_view text) {
  const size_t at = text.find('@');
  DatasetReference reference;
  reference.name = std::string(text.substr(0, at));
  if (at != text.npos) reference.version = std::string(text.substr(at + 1));
  if (!IsDatasetName(reference.name) || (at != text.npos && !IsDatasetVersion(reference.version)))
    return std::nullopt;
  return reference;
}

std::optional<DatasetReference> ParseDatasetReference(std::string_view text, Problems* problems) {
  std::string_view rest = text.substr(kDatasetScheme.size());
  const std::string_view source = rest.substr(0, rest.find('?'));
  const std::string_view full_name = source.substr(0, source.find('/'));
  std::string_view path = source.substr(full_name.size());
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  auto reference = ParseFullName(full_name);
  if (!reference) {
    problems->Add({kPath, "the URI names no data set",
                   "dataset://NAME or dataset://NAME@VERSION, each of letters, digits, '.', '_' "
                   "and '-', not beginning with '.' or '-'",
                   Shown(text), "'cyxwiz dataset ls' lists the data sets"});
    return std::nullopt;
  }
  auto decoded = DecodePercent(path);
  if (!decoded || (!decoded->empty() && !IsDatasetPath(*decoded))) {
    problems->Add({kPath, "the path within the data set is not usable",
                   "names with '/' between them, none beginning with a dot", Shown(path), ""});
    return std::nullopt;
  }
  reference->path = *decoded;
  reference->query = std::string(rest.substr(std::min(rest.size(), source.size())));
  return reference;
}

}  // namespace cyxwiz::spec
