#include "base/json.h"

#include <set>
#include <string>
#include <vector>

namespace cyxwiz {
namespace {

std::string Position(std::string_view text, size_t byte) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < byte && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

// The first position where the text nests deeper than allowed, or npos. Strings are skipped;
// whether the text is JSON at all is left to the parser.
size_t FindTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::string_view::npos;
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view what) {
  if (size_t deep = FindTooDeep(text); deep != std::string_view::npos) {
    return InvalidArgument(std::string(what) + " nests deeper than " +
                           std::to_string(kMaxJsonDepth) + " levels at " + Position(text, deep));
  }
  // The library takes it for the end of the text.
  if (size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return InvalidArgument(std::string(what) + " is not JSON: a NUL character at " +
                           Position(text, nul));
  }
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  auto on_event = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second && duplicate.empty()) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), on_event);
    if (!duplicate.empty()) {
      return InvalidArgument(std::string(what) + " has the key \"" + duplicate +
                             "\" twice in one object");
    }
    return value;
  } catch (const Json::parse_error& e) {
    // The library counts bytes from 1.
    size_t byte = e.byte > 0 ? e.byte - 1 : 0;
    return InvalidArgument(std::string(what) + " is not JSON: unexpected " +
                           (byte >= text.size() ? std::string("end of text") : "text") + " at " +
                           Position(text, byte));
  } catch (const Json::out_of_range&) {
    return InvalidArgument(std::string(what) + " holds a number that is too large",
                           "numbers go up to about 1.8e308");
  } catch (const Json::exception& e) {
    return InvalidArgument(std::string(what) + " is not JSON: " + e.what());
  }
}

}  // namespace cyxwiz
