// What the Central Server tells Prometheus.
#pragma once

#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "central/http_server.h"
#include "control/control.h"

namespace cyxwiz::central {

// Any thread.
class Metrics : public HttpObserver {
 public:
  Metrics();
  ~Metrics() override;

  // Everything in Prometheus's text format. The core's counters are read at each scrape, not kept
  // here.
  std::string Text(const control::Counters& counters, bool ready) const;

  // For further metrics of the server.
  prometheus::Registry& registry() { return registry_; }

  void OnConnections(int change) override;
  void OnStreams(int change) override;
  void OnResponse(const std::string& method, const char* route, int status,
                  double seconds) override;

 private:
  struct Http;
  prometheus::Registry registry_;
  std::unique_ptr<Http> http_;
};

}  // namespace cyxwiz::central
