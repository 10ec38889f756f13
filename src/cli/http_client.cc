#include "cli/http_client.h"

#include <arpa/inet.h>

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "base/text.h"

namespace cyxwiz::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

bool IsAddress(const std::string& host) {
  in6_addr address;
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

// One request and its answer. Stream: a tcp_stream, or one of TLS over it.
template <typename Stream>
class Exchange {
 public:
  Exchange(const HttpUrl& url, asio::io_context& io, Stream& stream)
      : url_(url), io_(io), stream_(stream) {}

  Status Connect() {
    tcp::resolver resolver(io_);
    error_code error;
    auto endpoints = resolver.resolve(url_.host, std::to_string(url_.port), error);
    if (error) return Failed("cannot find", error);
    Wait([&](auto done) { beast::get_lowest_layer(stream_).async_connect(endpoints, done); });
    return error_ ? Failed("cannot connect to", error_) : OkStatus();
  }

  Status Handshake() {
    Wait([&](auto done) { stream_.async_handshake(asio::ssl::stream_base::client, done); });
    return error_ ? Failed("no TLS with", error_) : OkStatus();
  }

  template <typename Body>
  Result<HttpResponse> Send(http::request<Body>& request) {
    http::request_serializer<Body> serializer(request);
    while (!serializer.is_done()) {
      Wait([&](auto done) { http::async_write_some(stream_, serializer, done); });
      if (error_) return Failed("cannot send to", error_);
    }
    http::response_parser<http::string_body> parser;
    parser.body_limit(HttpClient::kMostResponseBytes);
    beast::flat_buffer buffer;
    Wait([&](auto done) { http::async_read(stream_, buffer, parser, done); });
    if (error_) return Failed("no answer from", error_);
    return HttpResponse{static_cast<int>(parser.get().result_int()), parser.get().body()};
  }

 private:
  // Starts an operation and waits for its end, at most the time of one.
  template <typename Start>
  void Wait(Start start) {
    beast::get_lowest_layer(stream_).expires_after(HttpClient::kTimeout);
    start([this](error_code error, auto&&...) { error_ = error; });
    io_.restart();
    io_.run();
  }

  Status Failed(const char* what, error_code error) const {
    return Unavailable(std::string(what) + " " + url_.ToString() + ": " +
                       Printable(error.message()));
  }

  const HttpUrl& url_;
  asio::io_context& io_;
  Stream& stream_;
  error_code error_;  // of the last operation
};

template <typename Body>
Result<HttpResponse> SendTo(const HttpUrl& url, http::request<Body>& request) {
  asio::io_context io;
  if (!url.tls) {
    beast::tcp_stream stream(io);
    Exchange exchange(url, io, stream);
    RETURN_IF_ERROR(exchange.Connect());
    return exchange.Send(request);
  }
  asio::ssl::context context(asio::ssl::context::tls_client);
  error_code error;
  context.set_default_verify_paths(error);
  context.set_verify_mode(asio::ssl::verify_peer, error);
  beast::ssl_stream<beast::tcp_stream> stream(io, context);
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host), error);
  if (!IsAddress(url.host)) SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str());
  Exchange exchange(url, io, stream);
  RETURN_IF_ERROR(exchange.Connect());
  RETURN_IF_ERROR(exchange.Handshake());
  return exchange.Send(request);
}

template <typename Body>
http::request<Body> Request(http::verb method, const HttpUrl& url, const std::string& target,
                            const std::string& authorization) {
  http::request<Body> request(method, url.path + target, /*version=*/11);
  const std::string host =
      url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
  request.set(http::field::host, host + ":" + std::to_string(url.port));
  request.set(http::field::user_agent, "cyxwiz/" CYXWIZ_VERSION);
  request.set(http::field::connection, "close");
  if (!authorization.empty()) request.set(http::field::authorization, authorization);
  return request;
}

}  // namespace

std::string HttpUrl::ToString() const {
  return std::string(tls ? "https" : "http") + "://" +
         (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
         std::to_string(port) + path;
}

Result<HttpUrl> ParseHttpUrl(const std::string& text) {
  auto wrong = [&](const std::string& what) {
    return InvalidArgument("'" + Printable(text) + "' is no URL of a server: " + what,
                           "such as http://127.0.0.1:5000 or https://mlflow.example.org");
  };
  HttpUrl url;
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos) return wrong("expected http:// or https://");
  if (text.substr(0, scheme) == "https") {
    url.tls = true;
  } else if (text.substr(0, scheme) != "http") {
    return wrong("expected http:// or https://, found '" + text.substr(0, scheme) + "://'");
  }
  if (text.find_first_of(" \t\r\n?#\\") != std::string::npos) {
    return wrong("expected a host and a path alone");
  }
  const size_t slash = std::min(text.find('/', scheme + 3), text.size());
  std::string authority = text.substr(scheme + 3, slash - scheme - 3);
  url.path = text.substr(slash);
  while (!url.path.empty() && url.path.back() == '/') url.path.pop_back();
  if (authority.find('@') != std::string::npos) {
    return wrong("it must not hold a user name or a password");
  }
  url.port = url.tls ? 443 : 80;
  const size_t bracket = authority.rfind(']'), colon = authority.rfind(':');
  if (colon != std::string::npos && (bracket == std::string::npos || colon > bracket)) {
    auto port = ParseInt(authority.substr(colon + 1));
    if (!port || *port < 1 || *port > 65535) return wrong("its port is not one from 1 to 65535");
    url.port = static_cast<int>(*port);
    authority.resize(colon);
  }
  if (authority.size() >= 2 && authority.front() == '[' && authority.back() == ']') {
    authority = authority.substr(1, authority.size() - 2);
  } else if (authority.find(':') != std::string::npos) {
    return wrong("an IPv6 address stands in brackets");
  }
  if (authority.empty()) return wrong("it has no host");
  url.host = authority;
  return url;
}

Result<HttpResponse> HttpClient::Get(const std::string& target) const {
  auto request = Request<http::empty_body>(http::verb::get, url_, target, authorization_);
  return SendTo(url_, request);
}

Result<HttpResponse> HttpClient::PostJson(const std::string& target,
                                          const std::string& body) const {
  auto request = Request<http::string_body>(http::verb::post, url_, target, authorization_);
  request.set(http::field::content_type, "application/json");
  request.body() = body;
  request.prepare_payload();
  return SendTo(url_, request);
}

Result<HttpResponse> HttpClient::PutFile(const std::string& target, const std::string& path) const {
  auto request = Request<http::file_body>(http::verb::put, url_, target, authorization_);
  request.set(http::field::content_type, "application/octet-stream");
  error_code error;
  request.body().open(path.c_str(), beast::file_mode::scan, error);
  if (error) return NotFound("cannot read '" + path + "': " + error.message());
  request.prepare_payload();
  return SendTo(url_, request);
}

}  // namespace cyxwiz::cli
