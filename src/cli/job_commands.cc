// cyxwiz submit, ps, status, cancel, delete.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/job_follower.h"
#include "cli/layout.h"
#include "cli/progress_view.h"
#include "spec/dataset_reference.h"
#include "spec/job_file.h"
#include "wire/job_config.h"
#include "wire/json.h"

namespace cyxwiz::cli {
namespace {

constexpr size_t kMostJobFileBytes = spec::kMaxJobFileBytes;

int64_t NowSeconds() { return ReadClocks().unix.seconds(); }

std::vector<protocol::Problem> ToWire(const spec::Problems& problems) {
  std::vector<protocol::Problem> list;
  for (const spec::Problem& problem : problems.list()) {
    protocol::Problem& wire = list.emplace_back();
    wire.set_path(problem.path);
    wire.set_message(problem.message);
    wire.set_expected(problem.expected);
    wire.set_found(problem.found);
    wire.set_hint(problem.hint);
  }
  return list;
}

std::string Count(size_t problems) {
  return std::to_string(problems) + (problems == 1 ? " problem" : " problems");
}

Result<std::string> ReadJobFile(const Session& session, const std::string& file) {
  if (file != "-") return ReadFile(file, kMostJobFileBytes);
  std::string text;
  char buffer[1 << 16];
  while (session.in.read(buffer, sizeof buffer) || session.in.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(session.in.gcount()));
    if (text.size() > kMostJobFileBytes) {
      return ResourceExhausted("standard input holds more than " + FormatBytes(kMostJobFileBytes));
    }
  }
  return text;
}

std::string Time(int64_t unix_seconds, int64_t now) {
  if (unix_seconds <= 0) return "-";
  char text[32];
  std::time_t time = unix_seconds;
  std::tm parts{};
  ::localtime_r(&time, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return std::string(text) + " (" + FormatAge(now - unix_seconds) + " ago)";
}

// The states that each word of ps --status stands for, as the wire groups them.
protocol::StatusCode StatusFilter(const std::string& word) {
  if (word == "pending") return protocol::STATUS_PENDING;
  if (word == "running") return protocol::STATUS_IN_PROGRESS;
  if (word == "completed") return protocol::STATUS_COMPLETED;
  if (word == "failed") return protocol::STATUS_FAILED;
  if (word == "cancelled") return protocol::STATUS_CANCELLED;
  return protocol::STATUS_UNKNOWN;
}

int PrintStatus(const Session& session, Client* client, const std::string& job_id) {
  Console& console = session.console;
  auto response = client->GetJobStatus(job_id);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson(StatusToJson(*response));
  } else {
    console.out << StatusToText(*response, console, NowSeconds()) << std::flush;
  }
  return kExitOk;
}

}  // namespace

std::string ServerFlag(const std::string& server) {
  const char* environment = std::getenv("CYXWIZ_SERVER");
  bool implied = server == (environment && *environment ? environment : kDefaultServer);
  return implied ? "" : " --server " + server;
}

Json StatusToJson(const protocol::GetJobStatusResponse& response) {
  Json json = wire::ToJson(response.status());
  if (response.has_result()) json["result"] = wire::ToJson(response.result());
  return json;
}

// "3 running, 7 waiting, 90 succeeded"
std::string ArrayText(const protocol::ArrayCounts& counts) {
  std::string text;
  auto add = [&text](int64_t number, const char* what) {
    if (number > 0) text += (text.empty() ? "" : ", ") + std::to_string(number) + " " + what;
  };
  add(counts.running(), "running");
  add(counts.waiting(), "waiting");
  add(counts.succeeded(), "succeeded");
  add(counts.failed(), "failed");
  add(counts.cancelled(), "cancelled");
  return text;
}

