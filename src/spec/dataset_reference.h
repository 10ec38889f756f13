// dataset://NAME[@VERSION][/PATH][?PARAMETERS]: a data set that the server keeps, or a file or
// folder in it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "spec/problem.h"

namespace cyxwiz::spec {

inline constexpr std::string_view kDatasetScheme = "dataset://";

struct DatasetReference {
  std::string name, version;  // version empty: the newest
  std::string path;           // within the data set; empty: all of it
  std::string query;          // as given, with the '?'; empty: none

  std::string ToUri() const;
  // "NAME@VERSION"
  std::string FullName() const { return version.empty() ? name : name + "@" + version; }
};

// 1 to 128 of letters, digits, '.', '_' and '-', not beginning with '.' or '-'.
bool IsDatasetName(std::string_view text);
// The same, of at most 64.
bool IsDatasetVersion(std::string_view text);

// Of "NAME@VERSION" or "NAME"; nullopt when it is neither. No path, no query.
std::optional<DatasetReference> ParseFullName(std::string_view text);

// Checks the form. text begins with kDatasetScheme. What is wrong has path "$.dataset".
std::optional<DatasetReference> ParseDatasetReference(std::string_view text, Problems* problems);

}  // namespace cyxwiz::spec
