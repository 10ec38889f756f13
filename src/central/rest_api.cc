#include "central/rest_api.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>

#include "base/suggest.h"
#include "base/text.h"
#include "central/convert.h"
#include "central/rest_events.h"
#include "spec/job_file.h"
#include "wire/job_config.h"
#include "wire/json.h"
#include "wire/what_if.h"

namespace cyxwiz::central {
namespace {

using Parameters = std::map<std::string, std::string>;

Status CheckParameters(const Parameters& given, const std::vector<std::string>& names) {
  for (const auto& [name, value] : given) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::string nearest = NearestName(name, names), all;
    for (const std::string& n : names) all += (all.empty() ? "" : ", ") + n;
    return InvalidArgument("unknown query parameter '" + name + "'",
                           !nearest.empty() ? "did you mean '" + nearest + "'?"
                           : all.empty()    ? "this path takes none"
                                            : "expected one of " + all);
  }
  return OkStatus();
}

// Leaves *value alone when the parameter is absent.
Status ReadInt(const Parameters& given, const char* name, int32_t* value) {
  auto found = given.find(name);
  if (found == given.end()) return OkStatus();
  std::optional<int64_t> number = ParseInt(found->second);
  if (!number || *number < INT32_MIN || *number > INT32_MAX) {
    return InvalidArgument("query parameter '" + std::string(name) +
                           "': expected a whole number, found '" + found->second + "'");
  }
  *value = static_cast<int32_t>(*number);
  return OkStatus();
}

Status ReadBool(const Parameters& given, const char* name, bool* value) {
  auto found = given.find(name);
  if (found == given.end()) return OkStatus();
  if (found->second != "true" && found->second != "false") {
    return InvalidArgument("query parameter '" + std::string(name) +
                           "': expected true or false, found '" + found->second + "'");
  }
  *value = found->second == "true";
  return OkStatus();
}

Status ReadBytes(const Parameters& given, const char* name, int64_t* value) {
  auto found = given.find(name);
  if (found == given.end()) return OkStatus();
  std::optional<int64_t> number = ParseInt(found->second);
  if (!number || *number < 0) {
    return InvalidArgument("query parameter '" + std::string(name) +
                           "': expected a number of bytes, found '" + found->second + "'");
  }
  *value = *number;
  return OkStatus();
}

template <typename Enum>
Status ReadEnum(const Parameters& given, const char* name,
                const google::protobuf::EnumDescriptor* type, Enum* value) {
  auto found = given.find(name);
  if (found == given.end()) return OkStatus();
  ASSIGN_OR_RETURN(int number, wire::EnumFromText(*type, found->second,
                                                  "query parameter '" + std::string(name) + "'"));
  *value = static_cast<Enum>(number);
  return OkStatus();
}

Result<protocol::WhatIf> ReadWhatIf(const Parameters& given) {
  auto found = given.find("what_if");
  if (found == given.end()) return protocol::WhatIf();
  // A plus that is not escaped has become a space.
  std::string text = found->second;
  std::replace(text.begin(), text.end(), ' ', '+');
  return ParseWhatIf("query parameter 'what_if'", text);
}

std::string ReadText(const Parameters& given, const char* name) {
  auto found = given.find(name);
  return found == given.end() ? "" : found->second;
}

// A body that must be JSON. 415 is told from other errors by UNIMPLEMENTED, which nothing else here
// uses.
Result<Json> ReadBody(const HttpRequest& request) {
  if (!IsJsonType(request.content_type)) {
    return Unimplemented(
        "expected a body of type application/json, found '" + request.content_type + "'",
        "send the header Content-Type: application/json");
  }
  return ParseJson(request.body, "the body");
}

// For an error of ReadBody; 0: what its code says.
int HttpStatusOfBody(const Status& status) {
  return status.code() == Code::kUnimplemented ? 415 : 0;
}

// The event after which to go on, as `name` has it; empty: left as it is.
Status ReadAfter(const std::string& name, const std::string& text,
                 protocol::ListEventsRequest* request) {
  if (text.empty()) return OkStatus();
  auto number = ParseInt(text);
  if (!number) {
    return InvalidArgument(name + ": expected the number of an event, found '" +
                           text.substr(0, 100) + "'");
  }
  request->set_after(*number);
  return OkStatus();
}

Status ReadMessage(const HttpRequest& request, google::protobuf::Message* message) {
  Result<Json> body = ReadBody(request);
  return body.ok() ? wire::FromJson(*body, message) : body.status();
}

Json ToJson(const spec::Problem& problem) {
  return {{"path", problem.path},
          {"message", problem.message},
          {"expected", problem.expected},
          {"found", problem.found},
          {"hint", problem.hint}};
}

Json ToJson(const google::protobuf::RepeatedPtrField<protocol::Problem>& problems) {
  Json list;  // null where there are none
  for (const protocol::Problem& problem : problems) list.push_back(wire::ToJson(problem));
  return list;
}

// A job as a SubmitJobRequest ({"config": {...}}), a JobConfig ({"model_definition": "...", ...}),
// or a job file. *problems is an array when the job's form was refused.
Result<protocol::SubmitJobRequest> ReadJob(const std::string& text, const Json& body,
                                           Json* problems) {
  protocol::SubmitJobRequest request;
  if (body.is_object() && body.contains("config")) {
    RETURN_IF_ERROR(wire::FromJson(body, &request));
    return request;
  }
  // The forms overlap: a job file may use the wire's names, so what is not quite a JobConfig may be
  // a job file.
  if (body.is_object() && body.contains("model_definition") &&
      wire::FromJson(body, request.mutable_config()).ok()) {
    return request;
  }
  spec::Problems found;
  std::optional<spec::JobFile> file = spec::ParseJobFile(text, &found);
  if (!file) {
    *problems = Json::array();
    for (const spec::Problem& problem : found.list()) problems->push_back(ToJson(problem));
    size_t count = found.count();
    return InvalidArgument("the job has " + std::to_string(count) +
                           (count == 1 ? " problem" : " problems"));
  }
  *request.mutable_config() = ConfigFromJobFile(*file);
  return request;
}

// Answers with the message, or with the error.
template <typename Message>
Done<Message> Answer(const std::shared_ptr<HttpExchange>& exchange, const std::string& path) {
  return [exchange, path](Status status, const Message& message) {
    exchange->Respond(status.ok() ? JsonResponse(wire::ToJson(message))
                                  : ProblemResponse(status, path));
  };
}

std::string EncodeSegment(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      encoded += static_cast<char>(c);
    } else {
      encoded += {'%', kHex[c >> 4], kHex[c & 15]};
    }
  }
  return encoded;
}

