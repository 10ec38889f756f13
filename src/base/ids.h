// Ids are types of their own, so that a job is never passed where a node is meant.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

namespace cyxwiz {

template <typename Tag>
struct StringId {
  std::string value;

  bool empty() const { return value.empty(); }
  auto operator<=>(const StringId&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const StringId& id) { return out << id.value; }
};

using JobId = StringId<struct JobIdTag>;
using NodeId = StringId<struct NodeIdTag>;

// Which try of a job: 1 for the first, only grows; 0 means none.
using AttemptNumber = int32_t;

// One try of one job.
struct AttemptId {
  JobId job;
  AttemptNumber attempt = 0;
  auto operator<=>(const AttemptId&) const = default;
};

// Client-chosen ids: 1 to 128 of [A-Za-z0-9._-], not beginning with a dot or a dash. Such an id is
// safe in a file name and in a URL.
bool IsValidId(std::string_view id);

}  // namespace cyxwiz

template <typename Tag>
struct std::hash<cyxwiz::StringId<Tag>> {
  size_t operator()(const cyxwiz::StringId<Tag>& id) const {
    return std::hash<std::string>()(id.value);
  }
};
