#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

#include "base/file.h"
#include "base/listen_address.h"
#include "base/suggest.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/up.h"
#include "cli/verify.h"
#include "spec/job_array.h"

namespace cyxwiz::cli {
namespace {

constexpr char kExitCodes[] =
    "Exit codes: 0 ok, 2 usage, 3 not found, 4 refused, 6 unreachable, 8 job failed, 9 job "
    "cancelled,\n130 interrupted, 1 other.";

std::shared_ptr<CLI::Formatter> HelpFormatter() {
  auto formatter = std::make_shared<CLI::Formatter>();
  formatter->column_width(24);
  formatter->label("OPTIONS", "FLAGS");
  formatter->label("SUBCOMMAND", "COMMAND");
  formatter->label("Subcommands", "Commands");
  formatter->label("Positionals", "Arguments");
  formatter->label("REQUIRED", "");
  return formatter;
}

// The first argument that is meant as a command; null when there is none.
const std::string* FirstCommand(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--server") {
      ++i;  // its value
    } else if (arguments[i].rfind('-', 0) != 0) {
      return &arguments[i];
    }
  }
  return nullptr;
}

// The command that was given, of a group the one in it.
const CLI::App* Innermost(const CLI::App& app) {
  const CLI::App* innermost = &app;
  while (!innermost->get_subcommands().empty()) innermost = innermost->get_subcommands().front();
  return innermost;
}

// "cyxwiz dataset put"
std::string PathTo(const CLI::App* command) {
  std::string path = command->get_name();
  for (const CLI::App* one = command->get_parent(); one != nullptr; one = one->get_parent())
    path = one->get_name() + " " + path;
  return path;
}

CLI::Validator Port() {
  CLI::Validator port(
      [](std::string& text) {
        auto number = ParseInt(text);
        return number && *number >= 0 && *number <= 65535
                   ? std::string()
                   : "expected a port from 0 to 65535, found '" + text + "'";
      },
      "");
  return port;
}

CLI::Validator HttpUrlCheck() {
  CLI::Validator check(
      [](std::string& text) {
        auto url = ParseHttpUrl(text);
        return url.ok() ? std::string() : url.status().message() + "; " + url.status().hint();
      },
      "");
  return check;
}

int RunVersion(Console& console) {
  if (console.json) {
    console.PrintJson({{"version", CYXWIZ_VERSION}});
  } else {
    console.out << "cyxwiz " << CYXWIZ_VERSION << std::endl;
  }
  return kExitOk;
}

}  // namespace

