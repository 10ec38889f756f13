// Where a server listens: "host:port".
#pragma once

#include <string>

#include "base/status.h"

namespace cyxwiz::central {

struct ListenAddress {
  std::string host;  // "127.0.0.1", "localhost", "::1"
  int port = 0;      // 0: a free one

  std::string ToString() const;  // brackets around IPv6
};

// `what` names the setting in messages ("--grpc-listen"). INVALID_ARGUMENT for a malformed address;
// FAILED_PRECONDITION for one that is not loopback: without TLS and tokens nobody else may reach
// the server.
Result<ListenAddress> ParseListenAddress(const std::string& text, const std::string& what);

}  // namespace cyxwiz::central
