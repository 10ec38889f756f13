#include "spec/shard_pattern.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string_view>

#include "base/text.h"

namespace cyxwiz::spec {
namespace {

constexpr size_t kMaxDigits = 18;

bool IsNumber(std::string_view text) {
  return !text.empty() && text.size() <= kMaxDigits &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
}

}  // namespace

bool IsShardPattern(const std::string& path) {
  return path.find_first_of("{}") != std::string::npos;
}

std::optional<std::vector<std::string>> ExpandShards(const std::string& path) {
  const size_t open = path.find('{'), close = path.find('}');
  if (open == path.npos || close == path.npos || close < open) return std::nullopt;
  const std::string before = path.substr(0, open), after = path.substr(close + 1);
  if (IsShardPattern(after)) return std::nullopt;
  const std::string range = path.substr(open + 1, close - open - 1);
  const size_t dots = range.find("..");
  if (dots == range.npos) return std::nullopt;
  const std::string first = range.substr(0, dots), last = range.substr(dots + 2);
  if (!IsNumber(first) || !IsNumber(last)) return std::nullopt;
  const int64_t begin = *ParseInt(first), end = *ParseInt(last);
  if (end < begin || end - begin >= static_cast<int64_t>(kMaxShards)) return std::nullopt;
  std::vector<std::string> paths;
  for (int64_t number = begin; number <= end; ++number) {
    std::string digits = std::to_string(number);
    if (first[0] == '0')
      digits.insert(0, first.size() - std::min(first.size(), digits.size()), '0');
    paths.push_back(before + digits + after);
  }
  return paths;
}

}  // namespace cyxwiz::spec