std::string StatusToText(const protocol::GetJobStatusResponse& response, const Console& console,
                         int64_t now) {
  const protocol::JobStatus& status = response.status();
  std::string text;
  auto line = [&](const std::string& name, const std::string& value) {
    if (value.empty()) return;
    text += console.Paint(name, "1") + std::string(name.size() < 11 ? 11 - name.size() : 1, ' ') +
            Printable(value) + "\n";
  };
  line("Job", status.job_id());
  line("Name", status.name());
  if (status.job_type() == protocol::JOB_TYPE_EVALUATION) line("Type", "evaluation");
  if (status.job_type() == protocol::JOB_TYPE_INFERENCE) line("Type", "inference");
  line("Model from", response.config().model_from().job_id());
  std::string state = StateWord(status.state());
  if (status.attempt() > 0) {
    state += ", attempt " + std::to_string(status.attempt());
    if (!status.current_node_id().empty()) state += " on " + status.current_node_id();
  }
  line("State", state);
  if (status.gpus_size() > 0) line("GPUs", ToString(GpusFromWire(status.gpus())));
  if (status.rank_nodes_size() > 0) {
    std::string nodes;
    for (const std::string& node : status.rank_nodes()) nodes += (nodes.empty() ? "" : ", ") + node;
    line("Ranks", nodes);
  }
  if (!IsFinal(status.state()) || status.state() != protocol::JOB_STATE_SUCCEEDED)
    line("Why", status.message());
  // The message says the first of several reasons.
  if (status.reasons_size() > 1) {
    for (const protocol::Reason& reason : status.reasons()) {
      std::string nodes;
      for (const std::string& node : reason.nodes()) nodes += (nodes.empty() ? " (" : ", ") + node;
      line("", reason.message() + nodes + (nodes.empty() ? "" : ")"));
    }
  }
  if (status.has_smallest_change()) line("Would start", "if: " + status.smallest_change());
  if (status.has_queue_position())
    line("Place", std::to_string(status.queue_position()) + " of those that wait");
  if (status.has_estimated_start_time()) {
    line("Expected", "in " + FormatDuration(std::chrono::seconds(
                                 std::max<int64_t>(0, status.estimated_start_time() - now))));
  }
  if (status.has_array()) {
    line("Members", std::to_string(status.array().size()) + ": " + ArrayText(status.array()));
  }
  if (status.error().message() != status.message()) line("Error", status.error().message());
  if (!status.error().details().empty())
    text += PrintableLines(status.error().details(), "\n  ").substr(1) + "\n";
  if (status.total_epochs() > 0) {
    line("Progress", FormatPercent(status.progress())
                             .substr(FormatPercent(status.progress()).find_first_not_of(' ')) +
                         ", epoch " + std::to_string(status.current_epoch()) + " of " +
                         std::to_string(status.total_epochs()));
  } else if (status.progress() > 0) {
    line("Progress", std::to_string(static_cast<int>(status.progress() * 100)) + " %");
  }
  line("Submitted", Time(status.created_at(), now));
  if (status.start_time() > 0) line("Started", Time(status.start_time(), now));
  if (status.end_time() > 0) {
    std::string after =
        status.start_time() > 0
            ? ", ran " +
                  FormatDuration(std::chrono::seconds(status.end_time() - status.start_time()))
            : "";
    line("Ended", Time(status.end_time(), now) + after);
  }
  if (status.retries() > 0) line("Retries", std::to_string(status.retries()));
  if (!status.metrics().empty()) {
    std::vector<std::pair<std::string, double>> metrics(status.metrics().begin(),
                                                        status.metrics().end());
    std::sort(metrics.begin(), metrics.end());
    text += console.Paint("Metrics", "1") + "\n";
    for (const auto& [name, value] : metrics) {
      text += "  " + Printable(name) + std::string(name.size() < 22 ? 22 - name.size() : 1, ' ') +
              FormatNumber(value) + "\n";
    }
  }
  if (response.result().artifacts_size() > 0) {
    text += console.Paint("Files", "1") + "\n";
    Table files({{""}, {"", true}, {""}});
    for (const protocol::Artifact& artifact : response.result().artifacts()) {
      files.Add(
          {{artifact.name()}, {FormatBytes(artifact.size())}, {"sha256 " + artifact.sha256()}});
    }
    std::string table = files.ToString(0, console.unicode, false);
    table.erase(0, table.find('\n') + 1);  // this table has no titles
    text += PrintableLines(table, "\n  ").substr(1) + "\n";
  }
  return text;
}

