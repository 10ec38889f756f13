// cyxwiz logs.
#include <chrono>
#include <thread>

#include "base/resources.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/job_follower.h"
#include "cli/progress_view.h"

namespace cyxwiz::cli {
namespace {

constexpr auto kRetryPause = std::chrono::milliseconds(500);

// Prints chunks as they come. Text passes as it is; with --json each line of the log becomes an
// object
// {"attempt", "offset", "data"} as soon as it is whole.
class LogPrinter {
 public:
  explicit LogPrinter(Console& console) : console_(console) {}
  ~LogPrinter() { Finish(); }

  void Print(const protocol::LogChunk& chunk) {
    if (chunk.kept_by_server()) {
      Remark(
          "the node that keeps the log is away; these are the last lines, which the server has "
          "kept");
    } else if (chunk.dropped() > 0) {
      Remark(FormatBytes(chunk.dropped()) + " of the log were dropped here, over its size limit");
    }
    if (!console_.json) {
      console_.out << chunk.data() << std::flush;
      ends_with_newline_ = chunk.data().empty() ? ends_with_newline_ : chunk.data().back() == '\n';
      return;
    }
    if (line_.empty()) line_offset_ = chunk.offset();
    attempt_ = chunk.attempt();
    line_ += chunk.data();
    size_t begin = 0;
    for (size_t end; (end = line_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      PrintLine(line_.substr(begin, end - begin), line_offset_ + static_cast<int64_t>(begin));
    }
    line_.erase(0, begin);
    line_offset_ += static_cast<int64_t>(begin);
  }

  // The last line of an attempt may have no line end.
  void Finish() {
    if (console_.json) {
      if (!line_.empty()) PrintLine(std::exchange(line_, ""), line_offset_);
    } else if (!std::exchange(ends_with_newline_, true) && console_.out_is_terminal) {
      console_.out << std::endl;
    }
  }

 private:
  // Between what was printed and what follows.
  void Remark(const std::string& text) {
    Finish();
    console_.out.flush();
    console_.err << "cyxwiz: " << text << std::endl;
  }

  void PrintLine(const std::string& line, int64_t offset) {
    console_.PrintJson({{"attempt", attempt_}, {"offset", offset}, {"data", line}});
  }

  Console& console_;
  std::string line_;
  int64_t line_offset_ = 0;
  int attempt_ = 0;
  bool ends_with_newline_ = true;
};

// Waits until the job has an attempt after `attempt` (then its number), or has ended without one
// (then 0).
Result<int> NextAttempt(Client* client, const std::string& job_id, int attempt) {
  JobFollower follower(client, job_id);
  for (;;) {
    for (const JobFollower::Event& event : follower.Wait()) {
      if (event.kind == JobFollower::Event::Kind::kEnd)
        return event.status.ok() ? Result<int>(0) : event.status;
      const protocol::JobStatus& status = event.update.status();
      bool started = status.state() == protocol::JOB_STATE_RUNNING || IsFinal(status.state());
      if (event.kind == JobFollower::Event::Kind::kUpdate && status.attempt() > attempt &&
          started) {
        return static_cast<int>(status.attempt());
      }
    }
  }
}

}  // namespace

int RunLogs(const Session& session, const LogsOptions& options) {
  Console& console = session.console;
  auto connected = Client::Connect(session.server);
  if (!connected.ok()) return console.Fail(connected.status());
  Client& client = **connected;
  LogPrinter printer(console);
  protocol::ReadLogRequest request;
  request.set_job_id(options.job_id);
  request.set_attempt(options.attempt);
  request.set_rank(options.rank);
  request.set_follow(options.follow);
  // Without a number the log of a job that is tried again goes on with the next attempt.
  bool all_attempts = options.follow && options.attempt == 0;
  if (options.follow) {
    auto first = client.GetJobStatus(options.job_id);
    if (!first.ok()) return console.Fail(first.status());
    int current = options.attempt ? options.attempt : first->status().attempt();
    if (current == 0 || (all_attempts && first->status().state() == protocol::JOB_STATE_ASSIGNED)) {
      if (IsFinal(first->status().state())) return kExitOk;  // never started: nothing was written
      console.err << "cyxwiz: the job has not started yet ("
                  << Printable(StateWord(first->status().state()) +
                               (": " + first->status().message()))
                  << "); waiting" << std::endl;
      auto started = NextAttempt(&client, options.job_id, std::max(0, current - 1));
      if (!started.ok()) return console.Fail(started.status());
      if (*started == 0) return kExitOk;
      current = *started;
    }
    request.set_attempt(current);
  }
  MonotonicTime lost_at = MonotonicTime::Never();
  for (;;) {
    grpc::ClientContext context;
    auto reader = client.logs().ReadLog(&context, request);
    protocol::LogChunk chunk;
    while (reader->Read(&chunk)) {
      lost_at = MonotonicTime::Never();
      printer.Print(chunk);
      request.set_offset(chunk.offset() + static_cast<int64_t>(chunk.data().size()));
    }
    Status status = FromGrpc(reader->Finish());
    MonotonicTime now = ReadClocks().monotonic;
    if (status.code() == Code::kUnavailable && options.follow) {
      // The server or the node went away. When the job moves on to another attempt, so does its
      // log.
      if (lost_at == MonotonicTime::Never()) lost_at = now;
      if (now - lost_at > JobFollower::kPatience) return console.Fail(status);
      std::this_thread::sleep_for(kRetryPause);
      auto job = client.GetJobStatus(options.job_id);
      if (job.ok() && IsFinal(job->status().state()) &&
          job->status().attempt() == request.attempt()) {
        return console.Fail(status);
      }
      if (!job.ok() || job->status().attempt() == request.attempt()) continue;
      if (!all_attempts) return console.Fail(status);
      status = OkStatus();
    }
    if (!status.ok()) return console.Fail(status);
    printer.Finish();
    if (!all_attempts) return kExitOk;
    auto next = NextAttempt(&client, options.job_id, request.attempt());
    if (!next.ok()) return console.Fail(next.status());
    if (*next == 0 || *next == request.attempt()) return kExitOk;
    console.err << "cyxwiz: attempt " << *next << " begins" << std::endl;
    request.set_attempt(*next);
    request.set_offset(0);
  }
}

}  // namespace cyxwiz::cli
