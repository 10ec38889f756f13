#include "central/rest_server.h"

#include "central/rest_api.h"

namespace cyxwiz::central {

// The server is last, so that it stops before what it uses goes.
struct RestServer::Parts {
  std::shared_ptr<Metrics> metrics;
  RestApi api;
  std::unique_ptr<HttpServer> server;
};

Result<std::unique_ptr<RestServer>> RestServer::Start(Options options, Api* api,
                                                      std::shared_ptr<Metrics> metrics) {
  if (metrics == nullptr) metrics = std::make_shared<Metrics>();
  auto parts = std::unique_ptr<Parts>(new Parts{metrics, RestApi(api, metrics.get()), nullptr});
  ASSIGN_OR_RETURN(parts->server,
                   HttpServer::Start(std::move(options), &parts->api, metrics.get()));
  return std::unique_ptr<RestServer>(new RestServer(std::move(parts)));
}

RestServer::RestServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
RestServer::~RestServer() = default;
int RestServer::port() const { return parts_->server->port(); }
bool RestServer::is_loopback() const { return parts_->server->is_loopback(); }

}  // namespace cyxwiz::central