int ReadJob(const Session& session, const std::string& path, protocol::JobConfig* config) {
  Console& console = session.console;
  Result<std::string> text = ReadJobFile(session, path);
  if (text.status().code() == Code::kResourceExhausted) return console.Fail(text.status());
  if (!text.ok())
    return console.FailUsage("the job file could not be read: " + text.status().message());
  spec::Problems problems;
  std::optional<spec::JobFile> file = spec::ParseJobFile(*text, &problems);
  if (!file || !problems.empty()) {
    std::string name = path == "-" ? "standard input" : "'" + path + "'";
    return console.Fail(InvalidArgument(name + " is not a valid job: " + Count(problems.count()),
                                        "docs/reference/job-files.md describes job files"),
                        ToWire(problems));
  }
  *config = ConfigFromJobFile(*file);
  return kExitOk;
}

int RunSubmit(const Session& session, const SubmitOptions& options) {
  protocol::JobConfig config;
  if (int code = ReadJob(session, options.file, &config); code != kExitOk) return code;
  for (const std::string& id : options.after) config.add_after()->set_job_id(id);
  for (const std::string& id : options.after_any) {
    protocol::Dependency* dependency = config.add_after();
    dependency->set_job_id(id);
    dependency->set_condition(protocol::AFTER_ANY_END);
  }
  if (options.array > 0) config.mutable_array()->set_size(options.array);
  if (options.max_parallel > 0) config.mutable_array()->set_max_parallel(options.max_parallel);
  return Submit(session, config, options.wait, options.mlflow);
}

int FailRefused(Console& console, const Status& status,
                const std::vector<protocol::Problem>& problems) {
  if (problems.empty()) return console.Fail(status);
  // The server's sentence repeats the problems.
  return console.Fail(
      Status(status.code(), "the job was refused: " + Count(problems.size()), status.hint()),
      problems);
}

int Accept(const Session& session, Client* client, const protocol::JobConfig& config,
           protocol::SubmitJobResponse* response) {
  std::vector<protocol::Problem> problems;
  auto answer = client->SubmitJob(config, &problems);
  if (!answer.ok()) return FailRefused(session.console, answer.status(), problems);
  *response = std::move(*answer);
  return kExitOk;
}

int Submit(const Session& session, const protocol::JobConfig& config, bool wait,
           const MlflowOptions& mlflow_options) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  // Before the job is there: what is wrong shall not be found out when it has ended.
  std::optional<Mlflow> mlflow;
  if (!mlflow_options.uri.empty()) {
    auto opened = Mlflow::Open(mlflow_options);
    if (!opened.ok()) return console.Fail(opened.status());
    mlflow = std::move(*opened);
  }
  protocol::SubmitJobResponse response;
  if (int code = Accept(session, client->get(), config, &response); code != kExitOk) return code;
  const std::string& job_id = response.job_id();
  if (wait) {
    int code = FollowToEnd(session, client->get(), job_id);
    if (code == kExitOk) code = PrintStatus(session, client->get(), job_id);
    return mlflow ? LogToMlflow(session, *mlflow, client->get(), job_id, code) : code;
  }
  if (console.json) {
    console.PrintJson({{"job_id", job_id},
                       {"status", protocol::StatusCode_Name(response.status())},
                       {"assigned_node_id", response.assigned_node_id()}});
    return kExitOk;
  }
  console.out << job_id << std::endl;
  if (response.assigned_node_id().empty()) {
    auto status = (*client)->GetJobStatus(job_id);
    if (status.ok() && !status->status().message().empty() && !IsFinal(status->status().state())) {
      console.err << StateWord(status->status().state()) << ": "
                  << Printable(status->status().message()) << "\n";
    }
  } else {
    console.err << "Assigned to " << response.assigned_node_id() << "\n";
  }
  if (!config.output_dataset().empty()) {
    auto status = (*client)->GetJobStatus(job_id);
    if (status.ok())
      console.err << "It makes " << spec::kDatasetScheme << status->config().output_dataset()
                  << "\n";
  }
  const bool trains = config.job_type() == protocol::JOB_TYPE_TRAINING;
  console.err << "  cyxwiz watch " << job_id << ServerFlag(session.server) << "   to "
              << (trains ? "see it train" : "follow it") << "\n";
  return kExitOk;
}

int FollowToEnd(const Session& session, Client* client, const std::string& job_id) {
  Console& console = session.console;
  if (!console.json) console.err << "Job " << job_id << "\n";
  int code = FollowJob(session, client, job_id, /*print_updates=*/false);
  if (code != kExitJobFailed && code != kExitJobCancelled) return code;
  int printed = PrintStatus(session, client, job_id);
  return printed == kExitOk ? code : printed;
}

