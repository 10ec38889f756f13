// A client of one HTTP server, for commands that speak to servers which are not ours.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace cyxwiz::cli {

struct HttpUrl {
  bool tls = false;
  std::string host;  // without brackets
  int port = 0;
  std::string path;  // "" or "/mlflow": without a slash at its end

  std::string ToString() const;
};
// "http://host[:port][/path]" or https. INVALID_ARGUMENT for anything else, user names and
// passwords included.
Result<HttpUrl> ParseHttpUrl(const std::string& text);

struct HttpResponse {
  int status = 0;
  std::string body;
};

// One connection a request, each blocking. Certificates are checked against the system's, or those
// of $SSL_CERT_FILE. Proxies of the environment are not used.
class HttpClient {
 public:
  // For each of: connecting, a piece of what is sent, the answer.
  static constexpr Duration kTimeout = std::chrono::seconds(60);
  static constexpr size_t kMostResponseBytes = size_t{16} << 20;

  // authorization: value of that header; empty: none.
  HttpClient(HttpUrl url, std::string authorization)
      : url_(std::move(url)), authorization_(std::move(authorization)) {}

  const HttpUrl& url() const { return url_; }

  // target: what follows the URL's path. UNAVAILABLE when there is no answer, whatever it says.
  Result<HttpResponse> Get(const std::string& target) const;
  Result<HttpResponse> PostJson(const std::string& target, const std::string& body) const;
  Result<HttpResponse> PutFile(const std::string& target, const std::string& path) const;

 private:
  HttpUrl url_;
  std::string authorization_;
};

}  // namespace cyxwiz::cli
