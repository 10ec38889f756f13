// The REST side of the Central Server: RestApi served by an HttpServer on threads of its own.
// Answers of the Api may come on any thread; they hop onto the connection's.
#pragma once

#include <memory>

#include "base/status.h"
#include "central/api.h"
#include "central/http_server.h"
#include "central/metrics.h"

namespace cyxwiz::central {

class RestServer {
 public:
  using Options = HttpServer::Options;

  // Serves when it returns. api is not owned and outlives the server. metrics: given when others
  // add to them. Errors as HttpServer::Start.
  static Result<std::unique_ptr<RestServer>> Start(Options options, Api* api,
                                                   std::shared_ptr<Metrics> metrics = nullptr);
  // Closes all connections and ends all Follow streams; answers of calls still in work go nowhere.
  ~RestServer();

  int port() const;
  // Whether only programs of this machine can connect.
  bool is_loopback() const;

 private:
  struct Parts;
  explicit RestServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace cyxwiz::central
