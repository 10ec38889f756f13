#include "cli/mlflow.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "base/listen_address.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/download.h"
#include "cli/event_log.h"
#include "cli/job_follower.h"
#include "cli/progress_view.h"
#include "cli/scratch_folder.h"

namespace cyxwiz::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kDefaultExperiment[] = "cyxwiz";
constexpr char kJobTag[] = "cyxwiz.job_id";
// Of MLflow, for one request and one value.
constexpr size_t kMostMetrics = 1000, kMostParams = 100, kMostValueBytes = 500;
constexpr size_t kMostEventFileBytes = size_t{1} << 30;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string Base64(const std::string& text) {
  std::string encoded(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  encoded.resize(static_cast<size_t>(size));
  return encoded;
}

// The header's value; empty: the server wants none.
std::string Authorization() {
  if (std::string token = Environment("MLFLOW_TRACKING_TOKEN"); !token.empty()) {
    return "Bearer " + token;
  }
  const std::string user = Environment("MLFLOW_TRACKING_USERNAME");
  if (user.empty()) return "";
  return "Basic " + Base64(user + ":" + Environment("MLFLOW_TRACKING_PASSWORD"));
}

std::string PercentEncoded(const std::string& text) {
  std::string encoded;
  for (char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.') {
      encoded += c;
      continue;
    }
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
    encoded += code;
  }
  return encoded;
}

// Of what a server says, for people.
std::string Text(const Json& json, const char* key) {
  constexpr size_t kMost = 1000;
  return json.contains(key) && json[key].is_string()
             ? Printable(json[key].get_ref<const std::string&>().substr(0, kMost))
             : "";
}

Json Pair(const std::string& key, const std::string& value) {
  // Cut before a byte that goes on a character.
  size_t size = std::min(value.size(), kMostValueBytes);
  while (size < value.size() && size > 0 && (value[size] & 0xc0) == 0x80) --size;
  return {{"key", key}, {"value", value.substr(0, size)}};
}

Json Metric(const std::string& name, double value, int64_t time_ms, int64_t step) {
  Json number = value;
  // JSON has no such numbers; protobuf's form of it has their names.
  if (std::isnan(value)) number = "NaN";
  if (std::isinf(value)) number = value > 0 ? "Infinity" : "-Infinity";
  return {{"key", name}, {"value", number}, {"timestamp", time_ms}, {"step", step}};
}

Json ParamsOf(const protocol::JobConfig& config) {
  std::map<std::string, std::string> values(config.hyperparameters().begin(),
                                            config.hyperparameters().end());
  if (config.epochs() > 0) values.emplace("epochs", std::to_string(config.epochs()));
  if (config.batch_size() > 0) values.emplace("batch_size", std::to_string(config.batch_size()));
  values.emplace("dataset", config.dataset_uri());
  if (config.has_model_from()) values.emplace("model_from", config.model_from().job_id());
  Json params = Json::array();
  for (const auto& [name, value] : values) params.push_back(Pair(name, value));
  return params;
}

Json TagsOf(const protocol::JobStatus& job) {
  Json tags = Json::array();
  auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) tags.push_back(Pair(name, value));
  };
  add("cyxwiz.state", StateWord(job.state()));
  add("cyxwiz.node", job.current_node_id());
  add("cyxwiz.project", job.project());
  add("cyxwiz.error", job.error().message());
  add("mlflow.user", job.user_id());
  add("mlflow.source.type", "JOB");
  add("mlflow.source.name", kDefaultExperiment);
  return tags;
}

// The metrics over time, and the final ones, which have more digits where they say the same.
Json MetricsOf(const std::vector<LoggedMetrics>& events,
               const google::protobuf::Map<std::string, double>& final_metrics, int64_t end_ms) {
  Json metrics = Json::array();
  std::map<std::string, size_t> last;  // of each name, its place
  int64_t step = 0;
  for (const LoggedMetrics& event : events) {
    step = std::max(step, event.step);
    for (const auto& [name, value] : event.values) {
      last[name] = metrics.size();
      metrics.push_back(Metric(name, value, event.time_ms, event.step));
    }
  }
  for (const auto& [name, value] :
       std::map<std::string, double>(final_metrics.begin(), final_metrics.end())) {
    auto found = last.find(name);
    if (found != last.end() && metrics[found->second]["step"] == step) {
      metrics[found->second] =
          Metric(name, value, metrics[found->second]["timestamp"].get<int64_t>(), step);
    } else {
      metrics.push_back(Metric(name, value, end_ms, step));
    }
  }
  return metrics;
}

const char* StatusOf(protocol::JobState state) {
  if (state == protocol::JOB_STATE_SUCCEEDED) return "FINISHED";
  return state == protocol::JOB_STATE_CANCELLED ? "KILLED" : "FAILED";
}

}  // namespace

