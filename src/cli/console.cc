#include "cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "base/text.h"
#include "cli/layout.h"

namespace cyxwiz::cli {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool LocaleIsUtf8() {
  // The order in which the C library looks.
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = Environment(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

int TerminalWidth() {
  if (auto columns = ParseInt(Environment("COLUMNS"));
      columns && *columns > 0 && *columns < 10000) {
    return static_cast<int>(*columns);
  }
  for (int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  return 80;
}

}  // namespace

ExitCode ExitCodeOf(Code code) {
  switch (code) {
    case Code::kOk:
      return kExitOk;
    case Code::kNotFound:
      return kExitNotFound;
    case Code::kInvalidArgument:
    case Code::kFailedPrecondition:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied:
    case Code::kUnauthenticated:
    case Code::kResourceExhausted:
    case Code::kOutOfRange:
    case Code::kUnimplemented:
    case Code::kAborted:
      return kExitRefused;
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
      return kExitUnreachable;
    default:
      return kExitError;
  }
}

ExitCode ExitCodeOf(protocol::JobState state) {
  if (state == protocol::JOB_STATE_FAILED) return kExitJobFailed;
  if (state == protocol::JOB_STATE_CANCELLED) return kExitJobCancelled;
  return kExitOk;
}

void Console::DetectTerminal() {
  out_is_terminal = ::isatty(STDOUT_FILENO);
  err_is_terminal = ::isatty(STDERR_FILENO);
  unicode = LocaleIsUtf8();
  colour = out_is_terminal && Environment("NO_COLOR").empty() && Environment("TERM") != "dumb";
  width = out_is_terminal ? TerminalWidth() : 0;
}

std::string Console::Paint(const std::string& text, const char* ansi) const {
  return colour ? "\x1b[" + std::string(ansi) + "m" + text + "\x1b[0m" : text;
}

std::string DumpJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Console::PrintJson(const Json& value) { out << DumpJson(value) << std::endl; }

std::string ProblemLine(const protocol::Problem& problem) {
  std::string details;
  auto add = [&](const std::string& text) {
    if (!text.empty()) details += (details.empty() ? "" : ", ") + text;
  };
  if (!problem.expected().empty()) add("expected " + problem.expected());
  if (!problem.found().empty()) add("found " + problem.found());
  std::string line = problem.path() + ": " + problem.message();
  if (!details.empty()) line += ": " + details;
  if (!problem.hint().empty()) line += " (" + problem.hint() + ")";
  return Printable(line);
}

Json ErrorToJson(std::string_view code, const std::string& message, const std::string& hint,
                 const std::vector<protocol::Problem>& problems) {
  Json list = Json::array();
  for (const protocol::Problem& problem : problems) {
    list.push_back({{"path", problem.path()},
                    {"message", problem.message()},
                    {"expected", problem.expected()},
                    {"found", problem.found()},
                    {"hint", problem.hint()}});
  }
  Json error = {{"code", code}, {"message", message}, {"problems", list}};
  if (!hint.empty()) error["hint"] = hint;
  return {{"error", error}};
}

int Console::Fail(const Status& status, const std::vector<protocol::Problem>& problems) {
  out.flush();
  if (json) {
    err << DumpJson(ErrorToJson(CodeName(status.code()), status.message(), status.hint(), problems))
        << std::endl;
    return ExitCodeOf(status.code());
  }
  err << "cyxwiz: " << Printable(status.message()) << "\n";
  for (const protocol::Problem& problem : problems) err << "  " << ProblemLine(problem) << "\n";
  if (!status.hint().empty()) err << "  " << Printable(status.hint()) << "\n";
  err.flush();
  return ExitCodeOf(status.code());
}

int Console::FailUsage(const std::string& message, const std::string& hint) {
  if (json) {
    err << DumpJson(ErrorToJson("USAGE", message, hint, {})) << std::endl;
    return kExitUsage;
  }
  err << "cyxwiz: " << Printable(message) << "\n";
  if (!hint.empty()) err << "  " << Printable(hint) << "\n";
  err.flush();
  return kExitUsage;
}

}  // namespace cyxwiz::cli
