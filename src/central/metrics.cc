#include "central/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <ctime>
#include <string_view>

namespace cyxwiz::central {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Clients may send any word as method; each would be a time series for ever.
std::string KnownMethod(const std::string& method) {
  static constexpr std::array<std::string_view, 7> kMethods = {"GET",   "HEAD",   "POST",   "PUT",
                                                               "PATCH", "DELETE", "OPTIONS"};
  for (std::string_view known : kMethods) {
    if (method == known) return method;
  }
  return "other";
}

ClientMetric Value(MetricType type, double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  if (type == MetricType::Counter) metric.counter.value = value;
  if (type == MetricType::Gauge) metric.gauge.value = value;
  return metric;
}

MetricFamily One(MetricType type, std::string name, std::string help, double value,
                 std::vector<ClientMetric::Label> labels = {}) {
  return {std::move(name), std::move(help), type, {Value(type, value, std::move(labels))}};
}

}  // namespace

struct Metrics::Http {
  explicit Http(prometheus::Registry& registry)
      : requests(prometheus::BuildCounter()
                     .Name("cyxwiz_http_requests_total")
                     .Help("Requests answered by the REST server")
                     .Register(registry)),
        seconds(prometheus::BuildHistogram()
                    .Name("cyxwiz_http_request_seconds")
                    .Help("Time from a request's header to the start of its answer")
                    .Register(registry)),
        connections(prometheus::BuildGauge()
                        .Name("cyxwiz_http_connections")
                        .Help("Open connections of the REST server")
                        .Register(registry)
                        .Add({})),
        streams(prometheus::BuildGauge()
                    .Name("cyxwiz_http_streams")
                    .Help("Clients that follow a job by server-sent events")
                    .Register(registry)
                    .Add({})) {}

  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Histogram>& seconds;
  prometheus::Gauge& connections;
  prometheus::Gauge& streams;
};

struct Metrics::OfCore {
  explicit OfCore(prometheus::Registry& registry)
      : taken(Add(registry, "cyxwiz_core_queue_seconds",
                  "Time that a command waited until the core took it")),
        applied(Add(registry, "cyxwiz_core_apply_seconds",
                    "Time to apply a batch of commands, with its scheduling")),
        committed(Add(registry, "cyxwiz_core_commit_seconds",
                      "Time to commit a batch: one transaction, one sync")) {}

  static prometheus::Histogram& Add(prometheus::Registry& registry, const char* name,
                                    const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(
        {}, prometheus::Histogram::BucketBoundaries{0.00001, 0.000025, 0.00005, 0.0001, 0.00025,
                                                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                    0.1, 0.25, 0.5, 1, 2.5});
  }

  prometheus::Histogram& taken;
  prometheus::Histogram& applied;
  prometheus::Histogram& committed;
};

Metrics::Metrics()
    : http_(std::make_unique<Http>(registry_)), core_(std::make_unique<OfCore>(registry_)) {
  prometheus::BuildGauge()
      .Name("process_start_time_seconds")
      .Help("When the server was started, Unix seconds")
      .Register(registry_)
      .Add({})
      .Set(static_cast<double>(std::time(nullptr)));
  prometheus::BuildGauge()
      .Name("cyxwiz_build_info")
      .Help("Always 1; the label says which version runs")
      .Register(registry_)
      .Add({{"version", CYXWIZ_VERSION}})
      .Set(1);
}

Metrics::~Metrics() = default;

void Metrics::OnConnections(int change) { http_->connections.Increment(change); }
void Metrics::OnStreams(int change) { http_->streams.Increment(change); }

