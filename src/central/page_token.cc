#include "central/page_token.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "security/job_token.h"

namespace cyxwiz::central {
namespace {

constexpr size_t kHexDigits = 16;  // of 8 bytes

std::string FilterHash(const std::string& filter) {
  return security::HexEncode(security::Sha256(filter).substr(0, 8));
}

}  // namespace

std::string MakePageToken(int64_t position, const std::string& filter) {
  char text[kHexDigits + 1];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(position));
  return text + FilterHash(filter);
}

Result<int64_t> ParsePageToken(const std::string& token, const std::string& filter) {
  uint64_t position = 0;
  const char* end = token.data() + kHexDigits;
  if (token.size() == 2 * kHexDigits) {
    auto [parsed, error] = std::from_chars(token.data(), end, position, 16);
    if (error == std::errc() && parsed == end && position <= INT64_MAX &&
        token.substr(kHexDigits) == FilterHash(filter)) {
      return static_cast<int64_t>(position);
    }
  }
  return InvalidArgument(
      "page_token is not one of this listing: expected the next_page_token of an answer to the "
      "same "
      "filters",
      "leave page_token empty for the first page");
}

Result<int32_t> CheckPageSize(int32_t page_size) {
  if (page_size < 0) {
    return InvalidArgument("page_size: expected 0 (for 100) to 1000, found " +
                           std::to_string(page_size));
  }
  return page_size == 0 ? 100 : std::min(page_size, 1000);
}

}  // namespace cyxwiz::central