Result<Mlflow> Mlflow::Open(const MlflowOptions& options) {
  ASSIGN_OR_RETURN(HttpUrl url, ParseHttpUrl(options.uri));
  const std::string authorization = Authorization();
  if (!url.tls && !IsLoopbackHost(url.host)) {
    if (!options.insecure) {
      return FailedPrecondition(
          "what is sent to " + url.ToString() + " could be read and changed on its way",
          "use https://, a tunnel such as ssh -L, or --mlflow-insecure");
    }
    if (!authorization.empty()) {
      return FailedPrecondition(
          "the user or token of $MLFLOW_TRACKING_... is not sent over http:// to " + url.host,
          "use https://, or a tunnel such as ssh -L");
    }
  }
  if (authorization.find_first_of("\r\n") != std::string::npos) {
    return InvalidArgument("the user or token of $MLFLOW_TRACKING_... holds a line break");
  }
  std::string experiment = options.experiment;
  if (experiment.empty()) experiment = Environment("MLFLOW_EXPERIMENT_NAME");
  if (experiment.empty()) experiment = kDefaultExperiment;
  Mlflow mlflow(HttpClient(std::move(url), authorization));
  RETURN_IF_ERROR(mlflow.FindExperiment(experiment));
  return mlflow;
}

Result<std::string> Mlflow::Log(Client* client, const std::string& job_id) const {
  ASSIGN_OR_RETURN(protocol::GetJobStatusResponse job, client->GetJobStatus(job_id));
  if (!IsFinal(job.status().state())) {
    return FailedPrecondition("job " + job_id + " has not ended: it is " +
                              StateWord(job.status().state()));
  }
  ASSIGN_OR_RETURN(Run run, LogJob(client, job, /*parent=*/""));
  if (job.status().has_array()) RETURN_IF_ERROR(LogMembers(client, job_id, run));
  return http_.url().ToString() + "/#/experiments/" + experiment_ + "/runs/" + run.id;
}

Status Mlflow::LogMembers(Client* client, const std::string& array_id, const Run& parent) const {
  protocol::ListJobsRequest request;
  request.set_array_id(array_id);
  request.set_page_size(1000);
  do {
    ASSIGN_OR_RETURN(
        protocol::ListJobsResponse page,
        client->Call(client->jobs(), &protocol::JobService::StubInterface::ListJobs, request));
    for (const protocol::JobStatus& member : page.jobs()) {
      ASSIGN_OR_RETURN(protocol::GetJobStatusResponse job, client->GetJobStatus(member.job_id()));
      RETURN_IF_ERROR(LogJob(client, job, parent.id).status());
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return OkStatus();
}

Result<Mlflow::Run> Mlflow::LogJob(Client* client, const protocol::GetJobStatusResponse& job,
                                   const std::string& parent) const {
  const protocol::JobStatus& status = job.status();
  const int64_t end_ms = status.end_time() * 1000;
  ASSIGN_OR_RETURN(Run run, FindRun(status, parent));
  const Json params = ParamsOf(job.config());
  for (size_t i = 0; i < params.size(); i += kMostParams) {
    const size_t end = std::min(params.size(), i + kMostParams);
    Json body{{"run_id", run.id}, {"params", Json::array()}};
    for (size_t j = i; j < end; ++j) body["params"].push_back(params[j]);
    if (i == 0) body["tags"] = TagsOf(status);
    RETURN_IF_ERROR(Post("runs/log-batch", body).status());
  }

  ScratchFolder folder;
  RETURN_IF_ERROR(folder.MakeTemporary("cyxwiz-mlflow-"));
  std::vector<LoggedMetrics> events;
  for (const protocol::Artifact& artifact : job.result().artifacts()) {
    ASSIGN_OR_RETURN(std::string path,
                     DownloadArtifact(client, status.job_id(), artifact, folder.path()));
    if (IsEventFile(artifact.name())) {
      ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMostEventFileBytes));
      ASSIGN_OR_RETURN(events, ReadEventFile(bytes));
    }
    RETURN_IF_ERROR(LogFile(run, artifact.name(), path));
    std::error_code error;
    fs::remove(path, error);
  }

  const auto& final_metrics =
      job.result().final_metrics().empty() ? status.metrics() : job.result().final_metrics();
  const Json metrics = MetricsOf(events, final_metrics, end_ms);
  for (size_t i = 0; i < metrics.size(); i += kMostMetrics) {
    const size_t end = std::min(metrics.size(), i + kMostMetrics);
    Json body{{"run_id", run.id}, {"metrics", Json::array()}};
    for (size_t j = i; j < end; ++j) body["metrics"].push_back(metrics[j]);
    RETURN_IF_ERROR(Post("runs/log-batch", body).status());
  }
  // Last: a run that is not over has not been logged whole.
  RETURN_IF_ERROR(
      Post("runs/update",
           {{"run_id", run.id}, {"status", StatusOf(status.state())}, {"end_time", end_ms}})
          .status());
  return run;
}