int RunStatus(const Session& session, const std::string& job_id) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  return PrintStatus(session, client->get(), job_id);
}

int RunPs(const Session& session, const PsOptions& options) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::ListJobsRequest request;
  request.set_page_size(options.all ? 1000 : options.limit);
  request.set_page_token(options.page_token);
  request.set_filter_status(StatusFilter(options.status));
  request.set_user_id(options.user);
  request.set_array_id(options.array);
  protocol::ListJobsResponse list;
  do {
    auto page =
        (*client)->Call((*client)->jobs(), &protocol::JobService::StubInterface::ListJobs, request);
    if (!page.ok()) return console.Fail(page.status());
    list.set_next_page_token(page->next_page_token());
    list.set_total_count(page->total_count());
    list.mutable_jobs()->MergeFrom(page->jobs());
    request.set_page_token(page->next_page_token());
  } while (options.all && !list.next_page_token().empty());
  if (console.json) {
    console.PrintJson(wire::ToJson(list));
    return kExitOk;
  }
  if (list.jobs().empty()) {
    if (options.status.empty() && options.user.empty()) {
      console.err << "No jobs yet: cyxwiz submit FILE\n";
    } else {
      console.err << "No " << options.status << (options.status.empty() ? "" : " ") << "jobs"
                  << (options.user.empty() ? "" : " of user '" + Printable(options.user) + "'")
                  << "\n";
    }
    return kExitOk;
  }
  int64_t now = NowSeconds();
  Table table({{"ID"},
               {"NAME", false, true},
               {"STATE"},
               {"PROGRESS", true},
               {"NODE", false, true},
               {"AGE", true},
               {"MESSAGE", false, true}});
  for (const protocol::JobStatus& job : list.jobs()) {
    std::string progress = FormatPercent(job.progress());
    // A finished job needs no message: its state says it all.
    std::string message =
        job.state() == protocol::JOB_STATE_SUCCEEDED || job.state() == protocol::JOB_STATE_RUNNING
            ? ""
            : (job.error().message().empty() ? job.message() : job.error().message());
    if (job.has_array()) {
      const std::string counts = ArrayText(job.array());
      message = message.empty() ? counts : counts + "; " + message;
    }
    table.Add({{job.job_id()},
               {job.name()},
               {StateWord(job.state()), StateColour(job.state())},
               {progress},
               {job.current_node_id().empty() ? "-" : job.current_node_id()},
               {FormatAge(now - job.created_at())},
               {message}});
  }
  console.out << table.ToString(console.width, console.unicode, console.colour) << std::flush;
  int64_t more = list.total_count() - list.jobs_size();
  if (!list.next_page_token().empty()) {
    std::string filter;
    for (const auto& [flag, value] : {std::pair(" --status ", options.status),
                                      {" --user ", options.user},
                                      {" --array ", options.array}}) {
      if (!value.empty()) filter += flag + Printable(value);
    }
    console.err << (more > 0 ? std::to_string(more) + " more: " : "more: ") << "cyxwiz ps" << filter
                << " --all, or --page-token " << list.next_page_token() << "\n";
  }
  return kExitOk;
}

int RunCancel(const Session& session, const CancelOptions& options) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::CancelJobRequest request;
  request.set_job_id(options.job_id);
  request.set_reason(options.reason);
  auto response =
      (*client)->Call((*client)->jobs(), &protocol::JobService::StubInterface::CancelJob, request);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson({{"job_id", options.job_id},
                       {"status", protocol::StatusCode_Name(response->status())},
                       {"state", protocol::JobState_Name(response->state())}});
  } else if (response->state() == protocol::JOB_STATE_CANCELLED) {
    console.out << "Cancelled " << options.job_id << std::endl;
  } else {
    console.out << "Cancelling " << options.job_id << ": it ends when its processes have"
                << std::endl;
  }
  return kExitOk;
}

int RunDelete(const Session& session, const std::string& job_id) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::DeleteJobRequest request;
  request.set_job_id(job_id);
  auto response =
      (*client)->Call((*client)->jobs(), &protocol::JobService::StubInterface::DeleteJob, request);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson(
        {{"job_id", job_id}, {"status", protocol::StatusCode_Name(response->status())}});
  } else {
    console.out << "Deleted " << job_id << std::endl;
  }
  return kExitOk;
}

}  // namespace cyxwiz::cli