HttpResponse TextResponse(std::string type, std::string body) {
  HttpResponse response;
  response.content_type = std::move(type);
  response.body = std::move(body);
  return response;
}

}  // namespace

std::span<const RestApi::Entry> RestApi::Table() {
  static const Entry kTable[] = {
      {{"GET", "/healthz"}, {}, &RestApi::GetHealth},
      {{"GET", "/readyz"}, {}, &RestApi::GetReadiness},
      {{"GET", "/metrics"}, {}, &RestApi::GetMetrics},
      {{"POST", "/api/v1/jobs"}, {}, &RestApi::SubmitJob},
      {{"GET", "/api/v1/jobs"},
       {"page_size", "page_token", "user_id", "filter_type", "filter_status", "array_id"},
       &RestApi::ListJobs},
      {{"GET", "/api/v1/jobs/{id}"}, {}, &RestApi::GetJob},
      {{"POST", "/api/v1/jobs/cancel"}, {}, &RestApi::CancelJobs},
      {{"POST", "/api/v1/jobs/{id}/cancel"}, {}, &RestApi::CancelJob},
      {{"POST", "/api/v1/jobs/{id}/pause"}, {}, &RestApi::PauseJob},
      {{"POST", "/api/v1/jobs/{id}/resume"}, {}, &RestApi::ResumeJob},
      {{"POST", "/api/v1/jobs/{id}/retry"}, {}, &RestApi::RetryJob},
      {{"POST", "/api/v1/jobs/{id}/priority"}, {"priority"}, &RestApi::SetJobPriority},
      {{"DELETE", "/api/v1/jobs/{id}"}, {}, &RestApi::DeleteJob},
      {{"GET", "/api/v1/jobs/{id}/explain"}, {"at", "what_if"}, &RestApi::ExplainJob},
      {{"POST", "/api/v1/jobs/plan"}, {"what_if"}, &RestApi::PlanJob},
      {{"GET", "/api/v1/events"},
       {"job_id", "node_id", "after", "page_size"},
       &RestApi::ListEvents},
      {{"GET", "/api/v1/events/stream"}, {"job_id", "node_id", "after"}, &RestApi::FollowEvents},
      {{"GET", "/api/v1/jobs/{id}/events"}, {}, &RestApi::FollowJob},
      {{"GET", "/api/v1/nodes"}, {"page_size", "page_token", "online_only"}, &RestApi::ListNodes},
      {{"GET", "/api/v1/nodes/{id}"}, {}, &RestApi::GetNode},
      {{"DELETE", "/api/v1/nodes/{id}"}, {}, &RestApi::ForgetNode},
      {{"POST", "/api/v1/nodes/{id}/cordon"}, {}, &RestApi::CordonNode},
      {{"POST", "/api/v1/nodes/{id}/uncordon"}, {}, &RestApi::UncordonNode},
      {{"GET", "/api/v1/datasets"}, {"name", "page_size", "page_token"}, &RestApi::ListDatasets},
      {{"PUT", "/api/v1/datasets/{name}"}, {"version"}, &RestApi::PutDataset},
      {{"DELETE", "/api/v1/datasets/{name}"}, {"version"}, &RestApi::RemoveDataset},
      {{"PUT", "/api/v1/dataset-files/{sha256}"}, {"offset", "size"}, &RestApi::StoreDatasetFile},
  };
  return kTable;
}

