// The REST form of the Api: every route of docs/reference/openapi.yaml, JSON with the names of the
// protos, errors as problem details.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "central/api.h"
#include "central/http_router.h"
#include "central/http_server.h"
#include "central/metrics.h"

namespace cyxwiz::central {

// Thread-safe; holds no state of its own.
class RestApi : public HttpHandler {
 public:
  // Neither is owned; both outlive it.
  RestApi(Api* api, const Metrics* metrics);

  void Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override;

  // The one list of routes: the router and the test against openapi.yaml are made from it.
  static std::vector<HttpRoute> Routes();
  // Query parameters of the route at this place of Routes(); any other is refused.
  static std::vector<std::string> QueryParameters(size_t route);

 private:
  using Exchange = std::shared_ptr<HttpExchange>;
  struct Call {
    HttpRequest request;
    std::map<std::string, std::string> values;  // of the path
    Exchange exchange;
  };
  struct Entry {
    HttpRoute route;
    std::vector<std::string> parameters;  // of the query
    void (RestApi::*method)(Call& call);
  };
  static std::span<const Entry> Table();
  // The job of the body; nullopt: it is none, and that has been answered.
  static std::optional<protocol::SubmitJobRequest> ReadJobOrRefuse(const Call& call);
  static std::string ActorOf(const Call& call);
  // "job_id", "node_id" and "after" of the query.
  static Status ReadEventQuery(const Call& call, protocol::ListEventsRequest* request);

  void GetHealth(Call& call);
  void GetReadiness(Call& call);
  void GetMetrics(Call& call);
  void SubmitJob(Call& call);
  void ListJobs(Call& call);
  void GetJob(Call& call);
  void CancelJob(Call& call);
  void CancelJobs(Call& call);
  void PauseJob(Call& call);
  void ResumeJob(Call& call);
  void RetryJob(Call& call);
  void SetJobPriority(Call& call);
  void DeleteJob(Call& call);
  void ExplainJob(Call& call);
  void PlanJob(Call& call);
  void ListEvents(Call& call);
  void FollowEvents(Call& call);
  void FollowJob(Call& call);
  void ListNodes(Call& call);
  void GetNode(Call& call);
  void ForgetNode(Call& call);
  void CordonNode(Call& call);
  void UncordonNode(Call& call);
  void ListDatasets(Call& call);
  void PutDataset(Call& call);
  void RemoveDataset(Call& call);
  void StoreDatasetFile(Call& call);

  Api* const api_;
  const Metrics* const metrics_;
  const HttpRouter router_;
};

}  // namespace cyxwiz::central
