// Numbers from text, strictly: the whole text or nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cyxwiz {

// Decimal integer, optional sign, no spaces; nullopt for anything else and for overflow.
std::optional<int64_t> ParseInt(std::string_view text);
// Decimal floating point ("0.01", "1e-3"); nullopt for anything else. "nan" and "inf" parse: the
// caller checks std::isfinite, so that the message can say what is wrong.
std::optional<double> ParseDouble(std::string_view text);

}  // namespace cyxwiz
