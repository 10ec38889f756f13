// The commands that speak to a Central Server. Each returns the exit code of the process.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/client.h"
#include "cli/console.h"
#include "cli/mlflow.h"

namespace cyxwiz::cli {

// What every command is given. The references outlive the command.
struct Session {
  Console& console;
  std::istream& in;
  std::string server;  // host:port
};

struct SubmitOptions {
  std::string file;                           // "-": standard input
  std::vector<std::string> after, after_any;  // ids of jobs that must end first
  int64_t array = 0, max_parallel = 0;        // 0: as the file says
  bool wait = false;
  MlflowOptions mlflow;
};
struct WatchOptions {
  std::string job_id;
  MlflowOptions mlflow;
};
struct PsOptions {
  bool all = false;    // every page
  std::string status;  // "", "pending", "running", "completed", "failed", "cancelled"
  std::string user;
  std::string array;  // its members; empty: arrays and jobs that are no members
  int limit = 50;
  std::string page_token;
};
struct LogsOptions {
  std::string job_id;
  int attempt = 0;  // 0: current or last
  int rank = 0;     // of a job on several nodes
  bool follow = false;
};
struct CancelOptions {
  std::string job_id, reason;
  // Instead of a job_id: every job that fits.
  bool all = false;
  std::string user, project;
  std::string status;  // "", "pending", "running"
  std::string type;    // "", "training", "inference", ...
  bool IsBulk() const {
    return all || !user.empty() || !project.empty() || !status.empty() || !type.empty();
  }
};
struct PriorityOptions {
  std::string job_id, priority;  // "low", "normal", "high", "critical"
};
struct ExplainOptions {
  std::string job_id, what_if;  // "nodes=+1,cpus=16"
  std::string at;               // a moment; empty: now
};
struct PlanOptions {
  std::string file, what_if;
};
struct EventsOptions {
  std::string job_id, node_id;  // both empty: of everything
  int64_t after = 0;
  bool follow = false;
};
struct CordonOptions {
  std::string node_id, pool;  // one of them: a node, or all of a pool
  std::string reason;
  std::string from, until;  // moments; empty: now, and until it is undone
  bool drain = false;
  bool undo = false;
};
struct NodesOptions {
  bool online_only = false;
  bool gpus = false;   // one by one
  std::string pool;    // empty: all
  std::string forget;  // the node to be forgotten; empty: they are listed
};
struct DownloadOptions {
  std::string job_id;
  std::string folder;  // empty: a folder named like the job
};

struct ExportOptions {
  std::string source;           // id of a job, or a folder
  std::string format = "onnx";  // "onnx", "torchscript", "safetensors"
  std::string folder;           // empty: a folder named like the job, or the source
};

struct PreprocessOptions {
  std::string data;  // URI
  std::string to;    // "name" or "name@version"
  std::string name;
  bool wait = false;
};

struct DatasetPutOptions {
  std::string path;     // a file or a folder
  std::string name;     // empty: as the path is called
  std::string version;  // empty: the server counts on
};

// What runs a trained model on data.
struct ModelOptions {
  std::string model;  // id of the job that has left it
  std::string data;   // URI
  std::string name;
  bool wait = false;
};
struct EvaluateOptions : ModelOptions {
  std::string metrics;  // "f1, auc"; empty: those of the training
};
struct PredictOptions : ModelOptions {
  std::string output = "csv";  // "npy", "csv", "jsonl"
  std::string folder;          // empty: the predictions stay on the server
};

int RunSubmit(const Session& session, const SubmitOptions& options);
int RunEvaluate(const Session& session, const EvaluateOptions& options);
int RunPredict(const Session& session, const PredictOptions& options);
int RunPs(const Session& session, const PsOptions& options);
int RunStatus(const Session& session, const std::string& job_id);
int RunWatch(const Session& session, const WatchOptions& options);
int RunLogs(const Session& session, const LogsOptions& options);
int RunCancel(const Session& session, const CancelOptions& options);
int RunCancelJobs(const Session& session, const CancelOptions& options);
int RunPause(const Session& session, const std::string& job_id);
int RunResume(const Session& session, const std::string& job_id);
int RunPriority(const Session& session, const PriorityOptions& options);
int RunRetry(const Session& session, const std::string& job_id);
int RunExplain(const Session& session, const ExplainOptions& options);
int RunPlan(const Session& session, const PlanOptions& options);
int RunEvents(const Session& session, const EventsOptions& options);
int RunCordon(const Session& session, const CordonOptions& options);
int RunDelete(const Session& session, const std::string& job_id);
int RunNodes(const Session& session, const NodesOptions& options);
int RunDownload(const Session& session, const DownloadOptions& options);
int RunExport(const Session& session, const ExportOptions& options);
int RunPreprocess(const Session& session, const PreprocessOptions& options);
int RunDatasetPut(const Session& session, const DatasetPutOptions& options);
int RunDatasetLs(const Session& session, const std::string& name);
int RunDatasetRm(const Session& session, const std::string& full_name);

// Reads a job file ("-": standard input) into a configuration, or says what is wrong with it and
// returns the exit code.
int ReadJob(const Session& session, const std::string& file, protocol::JobConfig* config);

// Says that the server has refused a job, or cannot be asked, and returns the exit code.
int FailRefused(Console& console, const Status& status,
                const std::vector<protocol::Problem>& problems);

// Submits a job, or says why it was refused and returns the exit code.
int Accept(const Session& session, Client* client, const protocol::JobConfig& config,
           protocol::SubmitJobResponse* response);
// Submits a job and prints its id; with `wait` follows it, prints its final status instead and logs
// it where `mlflow` says.
int Submit(const Session& session, const protocol::JobConfig& config, bool wait,
           const MlflowOptions& mlflow = {});
// Logs a job that was followed to its end, with that exit code, and says where its run is. Returns
// the exit code of both.
int LogToMlflow(const Session& session, const Mlflow& mlflow, Client* client,
                const std::string& job_id, int code);
// Follows a job as submit --wait does. One that has not succeeded has its final status printed.
int FollowToEnd(const Session& session, Client* client, const std::string& job_id);

// Shows a job's progress until it ends or the user interrupts, and returns the exit code of its end
// (130 when interrupted). print_updates: whether progress is what the command prints (watch: on
// standard output, with --json every update) or comes beside it (submit --wait: on standard error,
// with --json not at all).
int FollowJob(const Session& session, Client* client, const std::string& job_id,
              bool print_updates);

// The final status as submit --wait and status print it: the fields of JobStatus, with `result`
// once there is one.
Json StatusToJson(const protocol::GetJobStatusResponse& response);
// The same for people.
std::string StatusToText(const protocol::GetJobStatusResponse& response, const Console& console,
                         int64_t now_seconds);

// `server` as a flag to repeat in a suggested command: " --server host:port", or nothing when
// it is implied.
std::string ServerFlag(const std::string& server);

inline constexpr char kDefaultServer[] = "127.0.0.1:50051";

}  // namespace cyxwiz::cli
