// Names with values that an operator gives to nodes, and that jobs ask for.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>

namespace cyxwiz {

using Labels = std::map<std::string, std::string>;

inline constexpr size_t kMaxLabels = 32;

// The label that says which pool a node is in. A node that has it takes only jobs that ask for it;
// one without takes all that do not.
inline constexpr char kPoolLabel[] = "pool";

// Whether each of `wanted` is among `have` with the same value.
inline bool HasLabels(const Labels& have, const Labels& wanted) {
  return std::includes(have.begin(), have.end(), wanted.begin(), wanted.end());
}

// Of a label's name and value: 1 to 64 of [A-Za-z0-9._-].
inline bool IsLabelText(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

}  // namespace cyxwiz
