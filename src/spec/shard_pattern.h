// Names of many files written as one, as WebDataset does: "train-{000..146}.tar".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace cyxwiz::spec {

inline constexpr size_t kMaxShards = 10'000;

// Whether the path holds a brace, so that it is to be expanded.
bool IsShardPattern(const std::string& path);

// The paths in order: the number runs from the first to the last, with zeros before it where the
// first is written with them. nullopt when the path has not exactly one such range, of at most
// kMaxShards numbers that do not fall.
std::optional<std::vector<std::string>> ExpandShards(const std::string& path);

}  // namespace cyxwiz::spec
