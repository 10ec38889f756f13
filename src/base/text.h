// Text from outside: numbers, and what may be shown of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cyxwiz {

// The whole text or nothing: decimal integer, optional sign, no spaces; nullopt for anything else
// and for overflow.
std::optional<int64_t> ParseInt(std::string_view text);
// Decimal floating point ("0.01", "1e-3"); nullopt for anything else. "nan" and "inf" parse: the
// caller checks std::isfinite, so that the message can say what is wrong.
std::optional<double> ParseDouble(std::string_view text);

// `text` as one line without control characters, so that what somebody else has chosen can neither
// drive a terminal nor forge lines of a log.
std::string Printable(std::string_view text);

}  // namespace cyxwiz
