// GET by HTTPS, one request at a time: the only code that sees libcurl.
//
// Each connection goes to an address that the rules allow, looked at when the socket is made: what
// a name was resolved to then is what is connected to. One that is used again is looked at again.
// Proxies of the environment, redirects, cookies, stored passwords and other protocols are left
// out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "fetch/cancellation.h"
#include "fetch/options.h"
#include "fetch/rules.h"

namespace cyxwiz::fetch {

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "If-None-Match: ..."
  std::optional<S3Keys> keys;        // signs the request for S3
  std::string region;                // likewise
  bool trusted = false;              // the operator has named the host: no rule applies
};

struct HttpAnswer {
  int status = 0;  // 0: none came
  std::string etag, location, content_range, retry_after, bucket_region;
  int64_t length = -1;  // of the body, as told; -1: not told
  // OK: all of it came. CANCELLED; DEADLINE_EXCEEDED; PERMISSION_DENIED when a rule forbids it;
  // FAILED_PRECONDITION when the host is not who it should be; UNAVAILABLE when it cannot be
  // reached or the connection broke; INVALID_ARGUMENT for a URL that is none; or what `body` gave.
  Status trouble;
};

// One thread. Keeps connections for the next request.
class HttpClient {
 public:
  // Everything outlives it.
  HttpClient(const Options& options, const Rules& rules);
  ~HttpClient();

  // Given each piece of a body, whatever the status; an error ends the transfer.
  using Body = std::function<Status(const HttpAnswer& head, std::string_view piece)>;
  HttpAnswer Get(const HttpRequest& request, const Body& body, MonotonicTime deadline,
                 Cancellation* cancellation);

 private:
  struct Transfer;
  struct Handles;
  const Options& options_;
  const Rules& rules_;
  std::unique_ptr<Handles> handles_;
};

// What a redirect leads to; INVALID_ARGUMENT when it is no URL.
Result<std::string> ResolveRedirect(const std::string& url, const std::string& location);

}  // namespace cyxwiz::fetch
