#include "central/http_router.h"

#include <algorithm>
#include <optional>
#include <set>

#include "central/http_message.h"

namespace cyxwiz::central {
namespace {

std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    size_t end = std::min(path.find('/'), path.size());
    segments.emplace_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return segments;
}

bool IsName(const std::string& segment) { return segment.size() > 2 && segment.front() == '{'; }

}  // namespace

HttpRouter::HttpRouter(std::span<const HttpRoute> routes) {
  for (const HttpRoute& route : routes) routes_.push_back({route.method, Split(route.pattern)});
}

HttpRouter::Match HttpRouter::Find(std::string_view method, std::string_view path) const {
  Match match;
  std::vector<std::string> segments = Split(path);
  std::set<std::string> allowed;
  for (size_t i = 0; i < routes_.size(); ++i) {
    const Compiled& route = routes_[i];
    if (route.segments.size() != segments.size()) continue;
    std::map<std::string, std::string> values;
    bool fits = true;
    for (size_t j = 0; j < segments.size() && fits; ++j) {
      // Decoded only after splitting: an escaped slash belongs to its segment.
      std::optional<std::string> segment = DecodePercent(segments[j], false);
      if (IsName(route.segments[j])) {
        fits = segment && !segment->empty();
        if (fits) values[route.segments[j].substr(1, route.segments[j].size() - 2)] = *segment;
      } else {
        fits = segment == route.segments[j];
      }
    }
    if (!fits) continue;
    if (method == route.method || (method == "HEAD" && route.method == "GET")) {
      match.route = static_cast<int>(i);
      match.values = std::move(values);
      return match;
    }
    allowed.insert(route.method);
    if (route.method == "GET") allowed.insert("HEAD");
  }
  for (const std::string& name : allowed) match.allow += (match.allow.empty() ? "" : ", ") + name;
  return match;
}

}  // namespace cyxwiz::central