std::vector<HttpRoute> RestApi::Routes() {
  std::vector<HttpRoute> routes;
  for (const Entry& entry : Table()) routes.push_back(entry.route);
  return routes;
}

std::vector<std::string> RestApi::QueryParameters(size_t route) {
  return Table()[route].parameters;
}

RestApi::RestApi(Api* api, const Metrics* metrics)
    : api_(api), metrics_(metrics), router_(Routes()) {}

void RestApi::Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
  HttpRouter::Match match = router_.Find(request.method, request.path);
  if (match.route < 0) {
    if (match.allow.empty()) {
      return exchange->Respond(ProblemResponse(
          NotFound("no such path: '" + request.path + "'", "docs/reference/openapi.yaml lists all"),
          request.path));
    }
    HttpResponse response =
        ProblemResponse(Unimplemented("'" + request.path + "' has no method " + request.method,
                                      "it has " + match.allow),
                        request.path, nullptr, 405);
    response.headers.emplace_back("Allow", match.allow);
    return exchange->Respond(std::move(response));
  }
  const Entry& entry = Table()[static_cast<size_t>(match.route)];
  exchange->SetRoute(entry.route.pattern);
  if (Status status = CheckParameters(request.query, entry.parameters); !status.ok()) {
    return exchange->Respond(ProblemResponse(status, request.path));
  }
  Call call{std::move(request), std::move(match.values), std::move(exchange)};
  (this->*entry.method)(call);
}

std::string RestApi::ActorOf(const Call& call) {
  return ClientActor(call.request.user, call.request.address);
}

void RestApi::GetHealth(Call& call) {
  call.exchange->Respond(JsonResponse({{"status", "ok"}, {"version", CYXWIZ_VERSION}}));
}

void RestApi::GetReadiness(Call& call) {
  Status status = api_->Ready();
  call.exchange->Respond(status.ok() ? JsonResponse({{"status", "ok"}})
                                     : ProblemResponse(status, call.request.path, nullptr, 503));
}

void RestApi::GetMetrics(Call& call) {
  api_->CountWaiting([this, exchange = call.exchange](
                         const Status& status, const std::map<std::string, int64_t>& waiting) {
    exchange->Respond(TextResponse(
        "text/plain; version=0.0.4; charset=utf-8",
        metrics_->Text(api_->counters(), api_->Ready().ok(), status.ok() ? &waiting : nullptr)));
  });
}

std::optional<protocol::SubmitJobRequest> RestApi::ReadJobOrRefuse(const Call& call) {
  const std::string& path = call.request.path;
  Result<Json> body = ReadBody(call.request);
  if (!body.ok()) {
    call.exchange->Respond(
        ProblemResponse(body.status(), path, nullptr, HttpStatusOfBody(body.status())));
    return std::nullopt;
  }
  Json problems;
  Result<protocol::SubmitJobRequest> request = ReadJob(call.request.body, *body, &problems);
  if (request.ok()) return *std::move(request);
  call.exchange->Respond(ProblemResponse(request.status(), path, problems));
  return std::nullopt;
}

