// Where a daemon listens: "host:port".
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace cyxwiz {

struct ListenAddress {
  std::string host;  // "127.0.0.1", "localhost", "::1"
  int port = 0;      // 0: a free one

  std::string ToString() const;  // brackets around IPv6
};

// `setting` is the configuration key, for messages ("grpc.listen"). INVALID_ARGUMENT for a
// malformed address; FAILED_PRECONDITION for one that is not loopback: without TLS and tokens
// nobody else may reach the daemon.
Result<ListenAddress> ParseListenAddress(const std::string& text, const std::string& setting);

// Whether only this machine has that host: "localhost", 127.0.0.0/8, "::1" without brackets.
bool IsLoopbackHost(const std::string& host);

// Whether `text` is the address of a server to connect to: a host and a port from 1 to 65535.
bool IsHostPort(std::string_view text);

}  // namespace cyxwiz