int RunApp(const std::vector<std::string>& arguments, std::istream& in, Console& console) {
  // Known before parsing, so that an error of usage comes in the right form too.
  console.json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();

  CLI::App app("Trains machine-learning jobs on a fleet of machines.", "cyxwiz");
  app.formatter(HelpFormatter());
  app.require_subcommand(0, 1);
  app.set_help_flag("-h,--help", "Show this help");
  app.set_version_flag("--version", std::string("cyxwiz ") + CYXWIZ_VERSION, "Show the version");
  app.footer(
      std::string(
          "Begin with:\n"
          "  cyxwiz up                                   start a server and a node on this "
          "machine\n"
          "  cyxwiz submit examples/fashion-mnist-mlp.json --wait\n"
          "  cyxwiz COMMAND --help                       what a command does, with examples\n\n") +
      kExitCodes);

  const char* environment = std::getenv("CYXWIZ_SERVER");
  std::string server = environment && *environment ? environment : kDefaultServer;
  bool json = false;
  // The same two flags on the program and on each command: people write them on either side.
  auto add_common = [&](CLI::App* command, bool with_server) {
    if (with_server) {
      command
          ->add_option(
              "--server", server,
              "The Central Server (default: $CYXWIZ_SERVER or " + std::string(kDefaultServer) + ")")
          ->type_name("HOST:PORT");
    }
    command->add_flag("--json", json, "Print JSON for programs instead of text");
  };
  add_common(&app, true);

  std::function<int(const Session&)> run;
  bool needs_server = true;
  CLI::App* of = &app;  // whose command is added
  auto add = [&](const std::string& name, const std::string& description,
                 const std::string& examples, std::function<int(const Session&)> command_run,
                 bool with_server = true) {
    CLI::App* command = of->add_subcommand(name, description);
    command->footer("Examples:\n" + examples);
    command->callback([&run, &needs_server, command_run, with_server] {
      run = command_run;
      needs_server = with_server;
    });
    add_common(command, with_server);
    return command;
  };

  UpOptions up;
  CLI::App* command = add(
      "up", "Start a Central Server and nodes on this machine and keep them running",
      "  cyxwiz up\n"
      "  cyxwiz up --nodes 2 --data /tmp/try\n"
      "  cyxwiz up --grpc-port 0 --rest-port 0 --json      on free ports, for scripts\n\n"
      "Everything listens on 127.0.0.1 only. Ctrl-C stops it all; jobs that wait are kept.",
      [&](const Session& s) { return RunUp(s.console, up); }, /*with_server=*/false);
  command
      ->add_option("--data", up.data,
                   "Folder for jobs, models and logs (default: " + DefaultDataFolder() + ")")
      ->type_name("DIR");
  command
      ->add_option("--nodes", up.nodes, "How many nodes; they share cores and memory (default: 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 64).description(""));
  command
      ->add_option("--grpc-port", up.grpc_port,
                   "Port of the server's gRPC; 0 picks a free one (default: 50051)")
      ->type_name("P")
      ->check(Port());
  command
      ->add_option("--rest-port", up.rest_port,
                   "Port of the server's REST; 0 picks a free one (default: 8080)")
      ->type_name("P")
      ->check(Port());
  command
      ->add_option("--data-root", up.data_roots,
                   "Folder with file:// data sets, besides . and /usr/share/datasets; repeatable")
      ->type_name("DIR")
      ->expected(1)
      ->take_all()
      ->check(CLI::ExistingDirectory.description(""));

  auto add_mlflow = [](CLI::App* of, MlflowOptions* options) {
    CLI::Option* uri =
        of->add_option("--mlflow", options->uri, "Log the job, once it has ended, to this MLflow")
            ->type_name("URI")
            ->check(HttpUrlCheck());
    of->add_option("--mlflow-experiment", options->experiment,
                   "As a run of this experiment (default: $MLFLOW_EXPERIMENT_NAME or cyxwiz)")
        ->type_name("NAME")
        ->needs(uri);
    of->add_flag("--mlflow-insecure", options->insecure,
                 "Allow http:// to another machine, where others can read and change it")
        ->needs(uri);
    return uri;
  };
  SubmitOptions submit;
  command = add(
      "submit", "Submit a job file",
      "  cyxwiz submit examples/fashion-mnist-mlp.json\n"
      "  cyxwiz submit job.json --wait                     show progress until it ends\n"
      "  ID=$(cyxwiz submit job.json)                      standard output is the job's id\n"
      "  cyxwiz submit next.json --after $ID               start it once that one has succeeded\n"
      "  cyxwiz submit job.json --wait --mlflow http://127.0.0.1:5000\n"
      "  generate-job | cyxwiz submit - --json\n\n"
      "docs/reference/job-files.md describes job files. Everything wrong with one is reported "
      "at once.",
      [&](const Session& s) { return RunSubmit(s, submit); });
  command->add_option("FILE", submit.file, "The job as JSON; - reads standard input")
      ->required()
      ->type_name(" ");
  command
      ->add_option("--after", submit.after,
                   "Start only once this job has succeeded; may be given several times")
      ->type_name("ID")
      ->allow_extra_args(false);
  command
      ->add_option("--after-any", submit.after_any,
                   "Start only once this job has ended, well or not; may be given several times")
      ->type_name("ID")
      ->allow_extra_args(false);
  command
      ->add_option(
          "--array", submit.array,
          "Run it so many times, as one array; without a sweep each with a seed of its own")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, spec::kMaxArraySize).description(""));
  command
      ->add_option("--max-parallel", submit.max_parallel,
                   "So many of the array's members at a time at most")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, spec::kMaxArraySize).description(""));
  CLI::Option* wait = command->add_flag("-w,--wait", submit.wait,
                                        "Wait until the job has ended and print its final status");
  add_mlflow(command, &submit.mlflow)->needs(wait);

  auto add_model_options = [](CLI::App* of, ModelOptions* options) {
    of->add_option("ID", options->model, "Id of the job that has trained the model")
        ->required()
        ->type_name(" ");
    of->add_option("--data", options->data,
                   "The data, as in a job file: mock://, file://, dataset://, https:// or s3://")
        ->required()
        ->type_name("URI");
    of->add_option("--name", options->name, "Name for people")->type_name("NAME");
    of->add_flag("-w,--wait", options->wait,
                 "Wait until the job has ended and print its final status");
  };
  EvaluateOptions evaluate;
  command = add(
      "evaluate", "Measure a trained model on data",
      "  cyxwiz evaluate ID --data file:///srv/data/new.csv --wait\n"
      "  cyxwiz evaluate ID --data file:///usr/share/datasets/fashion-mnist --metrics f1,accuracy\n"
      "  cyxwiz evaluate ID --data mock://random_data --wait --json | jq .metrics.test_accuracy\n\n"
      "It is a job of its own: standard output is its id. The test part of the data is taken, or\n"
      "all of data that has none.",
      [&](const Session& s) { return RunEvaluate(s, evaluate); });
  add_model_options(command, &evaluate);
  command
      ->add_option("--metrics", evaluate.metrics,
                   "What to measure beside the loss (default: as at the training)")
      ->type_name("LIST");

  PredictOptions predict;
  command = add(
      "predict", "Write what a trained model says of data",
      "  cyxwiz predict ID --data file:///srv/data/new.csv -o predictions/\n"
      "  cyxwiz predict ID --data mock://random_data --output npy -o predictions/\n"
      "  JOB=$(cyxwiz predict ID --data file:///srv/data/new.csv --output jsonl)\n\n"
      "It is a job of its own. With -o it is waited for and its file fetched; without, standard\n"
      "output is its id, and 'cyxwiz download' fetches the file. docs/how-to/predict.md shows "
      "more.",
      [&](const Session& s) { return RunPredict(s, predict); });
  add_model_options(command, &predict);
  command->add_option("--output", predict.output, "npy, csv or jsonl (default: csv)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"npy", "csv", "jsonl"}).description(""));
  command->add_option("-o,--folder", predict.folder, "Folder to write the predictions to")
      ->type_name("DIR");

  PreprocessOptions preprocess;
  command = add(
      "preprocess", "Read, split and scale data once, and keep the outcome as a data set",
      "  cyxwiz preprocess 'dataset://flats?label=rent&test_split=0.2&normalize=true' --to "
      "flats-ready\n"
      "  cyxwiz preprocess file:///usr/share/datasets/fashion-mnist --to fashion@1 --wait\n\n"
      "It is a job of its own: standard output is its id. What it has made, jobs read as\n"
      "dataset://NAME@VERSION; a training on it sees what it would have seen in the data, bit for "
      "bit.",
      [&](const Session& s) { return RunPreprocess(s, preprocess); });
  command->add_option("URI", preprocess.data, "The data, as in a job file, with its parameters")
      ->required()
      ->type_name(" ");
  command
      ->add_option("--to", preprocess.to,
                   "The data set to make; without a version the server counts on")
      ->required()
      ->type_name("NAME[@V]");
  command->add_option("--name", preprocess.name, "Name of the job, for people")->type_name("NAME");
  command->add_flag("-w,--wait", preprocess.wait,
                    "Wait until the job has ended and print its final status");

  PsOptions ps;
  command = add("ps", "List jobs, newest first",
                "  cyxwiz ps\n"
                "  cyxwiz ps --status running\n"
                "  cyxwiz ps --all --json | jq -r '.jobs[].job_id'",
                [&](const Session& s) { return RunPs(s, ps); });
  command->add_flag("-a,--all", ps.all, "All jobs, not only the newest");
  command
      ->add_option("--status", ps.status,
                   "Only jobs that are pending, running, completed, failed or cancelled")
      ->type_name("STATUS")
      ->check(CLI::IsMember({"pending", "running", "completed", "failed", "cancelled"},
                            CLI::ignore_case)
                  .description(""));
  command->add_option("--user", ps.user, "Only jobs of this user")->type_name("NAME");
  command->add_option("--array", ps.array, "The members of this array that have started")
      ->type_name("ID");
  command->add_option("--limit", ps.limit, "How many at most (default: 50)")
      ->type_name("N")
      ->check(CLI::Range(1, 1000).description(""));
  command
      ->add_option("--page-token", ps.page_token,
                   "Go on after an earlier list (its next_page_token)")
      ->type_name("TOKEN");

  std::string job_id;
  auto add_job_id = [&](CLI::App* of, std::string* target) {
    of->add_option("ID", *target, "Id of the job")->required()->type_name(" ");
  };
  command = add("status", "Show where a job stands",
                "  cyxwiz status ID\n"
                "  cyxwiz status ID --json | jq .metrics.test_accuracy",
                [&](const Session& s) { return RunStatus(s, job_id); });
  add_job_id(command, &job_id);

  WatchOptions watch;
  command =
      add("watch", "Follow a job until it ends",
          "  cyxwiz watch ID\n"
          "  cyxwiz watch ID --json                            one update a line\n"
          "  cyxwiz watch ID --mlflow http://127.0.0.1:5000    of a job that has ended, too\n\n"
          "Ctrl-C ends the watching, not the job. The exit code is 0, 8 (failed) or 9 (cancelled).",
          [&](const Session& s) { return RunWatch(s, watch); });
  add_job_id(command, &watch.job_id);
  add_mlflow(command, &watch.mlflow);

  LogsOptions logs;
  command =
      add("logs", "Print what a job's runner wrote",
          "  cyxwiz logs ID\n"
          "  cyxwiz logs ID -f                                 go on until the job has ended\n"
          "  cyxwiz logs ID --attempt 1                        of an earlier try",
          [&](const Session& s) { return RunLogs(s, logs); });
  add_job_id(command, &logs.job_id);
  command->add_flag("-f,--follow", logs.follow, "Go on printing until the job has ended");
  command->add_option("--attempt", logs.attempt, "Which try of the job (default: the last)")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000).description(""));
  command->add_option("--rank", logs.rank, "Whose log, of a job on several nodes (default: 0)")
      ->type_name("N")
      ->check(CLI::Range(0, 63).description(""));

  CancelOptions cancel;
  command = add("cancel", "Cancel a job, or every job that fits a filter",
                "  cyxwiz cancel ID\n"
                "  cyxwiz cancel ID --reason 'wrong data'\n"
                "  cyxwiz cancel --user ada --status pending\n"
                "  cyxwiz cancel --project vision --type inference\n"
                "  cyxwiz cancel --all",
                [&](const Session& s) {
                  if (cancel.IsBulk() == !cancel.job_id.empty()) {
                    return s.console.FailUsage(cancel.IsBulk()
                                                   ? "an ID and a filter cannot be given together"
                                                   : "which job? Give its ID, a filter, or --all",
                                               "see 'cyxwiz cancel --help'");
                  }
                  return cancel.IsBulk() ? RunCancelJobs(s, cancel) : RunCancel(s, cancel);
                });
  command->add_option("ID", cancel.job_id, "Id of the job")->type_name(" ");
  command->add_flag("--all", cancel.all, "Every job that has not ended");
  command->add_option("--user", cancel.user, "Every job of this user")->type_name("NAME");
  command->add_option("--project", cancel.project, "Every job of this project")->type_name("NAME");
  command
      ->add_option("--type", cancel.type, "Every training, inference, evaluation or preprocessing")
      ->type_name("TYPE")
      ->check(
          CLI::IsMember({"training", "inference", "evaluation", "preprocessing"}, CLI::ignore_case)
              .description(""));
  command->add_option("--status", cancel.status, "Every job that is pending or running")
      ->type_name("STATUS")
      ->check(CLI::IsMember({"pending", "running"}, CLI::ignore_case).description(""));
  command->add_option("--reason", cancel.reason, "Why, for the job's status")->type_name("TEXT");

  command = add("pause", "Take a job out of the queue, or stop it for now", "  cyxwiz pause ID",
                [&](const Session& s) { return RunPause(s, job_id); });
  add_job_id(command, &job_id);
  command = add("resume", "Put a paused job back into the queue", "  cyxwiz resume ID",
                [&](const Session& s) { return RunResume(s, job_id); });
  add_job_id(command, &job_id);
  command = add("retry", "Submit a failed or cancelled job again, as a new one",
                "  cyxwiz retry ID\n"
                "  NEW=$(cyxwiz retry ID)                            standard output is the new id",
                [&](const Session& s) { return RunRetry(s, job_id); });
  add_job_id(command, &job_id);

  PriorityOptions priority;
  command = add("priority", "Change the priority of a job", "  cyxwiz priority ID high",
                [&](const Session& s) { return RunPriority(s, priority); });
  add_job_id(command, &priority.job_id);
  command->add_option("PRIORITY", priority.priority, "low, normal, high or critical")
      ->required()
      ->type_name(" ")
      ->check(CLI::IsMember({"low", "normal", "high", "critical"}).description(""));

  ExplainOptions explain;
  command =
      add("explain", "Say why a job waits, what would start it, and when it is expected to",
          "  cyxwiz explain ID\n"
          "  cyxwiz explain ID --what-if nodes=+1,cpus=16      if there were one more such node\n"
          "  cyxwiz explain ID --at 2026-12-24T18:00:00Z       why it waited then\n"
          "  cyxwiz explain ID --json | jq '.reasons[].code'",
          [&](const Session& s) { return RunExplain(s, explain); });
  add_job_id(command, &explain.job_id);
  command->add_option("--at", explain.at, "Say what the answer was then (default: now)")
      ->type_name("MOMENT");
  auto add_what_if = [](CLI::App* of, std::string* target) {
    of->add_option(
          "--what-if", *target,
          "Suppose more nodes: nodes=+N, with cpus=, memory=, gpus= and gpu_memory= of each")
        ->type_name("CHANGE");
  };
  add_what_if(command, &explain.what_if);

  PlanOptions plan;
  command = add("plan", "Check a job file and say where and when it would start, changing nothing",
                "  cyxwiz plan job.json\n"
                "  cyxwiz plan job.json --what-if nodes=+2",
                [&](const Session& s) { return RunPlan(s, plan); });
  command->add_option("FILE", plan.file, "The job as JSON; - reads standard input")
      ->required()
      ->type_name(" ");
  add_what_if(command, &plan.what_if);

  EventsOptions events;
  command = add("events", "Print what happened to a job, a node, or everything",
                "  cyxwiz events ID\n"
                "  cyxwiz events --node NODE\n"
                "  cyxwiz events -f --json                           everything, as it happens",
                [&](const Session& s) { return RunEvents(s, events); });
  command->add_option("ID", events.job_id, "Id of the job (default: everything)")->type_name(" ");
  command->add_option("--node", events.node_id, "Of this node")->type_name("NODE");
  command->add_option("--after", events.after, "Only events after this number (default: 0)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, INT64_MAX).description(""));
  command->add_flag("-f,--follow", events.follow, "Go on printing what happens");

  CordonOptions cordon, drain, uncordon;
  auto add_cordon_options = [](CLI::App* of, CordonOptions* options) {
    of->add_option("--reason", options->reason, "Why, for the node's status")->type_name("TEXT");
    of->add_option("--from", options->from, "Begin then: 2026-12-24T18:00:00Z (default: now)")
        ->type_name("MOMENT");
    of->add_option("--until", options->until, "End then (default: when it is uncordoned)")
        ->type_name("MOMENT");
  };
  auto add_which = [](CLI::App* of, CordonOptions* options) {
    auto* node = of->add_option("NODE", options->node_id, "Id of the node")->type_name(" ");
    auto* pool = of->add_option("--pool", options->pool, "All nodes of this pool")
                     ->type_name("NAME")
                     ->excludes(node);
    node->excludes(pool);
  };
  command =
      add("cordon", "Give a node no new jobs", "  cyxwiz cordon NODE --reason 'new disk on Friday'",
          [&](const Session& s) { return RunCordon(s, cordon); });
  add_which(command, &cordon);
  add_cordon_options(command, &cordon);
  command =
      add("uncordon", "Give a node jobs again", "  cyxwiz uncordon NODE", [&](const Session& s) {
        uncordon.undo = true;
        return RunCordon(s, uncordon);
      });
  add_which(command, &uncordon);
  command = add("drain", "Give a node no new jobs, and let those it has go elsewhere",
                "  cyxwiz drain NODE --reason 'kernel update'\n"
                "  cyxwiz drain --pool gpu --until 2026-12-24T18:00:00Z",
                [&](const Session& s) {
                  drain.drain = true;
                  return RunCordon(s, drain);
                });
  add_which(command, &drain);
  add_cordon_options(command, &drain);

  command = add("delete", "Delete a job that has ended", "  cyxwiz delete ID",
                [&](const Session& s) { return RunDelete(s, job_id); });
  add_job_id(command, &job_id);

  NodesOptions nodes;
  command = add("nodes", "List nodes and what of them is free",
                "  cyxwiz nodes\n"
                "  cyxwiz nodes --gpus                               what is free of each GPU\n"
                "  cyxwiz nodes --online --json\n"
                "  cyxwiz nodes forget ID                            one that will not come back",
                [&](const Session& s) { return RunNodes(s, nodes); });
  command->add_flag("--online", nodes.online_only, "Only nodes that answer");
  command->add_flag("--gpus", nodes.gpus, "Their GPUs, one by one");
  command->add_option("--pool", nodes.pool, "Only nodes of this pool")->type_name("NAME");
  of = command;
  command = add("forget", "Forget a node that is offline and has no attempts",
                "  cyxwiz nodes forget ID", [&](const Session& s) { return RunNodes(s, nodes); });
  command->add_option("ID", nodes.forget, "Id of the node")->type_name(" ")->required();
  of = &app;

  DownloadOptions download;
  command =
      add("download", "Fetch the trained model and the other files of a job",
          "  cyxwiz download ID                                into a folder named like the job\n"
          "  cyxwiz download ID -o models/mlp\n\n"
          "Each file's SHA-256 is checked; a file that exists is replaced only by a whole one.",
          [&](const Session& s) { return RunDownload(s, download); });
  add_job_id(command, &download.job_id);
  command->add_option("-o,--output", download.folder, "Folder to write to (default: ./ID)")
      ->type_name("DIR");

  ExportOptions exported;
  command = add(
      "export", "Write a trained model in the form of other tools",
      "  cyxwiz export ID                                  ID/model.onnx, for ONNX Runtime\n"
      "  cyxwiz export ID --format torchscript -o models/  model.pt, for PyTorch and libtorch\n"
      "  cyxwiz export models/mlp                          a folder that 'download' has left\n"
      "  cyxwiz export ID --format safetensors -o models/  model.json and weights.safetensors\n\n"
      "ONNX and TorchScript take samples as the data set holds them, in batches of any size.\n"
      "docs/how-to/export.md shows how to run it.",
      [&](const Session& s) { return RunExport(s, exported); });
  command
      ->add_option("SOURCE", exported.source,
                   "Id of a job that has succeeded, or a folder with its files")
      ->required()
      ->type_name(" ");
  command
      ->add_option("--format", exported.format, "onnx, torchscript or safetensors (default: onnx)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"onnx", "torchscript", "safetensors"}).description(""));
  command
      ->add_option("-o,--output", exported.folder,
                   "Folder to write to (default: ./ID, or the source folder)")
      ->type_name("DIR");

  DatasetPutOptions put;
  std::string dataset;
  CLI::App* group = app.add_subcommand("dataset", "Keep data sets on the server, for jobs to read");
  group->require_subcommand(0, 1);
  group->footer(
      "Examples:\n"
      "  cyxwiz dataset put flats.csv                      jobs read it as dataset://flats\n"
      "  cyxwiz dataset ls\n"
      "  cyxwiz dataset rm flats@1\n"
      "  cyxwiz dataset put --help\n\n"
      "docs/how-to/datasets.md shows more.");
  add_common(group, true);
  group->callback([&] {
    if (run) return;
    run = [group](const Session& s) {
      s.console.err << group->help("cyxwiz") << std::flush;
      return static_cast<int>(kExitUsage);
    };
    needs_server = false;
  });
  of = group;
  command = add(
      "put", "Store a file or a folder as a version of a data set",
      "  cyxwiz dataset put flats.csv                      prints flats@1\n"
      "  cyxwiz dataset put photos/ --name trees           a folder a class, say\n"
      "  cyxwiz dataset put flats.csv --version 2026-11\n"
      "  cyxwiz dataset put flats.csv --json | jq -r .uri\n\n"
      "Files that the server has, under whatever name, are not sent again; after a break the same\n"
      "command goes on. A version never changes. What is hidden (.git) is left out.",
      [&](const Session& s) { return RunDatasetPut(s, put); });
  command->add_option("PATH", put.path, "The file or folder")->required()->type_name(" ");
  command->add_option("--name", put.name, "Its name (default: as the path is called)")
      ->type_name("NAME");
  command
      ->add_option("--version", put.version,
                   "Its version (default: the newest if that is the same, else the next number)")
      ->type_name("V");
  command = add("ls", "List the data sets that the server keeps",
                "  cyxwiz dataset ls\n"
                "  cyxwiz dataset ls flats                           its versions, newest first\n"
                "  cyxwiz dataset ls --json | jq -r '.datasets[].name'",
                [&](const Session& s) { return RunDatasetLs(s, dataset); });
  command->add_option("NAME", dataset, "One of them (default: all)")->type_name(" ");
  command = add("rm", "Remove a version of a data set",
                "  cyxwiz dataset rm flats@1\n\n"
                "It is refused while jobs that have not ended need it. Models trained on it stay.",
                [&](const Session& s) { return RunDatasetRm(s, dataset); });
  command->add_option("NAME@VERSION", dataset, "What to remove")->required()->type_name(" ");
  of = &app;

  VerifyOptions verify;
  command = add(
      "verify", "Show that a job which is killed and resumed gives the same weights",
      "  cyxwiz verify examples/fashion-mnist-mlp.json\n"
      "  cyxwiz verify job.json --kills 10 --json\n\n"
      "Trains on this machine, without a server: once without a break, once killed (SIGKILL) at "
      "random\nmoments and resumed from checkpoints; then compares the SHA-256 of the weights.",
      [&](const Session& s) { return RunVerify(s.console, verify); }, /*with_server=*/false);
  command->add_option("FILE", verify.file, "The job as JSON")->required()->type_name(" ");
  command->add_option("--kills", verify.kills, "How often to kill it (default: 3)")
      ->type_name("N")
      ->check(CLI::Range(1, 1000).description(""));
  command->add_option("--cpus", verify.cpus, "Cores for the training (default: 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024).description(""));
  command
      ->add_option("--data-root", verify.data_roots,
                   "Folder with file:// data sets, besides . and /usr/share/datasets; repeatable")
      ->type_name("DIR")
      ->expected(1)
      ->take_all()
      ->check(CLI::ExistingDirectory.description(""));
  command
      ->add_option("--folder", verify.folder,
                   "Folder to work in, which is kept (default: a temporary one)")
      ->type_name("DIR");

  add(
      "version", "Print the version", "  cyxwiz version --json",
      [&](const Session& s) { return RunVersion(s.console); }, /*with_server=*/false);

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  // 'cyxwiz help COMMAND' is 'cyxwiz COMMAND --help'.
  if (const std::string* first = FirstCommand(arguments); first && *first == "help") {
    reversed.erase(std::find(reversed.begin(), reversed.end(), "help"));
    reversed.insert(reversed.begin(), "--help");
  }
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* asked = Innermost(app);
    console.out << asked->help(asked == &app ? "" : PathTo(asked->get_parent())) << std::flush;
    return kExitOk;
  } catch (const CLI::CallForVersion&) {
    return RunVersion(console);
  } catch (const CLI::ParseError& e) {
    const CLI::App* innermost = Innermost(app);
    std::vector<std::string> names;
    for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(one->get_name());
    const std::string* first = FirstCommand(arguments);
    if (innermost == &app && first) {
      std::string nearest = NearestName(*first, names);
      return console.FailUsage("there is no command '" + *first + "'",
                               (nearest.empty() ? "" : "did you mean '" + nearest + "'? ") +
                                   "'cyxwiz --help' lists them all");
    }
    return console.FailUsage(e.what(), "see '" + PathTo(innermost) + " --help'");
  }
  console.json = json;
  if (!run) {
    console.err << app.help() << std::flush;
    return kExitUsage;
  }
  if (needs_server && !IsHostPort(server)) {
    return console.FailUsage("'" + server +
                             "' is no address of a server: expected HOST:PORT, such as " +
                             kDefaultServer);
  }
  return run({console, in, server});
}

}  // namespace cyxwiz::cli