void Metrics::OnResponse(const std::string& method, const char* route, int status, double seconds) {
  http_->requests
      .Add({{"method", KnownMethod(method)}, {"route", route}, {"code", std::to_string(status)}})
      .Increment();
  static const prometheus::Histogram::BucketBoundaries kBuckets = {
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
  http_->seconds.Add({{"route", route}}, kBuckets).Observe(seconds);
}

void Metrics::OnTaken(double seconds) { core_->taken.Observe(seconds); }
void Metrics::OnApplied(double seconds) { core_->applied.Observe(seconds); }
void Metrics::OnCommitted(double seconds) { core_->committed.Observe(seconds); }

void Metrics::OnDatasetCache(const std::string& node, const protocol::DatasetCache& cache) {
  std::lock_guard lock(mutex_);
  if (dataset_caches_.size() < kMostNodes || dataset_caches_.contains(node))
    dataset_caches_[node] = cache;
}

void Metrics::OnNodeForgotten(const std::string& node) {
  std::lock_guard lock(mutex_);
  dataset_caches_.erase(node);
}

std::string Metrics::Text(const control::Counters& counters, bool ready,
                          const std::map<std::string, int64_t>* waiting) const {
  std::vector<MetricFamily> families = registry_.Collect();
  MetricFamily jobs{"cyxwiz_jobs", "Jobs by state", MetricType::Gauge, {}};
  for (int state = 1; state <= static_cast<int>(control::JobState::kCancelled); ++state) {
    jobs.metric.push_back(
        Value(MetricType::Gauge, static_cast<double>(counters.jobs_by_state[state]),
              {{"state", control::JobStateName(static_cast<control::JobState>(state))}}));
  }
  families.push_back(std::move(jobs));
  if (waiting != nullptr) {
    MetricFamily by_reason{"cyxwiz_jobs_waiting",
                           "Queued jobs by why they wait; a job counts for each of its reasons",
                           MetricType::Gauge,
                           {}};
    for (const auto& [reason, count] : *waiting) {
      by_reason.metric.push_back(
          Value(MetricType::Gauge, static_cast<double>(count), {{"reason", reason}}));
    }
    families.push_back(std::move(by_reason));
  }
  auto add = [&](MetricType type, const char* name, const char* help, int64_t value) {
    families.push_back(One(type, name, help, static_cast<double>(value)));
  };
  add(MetricType::Gauge, "cyxwiz_ready", "Whether the server can take work", ready ? 1 : 0);
  add(MetricType::Gauge, "cyxwiz_nodes_online", "Nodes with a live lease", counters.nodes_online);
  add(MetricType::Gauge, "cyxwiz_mass_loss",
      "Whether jobs wait for most of the nodes to come back, which went silent at once",
      counters.mass_loss);
  add(MetricType::Gauge, "cyxwiz_nodes_known", "Nodes that ever registered", counters.nodes_known);
  add(MetricType::Counter, "cyxwiz_jobs_submitted_total",
      "Jobs accepted since the server was started", counters.submitted);
  MetricFamily ended{"cyxwiz_jobs_ended_total",
                     "Jobs ended since the server was started",
                     MetricType::Counter,
                     {}};
  for (const auto& [result, count] :
       {std::pair{"succeeded", counters.succeeded}, std::pair{"failed", counters.failed},
        std::pair{"cancelled", counters.cancelled}}) {
    ended.metric.push_back(
        Value(MetricType::Counter, static_cast<double>(count), {{"result", result}}));
  }
  families.push_back(std::move(ended));
  add(MetricType::Counter, "cyxwiz_attempts_started_total", "Attempts that began to run",
      counters.attempts_started);
  add(MetricType::Counter, "cyxwiz_attempts_lost_total", "Attempts whose node or lease was lost",
      counters.attempts_lost);
  const struct {
    MetricType type;
    const char *name, *help;
    int64_t (protocol::DatasetCache::*value)() const;
  } caches[] = {
      {MetricType::Counter, "cyxwiz_dataset_cache_hits_total",
       "Files of data sets that attempts wanted and their node had", &protocol::DatasetCache::hits},
      {MetricType::Counter, "cyxwiz_dataset_cache_misses_total",
       "Files of data sets that a node had to fetch", &protocol::DatasetCache::misses},
      {MetricType::Counter, "cyxwiz_dataset_cache_evictions_total",
       "Files of data sets that gave way to others", &protocol::DatasetCache::evictions},
      {MetricType::Gauge, "cyxwiz_dataset_cache_bytes",
       "Bytes of files of data sets that a node keeps", &protocol::DatasetCache::bytes}};
  std::lock_guard lock(mutex_);
  for (const auto& one : caches) {
    MetricFamily family{one.name, one.help, one.type, {}};
    for (const auto& [node, cache] : dataset_caches_) {
      family.metric.push_back(
          Value(one.type, static_cast<double>((cache.*one.value)()), {{"node", node}}));
    }
    families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace cyxwiz::central
