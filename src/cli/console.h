// Where a command writes and how: text for people, JSON for programs. Standard output carries only
// what was asked for, so that it can be piped; errors, hints and progress go to standard error.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "cyxwiz/protocol/job.pb.h"

namespace cyxwiz::cli {

// Exit codes of every command; documented in docs/reference/cli.md.
enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,        // anything that has no code of its own
  kExitUsage = 2,        // unknown command or flag, value of the wrong form, unreadable job file
  kExitNotFound = 3,     // no such job, node or file
  kExitRefused = 4,      // the server understood and said no
  kExitUnreachable = 6,  // no server answers
  kExitJobFailed = 8,
  kExitJobCancelled = 9,
};

ExitCode ExitCodeOf(Code code);
// Of a job that has ended; kExitOk while it has not.
ExitCode ExitCodeOf(protocol::JobState state);

// One per process; used from the main thread.
class Console {
 public:
  Console(std::ostream& out, std::ostream& err) : out(out), err(err) {}

  // Looks at file descriptors 1 and 2, COLUMNS, NO_COLOR, TERM and the locale.
  void DetectTerminal();

  std::ostream& out;
  std::ostream& err;
  bool json = false;
  bool out_is_terminal = false, err_is_terminal = false;
  bool colour = false;   // on a terminal and not with NO_COLOR
  bool unicode = false;  // whether the locale is UTF-8
  int width = 0;         // columns of the terminal; 0: not a terminal, no line is cut

  // `text` in a colour of the ANSI palette ("31" red, "1" bold, ...), or as it is without colours.
  std::string Paint(const std::string& text, const char* ansi) const;

  // One value on one line of standard output.
  void PrintJson(const Json& value);

  // Says what went wrong (text, or {"error": {...}} with --json) on standard error, problems one a
  // line, and returns the exit code.
  int Fail(const Status& status, const std::vector<protocol::Problem>& problems = {});
  int FailUsage(const std::string& message, const std::string& hint = "");
};

// The error as --json prints it: {"error": {"code", "message", "hint", "problems"}}.
Json ErrorToJson(std::string_view code, const std::string& message, const std::string& hint,
                 const std::vector<protocol::Problem>& problems);
// "  $.model.layers[1].units: units must be positive (expected ..., found -5; hint)"
std::string ProblemLine(const protocol::Problem& problem);

// JSON on one line; bytes that are not UTF-8 are replaced.
std::string DumpJson(const Json& value);

}  // namespace cyxwiz::cli