Status Mlflow::LogFile(const Run& run, const std::string& name, const std::string& path) const {
  constexpr std::string_view kScheme = "mlflow-artifacts:";
  std::string target = run.artifacts;
  if (target.rfind(kScheme, 0) != 0) {
    return FailedPrecondition(
        "the MLflow server at " + http_.url().ToString() + " takes no files: they belong to '" +
            Printable(target) + "'",
        "start it with --serve-artifacts, and log to a new experiment (--mlflow-experiment)");
  }
  target.erase(0, kScheme.size());
  if (target.rfind("//", 0) == 0) target.erase(0, std::min(target.find('/', 2), target.size()));
  ASSIGN_OR_RETURN(HttpResponse response, http_.PutFile("/api/2.0/mlflow-artifacts/artifacts" +
                                                            target + "/" + PercentEncoded(name),
                                                        path));
  return Answer("mlflow-artifacts", std::move(response)).status();
}

Status Mlflow::FindExperiment(const std::string& name) {
  Result<Json> found = Get("experiments/get-by-name?experiment_name=" + PercentEncoded(name));
  if (found.status().code() == Code::kNotFound) {
    Result<Json> made = Post("experiments/create", {{"name", name}});
    if (made.ok() && made->contains("experiment_id") && (*made)["experiment_id"].is_string()) {
      experiment_ = (*made)["experiment_id"];
      return OkStatus();
    }
    // Someone else may have been quicker.
    found = Get("experiments/get-by-name?experiment_name=" + PercentEncoded(name));
    if (!found.ok() && !made.ok()) return made.status();
  }
  RETURN_IF_ERROR(found.status());
  const Json& experiment = found->value("experiment", Json::object());
  if (!experiment.contains("experiment_id") || !experiment["experiment_id"].is_string()) {
    return Unavailable(http_.url().ToString() + " does not answer as an MLflow server does");
  }
  if (experiment.value("lifecycle_stage", "active") == "deleted") {
    return FailedPrecondition("the experiment '" + name + "' is deleted",
                              "restore it, or name another with --mlflow-experiment");
  }
  experiment_ = experiment["experiment_id"];
  return OkStatus();
}

Result<Mlflow::Run> Mlflow::FindRun(const protocol::JobStatus& job,
                                    const std::string& parent) const {
  auto run_of = [&](const Json& run) -> Result<Run> {
    const Json& info = run.value("info", Json::object());
    Run found{info.value("run_id", ""), info.value("artifact_uri", "")};
    if (found.id.empty()) {
      return Unavailable(http_.url().ToString() + " does not answer as an MLflow server does");
    }
    return found;
  };
  // Ids of jobs hold no quotes.
  ASSIGN_OR_RETURN(Json answer, Post("runs/search", {{"experiment_ids", Json::array({experiment_})},
                                                     {"filter", "tags.`" + std::string(kJobTag) +
                                                                    "` = '" + job.job_id() + "'"},
                                                     {"max_results", 1}}));
  const Json runs = answer.value("runs", Json::array());
  if (runs.is_array() && !runs.empty()) return run_of(runs[0]);
  Json tags = Json::array({Pair(kJobTag, job.job_id())});
  if (!parent.empty()) tags.push_back(Pair("mlflow.parentRunId", parent));
  const int64_t start = job.start_time() > 0 ? job.start_time() : job.created_at();
  ASSIGN_OR_RETURN(
      Json made, Post("runs/create", {{"experiment_id", experiment_},
                                      {"run_name", job.name().empty() ? job.job_id() : job.name()},
                                      {"start_time", start * 1000},
                                      {"tags", tags}}));
  return run_of(made.value("run", Json::object()));
}

Result<Json> Mlflow::Post(const std::string& method, const Json& body) const {
  return Answer(method, http_.PostJson("/api/2.0/mlflow/" + method, DumpJson(body)));
}

Result<Json> Mlflow::Get(const std::string& method) const {
  return Answer(method.substr(0, method.find('?')), http_.Get("/api/2.0/mlflow/" + method));
}

Result<Json> Mlflow::Answer(const std::string& method, Result<HttpResponse> response) const {
  RETURN_IF_ERROR(response.status());
  Result<Json> json = ParseJson(response->body, "the answer");
  const bool is_object = json.ok() && json->is_object();
  const int status = response->status;
  if (status == 200 && is_object) return json;
  if (status == 200 && response->body.empty()) return Json::object();  // of a file
  std::string said = "HTTP " + std::to_string(status);
  const bool is_mlflow = is_object && json->contains("error_code");
  if (is_mlflow) said += ": " + Text(*json, "error_code") + ": " + Text(*json, "message");
  const std::string message =
      "MLflow at " + http_.url().ToString() + " answers " + method + " with " + said;
  if (status == 401) {
    return Unauthenticated(message,
                           "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
                           "MLFLOW_TRACKING_PASSWORD");
  }
  if (status == 403) return PermissionDenied(message);
  if (is_mlflow && status == 404) return NotFound(message);
  if (is_mlflow && status < 500) return FailedPrecondition(message);
  return Unavailable(is_mlflow ? message
                               : http_.url().ToString() +
                                     " does not answer as an MLflow server does: " + said);
}

}  // namespace cyxwiz::cli
