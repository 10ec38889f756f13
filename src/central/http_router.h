// Finds the route of a request among a fixed list.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cyxwiz::central {

struct HttpRoute {
  const char* method;   // "GET"; a GET route also serves HEAD
  const char* pattern;  // "/api/v1/jobs/{id}": a name in braces takes one segment
};

class HttpRouter {
 public:
  explicit HttpRouter(std::span<const HttpRoute> routes);

  struct Match {
    int route = -1;                             // place in the list, -1 for none
    std::map<std::string, std::string> values;  // of the names in braces, decoded
    // When no route has this method: the methods that this path does have ("GET, HEAD"); empty for
    // an unknown path.
    std::string allow;
  };
  // path: as sent, undecoded.
  Match Find(std::string_view method, std::string_view path) const;

 private:
  struct Compiled {
    std::string method;
    std::vector<std::string> segments;
  };
  std::vector<Compiled> routes_;
};

}  // namespace cyxwiz::central
