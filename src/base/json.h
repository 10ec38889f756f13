// JSON from outside is parsed here, with limits, so that no text can exhaust memory or the stack.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/status.h"

namespace cyxwiz {

using Json = nlohmann::json;

inline constexpr int kMaxJsonDepth = 64;

// Parses one JSON value. INVALID_ARGUMENT, naming line and column, when the text is not JSON, has
// duplicate keys in an object, or nests deeper than kMaxJsonDepth. `what` names the text in the
// message ("model_definition").
Result<Json> ParseJson(std::string_view text, std::string_view what);

}  // namespace cyxwiz
