// cyxwiz watch, and the waiting of cyxwiz submit --wait.
#include <poll.h>
#include <signal.h>

#include "cli/commands.h"
#include "cli/job_follower.h"
#include "cli/layout.h"
#include "cli/progress_view.h"
#include "cli/signals.h"
#include "wire/json.h"

namespace cyxwiz::cli {
namespace {

// The line that is drawn over and over on standard error.
class LiveLine {
 public:
  explicit LiveLine(std::ostream& out) : out_(out) {}
  ~LiveLine() { Clear(); }
  void Draw(const std::string& line) {
    // Without wrapping a resized terminal cannot turn one line into many.
    out_ << "\r\x1b[?7l" << line << "\x1b[K\x1b[?7h" << std::flush;
    drawn_ = true;
  }
  void Clear() {
    if (std::exchange(drawn_, false)) out_ << "\r\x1b[K" << std::flush;
  }

 private:
  std::ostream& out_;
  bool drawn_ = false;
};

}  // namespace

int FollowJob(const Session& session, Client* client, const std::string& job_id,
              bool print_updates) {
  Console& console = session.console;
  // Progress goes where a person looks: to standard error when standard output carries a result.
  std::ostream& text = print_updates ? console.out : console.err;
  bool live =
      !console.json && console.err_is_terminal && (console.out_is_terminal || !print_updates);
  SignalQueue interrupts({SIGINT, SIGTERM});
  JobFollower follower(client, job_id);
  ProgressView view(console.unicode, console.colour);
  LiveLine line(console.err);
  auto now = [] { return ReadClocks().monotonic; };
  for (;;) {
    pollfd descriptors[] = {{follower.fd(), POLLIN, 0}, {interrupts.fd(), POLLIN, 0}};
    // The clock of a live line moves though nothing happens.
    ::poll(descriptors, 2, live ? 1000 : -1);
    if (!interrupts.Take().empty()) {
      line.Clear();
      console.err << "\ncyxwiz: job " << job_id
                  << " goes on without you. To stop it:\n  cyxwiz cancel " << job_id
                  << ServerFlag(session.server) << std::endl;
      return 128 + SIGINT;
    }
    for (JobFollower::Event& event : follower.Take()) {
      switch (event.kind) {
        case JobFollower::Event::Kind::kUpdate: {
          if (event.update.live_metrics_size() > 0 && event.update.status().metrics_size() == 0) {
            *event.update.mutable_status()->mutable_metrics() = event.update.live_metrics();
          }
          view.Update(event.update.status(), now());
          std::vector<std::string> plain = view.TakePlainLines();
          if (console.json) {
            if (print_updates) console.PrintJson(wire::ToJson(event.update));
          } else if (!live) {
            for (const std::string& one : plain) text << one << std::endl;
          }
          break;
        }
        case JobFollower::Event::Kind::kLost:
          view.Lost(now());
          if (!live)
            console.err << "cyxwiz: lost the server at " << session.server << ", trying again"
                        << std::endl;
          break;
        case JobFollower::Event::Kind::kEnd: {
          line.Clear();
          if (!event.status.ok()) return console.Fail(event.status);
          if (!console.json) {
            std::string final_line = view.FinalLine();
            text << console.Paint(final_line.substr(0, final_line.find_first_of(" :")),
                                  StateColour(view.status().state())
                                      ? StateColour(view.status().state())
                                      : "1")
                 << final_line.substr(std::min(final_line.find_first_of(" :"), final_line.size()))
                 << std::endl;
          }
          return ExitCodeOf(view.status().state());
        }
      }
    }
    // The last column stays free: a character there would be erased with the rest of the line.
    if (live) line.Draw(view.Line((console.width > 0 ? console.width : 80) - 1, now()));
  }
}

int LogToMlflow(const Session& session, const Mlflow& mlflow, Client* client,
                const std::string& job_id, int code) {
  // Otherwise it has not ended, or nothing is known of it.
  if (code != kExitOk && code != kExitJobFailed && code != kExitJobCancelled) return code;
  auto page = mlflow.Log(client, job_id);
  if (!page.ok()) {
    const Status& status = page.status();
    int failed = session.console.Fail(
        Status(status.code(), "job " + job_id + " is not logged: " + status.message(),
               status.hint().empty() ? "'cyxwiz watch " + job_id + " --mlflow URI" +
                                           ServerFlag(session.server) + "' tries it again"
                                     : status.hint()));
    return code == kExitOk ? failed : code;
  }
  if (!session.console.json) session.console.err << "MLflow: " << *page << std::endl;
  return code;
}

int RunWatch(const Session& session, const WatchOptions& options) {
  const std::string& job_id = options.job_id;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return session.console.Fail(client.status());
  int code = kExitOk;
  if (options.mlflow.uri.empty()) {
    code = FollowJob(session, client->get(), job_id, /*print_updates=*/true);
  } else {
    auto mlflow = Mlflow::Open(options.mlflow);
    if (!mlflow.ok()) return session.console.Fail(mlflow.status());
    code = FollowJob(session, client->get(), job_id, /*print_updates=*/true);
    code = LogToMlflow(session, *mlflow, client->get(), job_id, code);
  }
  if (session.console.json || (code != kExitOk && code != kExitJobFailed)) return code;
  std::ostream& hints = session.console.err;
  const std::string flag = ServerFlag(session.server);
  auto status = (*client)->GetJobStatus(job_id);
  if (status.ok() && status->status().has_array()) {
    // The results and logs are those of the members.
    hints << "  cyxwiz ps --array " << job_id << flag << "   to see its members\n";
    if (code == kExitOk) {
      hints << "  cyxwiz download " << job_id << ".0" << flag
            << "   to get the trained model of the first\n";
    }
  } else if (code == kExitOk) {
    hints << "  cyxwiz download " << job_id << flag << "   to get the trained model\n";
  } else {
    hints << "  cyxwiz logs " << job_id << flag << "   to see what it printed\n";
  }
  return code;
}

}  // namespace cyxwiz::cli
