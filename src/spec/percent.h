// Percent codes of URIs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cyxwiz::spec {

// nullopt for a '%' without two hexadecimal digits, and for a zero byte, which no path can hold.
std::optional<std::string> DecodePercent(std::string_view text);

// What is neither a letter, a digit, one of "-._~" nor in `kept` becomes a percent code.
std::string EncodePercent(std::string_view text, std::string_view kept = "");

}  // namespace cyxwiz::spec