void RestApi::SubmitJob(Call& call) {
  const std::string& path = call.request.path;
  const auto request = ReadJobOrRefuse(call);
  if (!request) return;
  api_->SubmitJob(*request, [exchange = call.exchange, path](
                                Status status, const protocol::SubmitJobResponse& answer) {
    if (!status.ok())
      return exchange->Respond(ProblemResponse(status, path, ToJson(answer.problems())));
    HttpResponse response = JsonResponse(wire::ToJson(answer), 201);
    response.headers.emplace_back("Location", path + "/" + EncodeSegment(answer.job_id()));
    exchange->Respond(std::move(response));
  });
}

void RestApi::ListJobs(Call& call) {
  const Parameters& given = call.request.query;
  protocol::ListJobsRequest request;
  int32_t page_size = 0;
  protocol::JobType type = protocol::JOB_TYPE_UNKNOWN;
  protocol::StatusCode filter = protocol::STATUS_UNKNOWN;
  Status status = ReadInt(given, "page_size", &page_size);
  if (status.ok()) status = ReadEnum(given, "filter_type", protocol::JobType_descriptor(), &type);
  if (status.ok())
    status = ReadEnum(given, "filter_status", protocol::StatusCode_descriptor(), &filter);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, call.request.path));
  request.set_page_size(page_size);
  request.set_page_token(ReadText(given, "page_token"));
  request.set_user_id(ReadText(given, "user_id"));
  request.set_filter_type(type);
  request.set_filter_status(filter);
  request.set_array_id(ReadText(given, "array_id"));
  api_->ListJobs(request, Answer<protocol::ListJobsResponse>(call.exchange, call.request.path));
}

void RestApi::GetJob(Call& call) {
  protocol::GetJobStatusRequest request;
  request.set_job_id(call.values["id"]);
  api_->GetJobStatus(request,
                     Answer<protocol::GetJobStatusResponse>(call.exchange, call.request.path));
}

void RestApi::CancelJob(Call& call) {
  protocol::CancelJobRequest request;
  request.set_job_id(call.values["id"]);
  if (!call.request.body.empty()) {
    Result<Json> body = ReadBody(call.request);
    Status status = body.status();
    if (status.ok() && (!body->is_object() || body->size() > 1 ||
                        (body->size() == 1 && !body->contains("reason")) ||
                        (body->size() == 1 && !(*body)["reason"].is_string()))) {
      status =
          InvalidArgument("expected an object with a text 'reason' or nothing in it, found " +
                          body->dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 100));
    }
    if (!status.ok()) {
      return call.exchange->Respond(
          ProblemResponse(status, call.request.path, nullptr, HttpStatusOfBody(status)));
    }
    request.set_reason(body->value("reason", ""));
  }
  api_->CancelJob(request, ActorOf(call),
                  Answer<protocol::CancelJobResponse>(call.exchange, call.request.path));
}

void RestApi::CancelJobs(Call& call) {
  const std::string& path = call.request.path;
  protocol::CancelJobsRequest request;
  if (Status status = ReadMessage(call.request, &request); !status.ok()) {
    return call.exchange->Respond(ProblemResponse(status, path, nullptr, HttpStatusOfBody(status)));
  }
  api_->CancelJobs(request, ActorOf(call),
                   Answer<protocol::CancelJobsResponse>(call.exchange, path));
}

void RestApi::PauseJob(Call& call) {
  protocol::PauseJobRequest request;
  request.set_job_id(call.values["id"]);
  api_->PauseJob(request, ActorOf(call),
                 Answer<protocol::JobResponse>(call.exchange, call.request.path));
}

void RestApi::ResumeJob(Call& call) {
  protocol::ResumeJobRequest request;
  request.set_job_id(call.values["id"]);
  api_->ResumeJob(request, ActorOf(call),
                  Answer<protocol::JobResponse>(call.exchange, call.request.path));
}

void RestApi::RetryJob(Call& call) {
  protocol::RetryJobRequest request;
  request.set_job_id(call.values["id"]);
  api_->RetryJob(request, ActorOf(call),
                 Answer<protocol::JobResponse>(call.exchange, call.request.path));
}

void RestApi::SetJobPriority(Call& call) {
  protocol::SetJobPriorityRequest request;
  request.set_job_id(call.values["id"]);
  protocol::JobPriority priority = protocol::PRIORITY_NORMAL;
  Status status =
      ReadText(call.request.query, "priority").empty()
          ? InvalidArgument("the query must say the priority", "such as ?priority=PRIORITY_HIGH")
          : ReadEnum(call.request.query, "priority", protocol::JobPriority_descriptor(), &priority);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, call.request.path));
  request.set_priority(priority);
  api_->SetJobPriority(request, ActorOf(call),
                       Answer<protocol::JobResponse>(call.exchange, call.request.path));
}

