// Page tokens: opaque to clients, and good only for the listing they came from.
//
//   token = hex( position, 8 bytes big-endian ) hex( first 8 bytes of SHA-256 of the filter )
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace cyxwiz::central {

// filter: any text that names the listing and its filters.
std::string MakePageToken(int64_t position, const std::string& filter);
// INVALID_ARGUMENT for a text that is no token, or the token of another listing.
Result<int64_t> ParsePageToken(const std::string& token, const std::string& filter);

// 0 → 100, above 1000 → 1000; INVALID_ARGUMENT when negative.
Result<int32_t> CheckPageSize(int32_t page_size);

}  // namespace cyxwiz::central
