// What the Central Server tells Prometheus.
#pragma once

#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "central/core.h"
#include "central/http_server.h"
#include "control/control.h"
#include "cyxwiz/protocol/node.pb.h"

namespace cyxwiz::central {

// Any thread.
class Metrics : public HttpObserver, public CoreObserver {
 public:
  Metrics();
  ~Metrics() override;

  // Everything in Prometheus's text format. The core's counters are read at each scrape, not kept
  // here. waiting: queued jobs by reason; nullptr: not known now.
  std::string Text(const control::Counters& counters, bool ready,
                   const std::map<std::string, int64_t>* waiting) const;

  // What a node has told of its cache. Of the first kMostNodes nodes, so that nodes that come and
  // go do not add up.
  void OnDatasetCache(const std::string& node, const protocol::DatasetCache& cache);
  static constexpr size_t kMostNodes = 10'000;
  void OnNodeForgotten(const std::string& node);

  // For further metrics of the server.
  prometheus::Registry& registry() { return registry_; }

  void OnConnections(int change) override;
  void OnStreams(int change) override;
  void OnResponse(const std::string& method, const char* route, int status,
                  double seconds) override;

  void OnTaken(double seconds) override;
  void OnApplied(double seconds) override;
  void OnCommitted(double seconds) override;

 private:
  struct Http;
  struct OfCore;
  prometheus::Registry registry_;
  std::unique_ptr<Http> http_;
  std::unique_ptr<OfCore> core_;
  mutable std::mutex mutex_;  // of what follows
  std::map<std::string, protocol::DatasetCache> dataset_caches_;
};

}  // namespace cyxwiz::central
