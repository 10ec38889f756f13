// HTTP requests and responses as plain values, and errors as problem details (RFC 9457). Knows no
// socket.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace cyxwiz::central {

struct HttpRequest {
  std::string method;                        // "GET"
  std::string path;                          // as sent, without the query: "/api/v1/jobs/j%201"
  std::map<std::string, std::string> query;  // decoded
  std::string content_type;                  // as sent; empty when absent
  std::string last_event_id;                 // of a reconnecting EventSource; empty when absent
  std::string user;                          // that it says it is for; empty when absent
  std::string address;                       // of the client
  std::string body;
};

// A body that is sent piece by piece, as pieces come to be.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // Called once, before Next, on the connection's thread. `wake` makes the server call Next again;
  // any thread, cheap, harmless after the connection is gone.
  virtual void OnWake(std::function<void()> wake) = 0;
  // The next piece; empty when there is none yet; nullopt at the end. Called on the connection's
  // thread, only when the piece before has been handed to the kernel: a client that does not read
  // holds back the source.
  virtual std::optional<std::string> Next() = 0;
  // What is sent when nothing was for a while, so that both sides notice a broken connection.
  virtual std::string Heartbeat() = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  bool is_stream = false;  // the attached BodySource takes the place of body
};

// "%41+b" is "A b" with plus_is_space. nullopt for a broken escape.
std::optional<std::string> DecodePercent(std::string_view text, bool plus_is_space);

// Splits "/a/b?x=1&y" into path and query. INVALID_ARGUMENT for a target that is not a path, a
// broken escape and a parameter that is given twice.
Status ParseTarget(std::string_view target, HttpRequest* request);

// Whether a content type is JSON: "application/json; charset=utf-8", "application/problem+json".
bool IsJsonType(std::string_view content_type);

int HttpStatusOf(Code code);
std::string_view HttpReason(int status);  // "Not Found"

HttpResponse JsonResponse(const Json& json, int status = 200);
// Problem details of an error. instance: path of the request. problems: for a refused job, else
// null. http_status 0: the one of the error's code.
HttpResponse ProblemResponse(const Status& error, std::string_view instance,
                             const Json& problems = nullptr, int http_status = 0);

}  // namespace cyxwiz::central
