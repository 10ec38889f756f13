#include "base/listen_address.h"

#include <arpa/inet.h>

#include "base/text.h"

namespace cyxwiz {

bool IsLoopbackHost(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string ListenAddress::ToString() const {
  bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<ListenAddress> ParseListenAddress(const std::string& text, const std::string& setting) {
  size_t colon = text.rfind(':');
  ListenAddress address;
  auto port = colon == std::string::npos ? std::nullopt : ParseInt(text.substr(colon + 1));
  if (port) address.host = text.substr(0, colon);
  bool bracketed =
      address.host.size() >= 2 && address.host.front() == '[' && address.host.back() == ']';
  if (bracketed) address.host = address.host.substr(1, address.host.size() - 2);
  bool is_v6 = address.host.find(':') != std::string::npos;
  if (!port || *port < 0 || *port > 65535 || address.host.empty() || is_v6 != bracketed) {
    return InvalidArgument(setting + ": expected host:port, found '" + text + "'",
                           "such as 127.0.0.1:50051 or [::1]:50051; port 0 takes a free one");
  }
  if (!IsLoopbackHost(address.host)) {
    return FailedPrecondition(
        setting + ": '" + address.host +
            "' is not a loopback address, and this release has neither TLS nor tokens for clients",
        "listen on 127.0.0.1 and reach it from elsewhere through a tunnel such as ssh -L");
  }
  address.port = static_cast<int>(*port);
  return address;
}

bool IsHostPort(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || text.find("//") != std::string_view::npos)
    return false;
  auto port = ParseInt(text.substr(colon + 1));
  return port && *port > 0 && *port <= 65535;
}

}  // namespace cyxwiz
