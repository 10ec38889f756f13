// "Did you mean": the nearest of the names that exist.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cyxwiz {

// Number of single-character insertions, deletions, substitutions and swaps of neighbours that turn
// `a` into `b`. Source: optimal string alignment distance.
size_t EditDistance(std::string_view a, std::string_view b);

// The candidate nearest to `name`, or "" when none is near enough to be meant.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace cyxwiz
