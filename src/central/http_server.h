// An HTTP/1.1 server on Boost.Beast: connections, limits, timeouts, and who may talk to it. What is
// answered is the business of an HttpHandler.
//
//   accept ─► header (limit, timeout) ─► Host and Origin ─► body (limit, timeout) ─► handler ─►
//   response or stream ─┐
//              ▲ keep-alive    │
//              └────────────────────────────────────────────────────────────────────────────────────────────────────┘
//
// A server that listens on loopback serves programs of this machine only: a page in a browser must
// not drive it, not even by a name that resolves to 127.0.0.1. So Host must be localhost, 127.0.0.1
// or [::1], and an Origin, when there is one, that same host and port.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "central/http_message.h"

namespace cyxwiz::central {

// One request's way back to its client. Any thread, except Attach. Dropped without an answer, it
// answers 500 itself.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  // Exactly once. Goes nowhere when the client is gone.
  virtual void Respond(HttpResponse response) = 0;
  // Gives the source of a streamed answer to the connection, which alone keeps it and destroys it
  // on its own thread: when the stream has ended, when another answer was sent, or when the client
  // is gone. Only within Handle.
  virtual void Attach(std::shared_ptr<BodySource> source) = 0;
  // Name of the request's kind for metrics; unset: "none". Only within Handle.
  virtual void SetRoute(const char* route) = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Called on the connection's thread, several connections at once; must not block.
  virtual void Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) = 0;
};

// What a server tells of itself; any thread.
class HttpObserver {
 public:
  virtual ~HttpObserver() = default;
  virtual void OnConnections(int change) = 0;
  virtual void OnStreams(int change) = 0;
  // A response was sent (or, for a stream, begun).
  virtual void OnResponse(const std::string& method, const char* route, int status,
                          double seconds) = 0;
};

class HttpServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // an address of this machine, or a name of one
    int port = 8080;                 // 0 takes a free one
    int threads = 2;
    size_t max_connections = 1024;
    size_t max_header_bytes = 16 * 1024;
    size_t max_body_bytes = 8 * 1024 * 1024;
    std::chrono::milliseconds header_timeout{
        10'000};  // from a request's first byte, and for a new connection's first
    std::chrono::milliseconds body_timeout{60'000};
    std::chrono::milliseconds idle_timeout{60'000};   // between requests
    std::chrono::milliseconds write_timeout{60'000};  // a client that does not read is dropped
    std::chrono::milliseconds heartbeat{15'000};      // of a stream on which nothing was sent
  };

  // handler and observer are not owned and outlive the server. FAILED_PRECONDITION when the port is
  // in use; INVALID_ARGUMENT for an address that cannot be listened on.
  static Result<std::unique_ptr<HttpServer>> Start(Options options, HttpHandler* handler,
                                                   HttpObserver* observer);
  // Closes all connections; no Handle runs after it. Exchanges may outlive it and go nowhere.
  ~HttpServer();

  int port() const;
  bool is_loopback() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether a Host header names this machine itself: "localhost:8080", "127.0.0.1", "[::1]:8080".
bool IsLoopbackHost(std::string_view host);
// Whether an Origin ("http://localhost:8080") is the Host that was asked.
bool IsSameOrigin(std::string_view origin, std::string_view host);

}  // namespace cyxwiz::central