void RestApi::DeleteJob(Call& call) {
  protocol::DeleteJobRequest request;
  request.set_job_id(call.values["id"]);
  api_->DeleteJob(request, ActorOf(call),
                  Answer<protocol::DeleteJobResponse>(call.exchange, call.request.path));
}

void RestApi::ExplainJob(Call& call) {
  protocol::ExplainJobRequest request;
  request.set_job_id(call.values["id"]);
  const std::string at = ReadText(call.request.query, "at");
  const auto moment = at.empty() ? std::optional<int64_t>(0) : spec::ParseMoment(at);
  if (!moment) {
    return call.exchange->Respond(ProblemResponse(
        InvalidArgument("at: expected a moment, found '" + at.substr(0, 100) + "'",
                        "such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00"),
        call.request.path));
  }
  request.set_at_ms(*moment * 1000);
  auto what_if = ReadWhatIf(call.request.query);
  if (!what_if.ok())
    return call.exchange->Respond(ProblemResponse(what_if.status(), call.request.path));
  *request.mutable_what_if() = *std::move(what_if);
  api_->ExplainJob(request, Answer<protocol::JobPlan>(call.exchange, call.request.path));
}

void RestApi::PlanJob(Call& call) {
  const std::string& path = call.request.path;
  auto what_if = ReadWhatIf(call.request.query);
  if (!what_if.ok()) return call.exchange->Respond(ProblemResponse(what_if.status(), path));
  const auto job = ReadJobOrRefuse(call);
  if (!job) return;
  protocol::PlanJobRequest request;
  *request.mutable_config() = job->config();
  *request.mutable_what_if() = *std::move(what_if);
  api_->PlanJob(request, [exchange = call.exchange, path](Status status,
                                                          const protocol::PlanJobResponse& answer) {
    exchange->Respond(status.ok() ? JsonResponse(wire::ToJson(answer.plan()))
                                  : ProblemResponse(status, path, ToJson(answer.problems())));
  });
}

Status RestApi::ReadEventQuery(const Call& call, protocol::ListEventsRequest* request) {
  const Parameters& given = call.request.query;
  RETURN_IF_ERROR(ReadAfter("after", ReadText(given, "after"), request));
  request->set_job_id(ReadText(given, "job_id"));
  request->set_node_id(ReadText(given, "node_id"));
  return OkStatus();
}

void RestApi::ListEvents(Call& call) {
  protocol::ListEventsRequest request;
  int32_t page_size = 0;
  Status status = ReadInt(call.request.query, "page_size", &page_size);
  if (status.ok()) status = ReadEventQuery(call, &request);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, call.request.path));
  request.set_page_size(page_size);
  api_->ListEvents(request, Answer<protocol::ListEventsResponse>(call.exchange, call.request.path));
}

void RestApi::FollowEvents(Call& call) {
  protocol::ListEventsRequest request;
  Status status = ReadEventQuery(call, &request);
  // Who comes back goes on where it was, whatever it asked for at first.
  if (status.ok()) status = ReadAfter("Last-Event-ID", call.request.last_event_id, &request);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, call.request.path));
  if (call.request.method == "HEAD")
    return call.exchange->Respond(TextResponse("text/event-stream", ""));
  FollowEventHistory(api_, request, call.request.path, call.exchange);
}

void RestApi::FollowJob(Call& call) {
  const std::string& id = call.values["id"];
  if (call.request.last_event_id == "final") {
    // An EventSource reconnects when a stream ends, however it ends; this answer alone makes it
    // stop.
    HttpResponse response;
    response.status = 204;
    return call.exchange->Respond(std::move(response));
  }
  if (call.request.method == "HEAD") {
    protocol::GetJobStatusRequest request;
    request.set_job_id(id);
    return api_->GetJobStatus(request, [exchange = call.exchange, path = call.request.path](
                                           Status status, const protocol::GetJobStatusResponse&) {
      exchange->Respond(status.ok() ? TextResponse("text/event-stream", "")
                                    : ProblemResponse(status, path));
    });
  }
  FollowJobUpdates(api_, id, call.request.path, call.exchange);
}

void RestApi::ListNodes(Call& call) {
  const Parameters& given = call.request.query;
  protocol::ListNodesRequest request;
  int32_t page_size = 0;
  bool online_only = false;
  Status status = ReadInt(given, "page_size", &page_size);
  if (status.ok()) status = ReadBool(given, "online_only", &online_only);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, call.request.path));
  request.set_page_size(page_size);
  request.set_page_token(ReadText(given, "page_token"));
  request.set_online_only(online_only);
  api_->ListNodes(request, Answer<protocol::ListNodesResponse>(call.exchange, call.request.path));
}

