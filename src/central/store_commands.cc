#include "central/store_commands.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/clock.h"
#include "base/file.h"
#include "base/resources.h"
#include "central/replay_command.h"
#include "central/server.h"
#include "central/store_check.h"
#include "central/store_export.h"
#include "central/store_fetch.h"
#include "store/maintenance.h"

namespace cyxwiz::central {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr size_t kWriteBytes = 1 << 16;

struct Arguments {
  std::string data, server, file, output, history;
  bool deep = false, replace = false;
};

int Fail(const Status& status) {
  std::fprintf(stderr, "cyxwiz-central-server: %s\n", status.message().c_str());
  if (!status.hint().empty()) std::fprintf(stderr, "  %s\n", status.hint().c_str());
  return kExitFailed;
}

std::string Plural(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string SizeOf(const std::string& path) {
  std::error_code error;
  auto size = std::filesystem::file_size(path, error);
  return error ? "of unknown size" : FormatBytes(static_cast<int64_t>(size));
}

// A temporary file: gone in the end, unless it was moved.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {}
  ~Temporary() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// What is wrong with a file that is about to be used as a backup.
Status Verify(const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<std::string> damage, store::FindDamage(path));
  if (damage.empty()) return OkStatus();
  return DataLoss("'" + path + "' is not a sound database: " + damage.front(),
                  "see all of it with 'cyxwiz-central-server check', and take another backup");
}

// The database of --data or of --server, copied to `path`.
Status Copy(const Arguments& arguments, const std::string& path) {
  RETURN_IF_ERROR(arguments.server.empty() ? store::CopyDatabase(DatabaseOf(arguments.data), path)
                                           : FetchBackup(arguments.server, path));
  return Verify(path);
}

int Check(const Arguments& arguments) {
  auto report = CheckData(arguments.data, arguments.deep);
  if (!report.ok()) {
    Status status = report.status();
    if (status.code() == Code::kFailedPrecondition &&
        status.message().find("already open") != std::string::npos) {
      status = Status(status.code(), status.message(),
                      "a running server has the database to itself: stop it first, or take a "
                      "backup with 'cyxwiz-central-server backup' and check that");
    }
    return Fail(status);
  }
  for (const std::string& problem : report->problems) std::printf("%s\n", problem.c_str());
  if (report->more_problems > 0)
    std::printf("and %s more\n", std::to_string(report->more_problems).c_str());
  const auto problems = static_cast<int64_t>(report->problems.size()) + report->more_problems;
  if (problems > 0) {
    return Fail(DataLoss("'" + arguments.data + "' is not sound: " + Plural(problems, "problem"),
                         "go back to a backup with 'cyxwiz-central-server restore BACKUP --data "
                         "DIR --replace'; a missing artifact comes back by copying it into place, "
                         "a missing checkpoint only costs time"));
  }
  std::printf("sound: %s, %s, %s", Plural(report->jobs, "job").c_str(),
              Plural(report->nodes, "node").c_str(), Plural(report->events, "event").c_str());
  if (report->files_looked_at) {
    std::printf(", %s%s", Plural(report->files, "file").c_str(),
                arguments.deep ? " with their content" : "");
  }
  std::printf("\n");
  return 0;
}

int BackUp(const Arguments& arguments) {
  Temporary copy(arguments.output + ".new." + std::to_string(::getpid()));
  if (Status copied = Copy(arguments, copy.path()); !copied.ok()) return Fail(copied);
  if (Status moved = MoveIntoPlace(copy.path(), arguments.output); !moved.ok()) return Fail(moved);
  std::printf("%s, %s, checked\n", arguments.output.c_str(), SizeOf(arguments.output).c_str());
  return 0;
}

Status CheckTarget(const Arguments& arguments) {
  std::error_code error;
  if (arguments.replace || !std::filesystem::exists(arguments.data, error)) return OkStatus();
  if (!std::filesystem::is_directory(arguments.data, error))
    return FailedPrecondition("'" + arguments.data + "' is no folder", "name another one");
  if (std::filesystem::is_empty(arguments.data, error) && !error) return OkStatus();
  return FailedPrecondition(
      "the data folder '" + arguments.data + "' is not empty",
      "name an empty one, or give --replace: jobs.db is replaced and put aside as "
      "jobs.db.replaced, artifacts and checkpoints stay");
}

int Restore(const Arguments& arguments) {
  const std::string database = DatabaseOf(arguments.data);
  auto restored = [&]() -> Status {
    RETURN_IF_ERROR(CheckTarget(arguments));
    RETURN_IF_ERROR(Verify(arguments.file));
    RETURN_IF_ERROR(MakeFolder(arguments.data, 0700));
    // With a new key no word of an attempt from before is taken, whatever its number is.
    return store::RestoreSqliteStore(arguments.file, database, {TokenKeyOf(arguments.data)});
  }();
  if (!restored.ok()) return Fail(restored);
  std::printf("%s, from %s\n", database.c_str(), arguments.file.c_str());
  auto report = CheckData(arguments.data, false);
  if (report.ok() && !report->problems.empty()) {
    std::printf("%s that the jobs name are not there; see 'cyxwiz-central-server check %s'\n",
                Plural(static_cast<int64_t>(report->problems.size()), "file").c_str(),
                arguments.data.c_str());
  }
  return 0;
}

// Standard output, or a file that is there whole or not at all.
Status WriteHistory(store::JobStore& store, const std::string& output) {
  const bool to_file = output != "-";
  Temporary temporary(to_file ? output + ".new." + std::to_string(::getpid()) : "");
  UniqueFd file;
  if (to_file) {
    file =
        UniqueFd(::open(temporary.path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return ErrnoStatus("cannot create '" + temporary.path() + "'", errno);
  }
  const int fd = to_file ? file.get() : STDOUT_FILENO;
  std::string waiting;
  auto flush = [&] {
    Status written = WriteAll(fd, waiting);
    waiting.clear();
    return written;
  };
  RETURN_IF_ERROR(ExportHistory(store, ReadClocks().unix, [&](std::string_view line) {
    waiting += line;
    return waiting.size() < kWriteBytes ? OkStatus() : flush();
  }));
  RETURN_IF_ERROR(flush());
  return to_file ? MoveIntoPlace(temporary.path(), output) : OkStatus();
}

int Export(const Arguments& arguments) {
  auto exported = [&]() -> Status {
    if (!arguments.history.empty()) {
      RETURN_IF_ERROR(ExportSegments(arguments.data, arguments.history));
      std::printf("%s\n", arguments.history.c_str());
      return OkStatus();
    }
    if (arguments.server.empty()) {
      std::error_code error;
      bool is_folder = std::filesystem::is_directory(arguments.data, error);
      ASSIGN_OR_RETURN(auto store, store::OpenSqliteStoreToRead(
                                       is_folder ? DatabaseOf(arguments.data) : arguments.data));
      return WriteHistory(*store, arguments.output);
    }
    const char* folder = std::getenv("TMPDIR");
    std::string beside = arguments.output != "-" ? arguments.output
                         : folder != nullptr     ? std::string(folder) + "/cyxwiz-export"
                                                 : "/tmp/cyxwiz-export";
    Temporary copy(beside + ".db." + std::to_string(::getpid()));
    RETURN_IF_ERROR(Copy(arguments, copy.path()));
    ASSIGN_OR_RETURN(auto store, store::OpenSqliteStoreToRead(copy.path()));
    return WriteHistory(*store, arguments.output);
  }();
  return exported.ok() ? 0 : Fail(exported);
}

}  // namespace

bool IsStoreCommand(std::string_view argument) {
  return argument == "check" || argument == "backup" || argument == "restore" ||
         argument == "export" || argument == "replay";
}

int RunStoreCommand(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Looks after the database of a Central Server.", "cyxwiz-central-server");
  app.require_subcommand(1);

  CLI::App* check = app.add_subcommand(
      "check", "Say whether a data folder or a backup is sound; changes nothing. 0: it is");
  check->add_option("DATA", arguments.data, "data folder of a stopped server, or a backup")
      ->required();
  check->add_flag("--deep", arguments.deep, "compare the content of artifacts with their SHA-256");

  CLI::App* backup = app.add_subcommand(
      "backup", "Copy the database of a server that runs, or of a stopped one; checks the copy");
  CLI::App* history =
      app.add_subcommand("export", "Write nodes, jobs, attempts and events as JSON lines");
  for (CLI::App* command : {backup, history}) {
    CLI::Option* server = command->add_option("--server", arguments.server,
                                              "host:port of gRPC of a server that runs");
    command
        ->add_option("--data", arguments.data,
                     command == backup ? "data folder of a stopped server"
                                       : "data folder of a stopped server, or a backup")
        ->excludes(server);
  }
  backup->add_option("-o,--output", arguments.output, "the file to write")->required();
  history->add_option("-o,--output", arguments.output, "the file to write; -: standard output")
      ->default_val("-");

  history
      ->add_option("--history", arguments.history,
                   "write the history of decisions of --data instead, into this new folder: "
                   "decisions.jsonl, and the segments for 'replay'; the server may run")
      ->excludes("--server")
      ->excludes("--output");

  CLI::App* replay = app.add_subcommand(
      "replay", "Go through a history again and compare the decisions. 0: they are the same");
  replay
      ->add_option("PATH", arguments.file,
                   "data folder, folder that 'export --history' wrote, or one segment")
      ->required();

  CLI::App* restore = app.add_subcommand(
      "restore", "Make a backup the database of a data folder, for a server to be started on");
  restore->add_option("BACKUP", arguments.file, "the backup")->required();
  restore->add_option("--data", arguments.data, "the data folder; made when it is not there")
      ->required();
  restore->add_flag("--replace", arguments.replace,
                    "also when the folder is not empty; its database is put aside");

  try {
    app.parse(argc, argv);
    if ((backup->parsed() || history->parsed()) && arguments.server.empty() &&
        arguments.data.empty()) {
      throw CLI::RequiredError("--server HOST:PORT or --data DIR");
    }
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::fprintf(stderr, "cyxwiz-central-server: %s\n  see 'cyxwiz-central-server %s --help'\n",
                 e.what(), argv[1]);
    return kExitUsage;
  }
  if (check->parsed()) return Check(arguments);
  if (backup->parsed()) return BackUp(arguments);
  if (restore->parsed()) return Restore(arguments);
  if (replay->parsed()) {
    Status same = ReplaySegments(arguments.file);
    return same.ok() ? 0 : Fail(same);
  }
  return Export(arguments);
}

}  // namespace cyxwiz::central
