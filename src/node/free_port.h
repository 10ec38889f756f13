// Whether a port can be listened on.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>

#include "base/listen_address.h"
#include "base/status.h"

namespace cyxwiz::node {

// FAILED_PRECONDITION when somebody else listens at the address, or nobody can. It may be taken
// right afterwards all the same.
inline Status CheckFreePort(const ListenAddress& address) {
  using boost::asio::ip::tcp;
  boost::asio::io_context io;
  boost::system::error_code error;
  auto found = tcp::resolver(io).resolve(address.host, std::to_string(address.port), error);
  if (!error) {
    const tcp::endpoint endpoint = found.begin()->endpoint();
    tcp::acceptor acceptor(io);
    if (!acceptor.open(endpoint.protocol(), error) &&
        !acceptor.set_option(tcp::acceptor::reuse_address(true), error) &&
        !acceptor.bind(endpoint, error)) {
      acceptor.listen(1, error);
    }
  }
  if (!error) return OkStatus();
  return FailedPrecondition("cannot listen on " + address.ToString() + ": " + error.message());
}

}  // namespace cyxwiz::node