void RestApi::GetNode(Call& call) {
  protocol::GetNodeInfoRequest request;
  request.set_node_id(call.values["id"]);
  api_->GetNodeInfo(request,
                    Answer<protocol::GetNodeInfoResponse>(call.exchange, call.request.path));
}

void RestApi::CordonNode(Call& call) {
  const std::string& path = call.request.path;
  protocol::CordonNodeRequest request;
  if (!call.request.body.empty()) {
    if (Status status = ReadMessage(call.request, &request); !status.ok()) {
      return call.exchange->Respond(
          ProblemResponse(status, path, nullptr, HttpStatusOfBody(status)));
    }
  }
  request.set_node_id(call.values["id"]);
  api_->CordonNode(request, ActorOf(call), Answer<protocol::NodeResponse>(call.exchange, path));
}

void RestApi::UncordonNode(Call& call) {
  protocol::UncordonNodeRequest request;
  request.set_node_id(call.values["id"]);
  api_->UncordonNode(request, ActorOf(call),
                     Answer<protocol::NodeResponse>(call.exchange, call.request.path));
}

void RestApi::ForgetNode(Call& call) {
  protocol::ForgetNodeRequest request;
  request.set_node_id(call.values["id"]);
  api_->ForgetNode(request, ActorOf(call),
                   Answer<protocol::ForgetNodeResponse>(call.exchange, call.request.path));
}

void RestApi::ListDatasets(Call& call) {
  const Parameters& given = call.request.query;
  protocol::ListDatasetsRequest request;
  int32_t page_size = 0;
  Status status = ReadInt(given, "page_size", &page_size);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, call.request.path));
  request.set_name(ReadText(given, "name"));
  request.set_page_size(page_size);
  request.set_page_token(ReadText(given, "page_token"));
  api_->ListDatasets(request,
                     Answer<protocol::ListDatasetsResponse>(call.exchange, call.request.path));
}

void RestApi::PutDataset(Call& call) {
  const std::string& path = call.request.path;
  protocol::PutDatasetRequest request;
  Status status = ReadMessage(call.request, &request);
  const std::string name = call.values["name"], version = ReadText(call.request.query, "version");
  if (status.ok() && ((!request.name().empty() && request.name() != name) ||
                      (!request.version().empty() && request.version() != version))) {
    status = InvalidArgument("the body names another data set than the path and the query",
                             "leave name and version out of the body");
  }
  if (!status.ok()) {
    return call.exchange->Respond(ProblemResponse(status, path, nullptr, HttpStatusOfBody(status)));
  }
  request.set_name(name);
  request.set_version(version);
  api_->PutDataset(request, [exchange = call.exchange, path](
                                Status put, const protocol::PutDatasetResponse& answer) {
    const bool made = answer.has_dataset() && !answer.existed();
    exchange->Respond(put.ok() ? JsonResponse(wire::ToJson(answer), made ? 201 : 200)
                               : ProblemResponse(put, path));
  });
}

void RestApi::RemoveDataset(Call& call) {
  protocol::RemoveDatasetRequest request;
  request.set_name(call.values["name"]);
  request.set_version(ReadText(call.request.query, "version"));
  api_->RemoveDataset(request,
                      Answer<protocol::RemoveDatasetResponse>(call.exchange, call.request.path));
}

void RestApi::StoreDatasetFile(Call& call) {
  const std::string& path = call.request.path;
  DatasetPiece piece;
  piece.sha256 = call.values["sha256"];
  piece.data = std::move(call.request.body);
  piece.size = static_cast<int64_t>(piece.data.size());
  Status status = ReadBytes(call.request.query, "offset", &piece.offset);
  if (status.ok()) status = ReadBytes(call.request.query, "size", &piece.size);
  if (!status.ok()) return call.exchange->Respond(ProblemResponse(status, path));
  api_->StoreDatasetPiece(std::move(piece), [exchange = call.exchange, path](
                                                Status stored, const DatasetPieceStored& outcome) {
    exchange->Respond(
        stored.ok() ? JsonResponse({{"received", outcome.received}, {"complete", outcome.complete}},
                                   outcome.complete ? 201 : 200)
                    : ProblemResponse(stored, path));
  });
}

}  // namespace cyxwiz::central
