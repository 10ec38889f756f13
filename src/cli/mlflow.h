// Jobs as runs of an MLflow server, over its REST API
// (https://mlflow.org/docs/latest/api_reference/rest-api.html).
//
//   a job                  a run of the experiment, named like the job; tag cyxwiz.job_id: its id
//   an array               a run, with those of its members nested in it
//   hyperparameters        params, beside dataset
//   metrics of an epoch    metrics, at the step of the optimizer; the final ones at the last step
//   files                  artifacts
//
// A job that is logged again goes to the run that it has: nothing is there twice.
#pragma once

#include <string>

#include "base/json.h"
#include "cli/client.h"
#include "cli/http_client.h"

namespace cyxwiz::cli {

struct MlflowOptions {
  std::string uri;         // empty: nothing is logged
  std::string experiment;  // empty: $MLFLOW_EXPERIMENT_NAME, else "cyxwiz"
  bool insecure = false;   // whether http:// may lead to another machine
};

class Mlflow {
 public:
  // Finds the experiment, and makes it when there is none. The server's user or token are those of
  // $MLFLOW_TRACKING_TOKEN, or of $MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD.
  // FAILED_PRECONDITION where what is sent could be read or changed by others.
  static Result<Mlflow> Open(const MlflowOptions& options);

  // Logs a job that has ended; the address of its run's page.
  Result<std::string> Log(Client* client, const std::string& job_id) const;

 private:
  struct Run {
    std::string id;
    std::string artifacts;  // where its files go: a URI
  };

  explicit Mlflow(HttpClient http) : http_(std::move(http)) {}

  // Calls a method of the API; what it answers.
  Result<Json> Post(const std::string& method, const Json& body) const;
  Result<Json> Get(const std::string& method) const;
  Result<Json> Answer(const std::string& method, Result<HttpResponse> response) const;

  Status FindExperiment(const std::string& name);
  Result<Run> FindRun(const protocol::JobStatus& job, const std::string& parent) const;
  // parent: id of the run in which it is nested; empty: none.
  Result<Run> LogJob(Client* client, const protocol::GetJobStatusResponse& job,
                     const std::string& parent) const;
  Status LogMembers(Client* client, const std::string& array_id, const Run& parent) const;
  Status LogFile(const Run& run, const std::string& name, const std::string& path) const;

  HttpClient http_;
  std::string experiment_;  // its id
};

}  // namespace cyxwiz::cli
