// cyxwiz pause, resume, priority, retry, explain, plan, events, cordon, uncordon and drain.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <functional>
#include <thread>

#include "base/file.h"
#include "base/resources.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/job_follower.h"
#include "cli/layout.h"
#include "cli/nodes.h"
#include "cli/progress_view.h"
#include "cli/signals.h"
#include "cyxwiz/protocol/control.grpc.pb.h"
#include "spec/job_file.h"
#include "wire/job_config.h"
#include "wire/json.h"
#include "wire/what_if.h"

namespace cyxwiz::cli {
namespace {

using Jobs = protocol::JobControlService::StubInterface;
using Nodes = protocol::NodeControlService::StubInterface;

// Unix seconds; 0 when there is no text.
Result<int64_t> ReadMoment(const std::string& flag, const std::string& text) {
  if (text.empty()) return 0;
  if (auto moment = spec::ParseMoment(text)) return *moment;
  return InvalidArgument(flag + ": expected a moment, found '" + text + "'",
                         "such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00");
}

// Asks for one job's command and prints what became of the job.
template <typename Request>
int AskForJob(const Session& session,
              grpc::Status (Jobs::*method)(grpc::ClientContext*, const Request&,
                                           protocol::JobResponse*),
              const Request& request,
              const std::function<std::string(const protocol::JobStatus&)>& say) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  auto response = (*client)->Call((*client)->job_control(), method, request);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson(wire::ToJson(response->status()));
  } else {
    console.out << say(response->status()) << std::endl;
  }
  return kExitOk;
}

std::string PriorityWord(protocol::JobPriority priority) {
  std::string name = protocol::JobPriority_Name(priority);
  name.erase(0, name.find('_') + 1);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return name;
}

// "training"; empty: JOB_TYPE_UNKNOWN, which means all.
protocol::JobType JobTypeOf(const std::string& word) {
  std::string name = "JOB_TYPE_" + word;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  protocol::JobType type = protocol::JOB_TYPE_UNKNOWN;
  protocol::JobType_Parse(name, &type);
  return type;
}

// "a, b, and 3 more"
std::string Named(const google::protobuf::RepeatedPtrField<std::string>& names) {
  constexpr int kMostNamed = 8;
  std::string text;
  for (int i = 0; i < std::min(names.size(), kMostNamed); ++i)
    text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMostNamed)
    text += ", and " + std::to_string(names.size() - kMostNamed) + " more";
  return text;
}

std::string PlanToText(const protocol::JobPlan& plan, const Console& console, int64_t now) {
  std::string text;
  auto line = [&](const std::string& title, const std::string& value) {
    if (value.empty()) return;
    text +=
        console.Paint(title, "1") + std::string(14 - title.size(), ' ') + Printable(value) + "\n";
  };
  line("Needs", ToString(ResourcesFromWire(plan.resources())));
  if (!plan.node_id().empty()) line("Starts", "now, on " + plan.node_id());
  bool first = true;
  for (const protocol::Reason& reason : plan.reasons()) {
    const std::string nodes = Named(reason.nodes());
    line(first ? "Waits" : "",
         reason.code() + ": " + reason.message() + (nodes.empty() ? "" : " (" + nodes + ")"));
    first = false;
  }
  if (plan.preempts_size() > 0)
    line("Preempts", Named(plan.preempts()) + " to start on " + Named(plan.preempts_on()));
  if (plan.node_id().empty()) {
    line("Would start", plan.smallest_change().empty() ? "" : "if: " + plan.smallest_change());
    if (plan.queue_position() > 0) {
      line("Place", std::to_string(plan.queue_position()) + " of " +
                        std::to_string(std::max(plan.jobs_queued(), plan.queue_position())) +
                        " that wait");
    }
    if (plan.estimated_start_time() > 0) {
      line("Expected", "in " +
                           FormatDuration(std::chrono::seconds(
                               std::max<int64_t>(0, plan.estimated_start_time() - now))) +
                           ", " + plan.estimate_basis());
    } else if (!plan.estimate_basis().empty()) {
      line("Expected", "not known: " + plan.estimate_basis());
    }
  }
  return text;
}

std::string EventText(const protocol::Event& event, const Console& console) {
  std::time_t seconds = event.time_ms() / 1000;
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char when[40];
  std::strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &parts);
  char milliseconds[8];
  std::snprintf(milliseconds, sizeof milliseconds, ".%03d",
                static_cast<int>(event.time_ms() % 1000));
  std::string who = !event.job_id().empty()    ? event.job_id()
                    : !event.node_id().empty() ? "node " + event.node_id()
                                               : "all nodes";
  std::string what = protocol::EventKind_Name(event.kind());
  what.erase(0, what.find('_') + 1);
  std::transform(what.begin(), what.end(), what.begin(),
                 [](unsigned char c) { return c == '_' ? ' ' : std::tolower(c); });
  if (event.kind() == protocol::EVENT_STATE_CHANGED)
    what = std::string(StateWord(event.from())) + (console.unicode ? " → " : " -> ") +
           StateWord(event.to());
  std::string text = std::string(when) + milliseconds + "  " + who + "  " + what;
  if (event.attempt() > 0 && event.kind() == protocol::EVENT_STATE_CHANGED)
    text += ", attempt " + std::to_string(event.attempt()) + " on " + event.node_id();
  if (event.cause() != protocol::CAUSE_NONE) {
    std::string cause = protocol::FailureCause_Name(event.cause());
    text += " [" + cause.substr(cause.find('_') + 1) + "]";
  }
  if (!event.message().empty()) text += ": " + event.message();
  if (!event.actor().empty()) text += " (" + event.actor() + ")";
  return Printable(text);
}

int AskForNode(Console& console, Client* client, const protocol::CordonNodeRequest& request,
               bool undo) {
  protocol::UncordonNodeRequest uncordon;
  uncordon.set_node_id(request.node_id());
  auto response = undo ? client->Call(client->node_control(), &Nodes::UncordonNode, uncordon)
                       : client->Call(client->node_control(), &Nodes::CordonNode, request);
  if (!response.ok()) return console.Fail(response.status());
  const protocol::NodeInfo& info = response->info();
  if (console.json) {
    console.PrintJson(wire::ToJson(info));
  } else if (undo) {
    console.out << "Node " << info.node_id() << " takes jobs again" << std::endl;
  } else {
    console.out << "Node " << info.node_id() << " gets no new jobs; it has " << info.attempts_size()
                << (info.attempts_size() == 1 ? " attempt" : " attempts")
                << (request.drain() ? " that it is told to give back" : "") << std::endl;
  }
  return kExitOk;
}

}  // namespace

int RunPause(const Session& session, const std::string& job_id) {
  protocol::PauseJobRequest request;
  request.set_job_id(job_id);
  return AskForJob(session, &Jobs::PauseJob, request, [&](const protocol::JobStatus& status) {
    return status.state() == protocol::JOB_STATE_PAUSED
               ? "Paused " + job_id
               : "Pausing " + job_id + ": it is paused when its processes have ended";
  });
}

int RunResume(const Session& session, const std::string& job_id) {
  protocol::ResumeJobRequest request;
  request.set_job_id(job_id);
  return AskForJob(session, &Jobs::ResumeJob, request, [&](const protocol::JobStatus& status) {
    return "Resumed " + job_id + ": " + StateWord(status.state());
  });
}

int RunPriority(const Session& session, const PriorityOptions& options) {
  protocol::SetJobPriorityRequest request;
  request.set_job_id(options.job_id);
  static constexpr const char* kWords[] = {"low", "normal", "high", "critical"};
  for (int i = 0; i < 4; ++i) {
    if (options.priority == kWords[i]) request.set_priority(static_cast<protocol::JobPriority>(i));
  }
  return AskForJob(session, &Jobs::SetJobPriority, request, [&](const protocol::JobStatus& status) {
    return "Job " + options.job_id + " has priority " + PriorityWord(status.priority());
  });
}

int RunRetry(const Session& session, const std::string& job_id) {
  protocol::RetryJobRequest request;
  request.set_job_id(job_id);
  std::string id;
  int code = AskForJob(session, &Jobs::RetryJob, request,
                       [&id](const protocol::JobStatus& status) { return id = status.job_id(); });
  if (code == kExitOk && !session.console.json) {
    session.console.err << "Submitted again as a new job\n  cyxwiz watch " << id
                        << ServerFlag(session.server) << "   to follow it\n";
  }
  return code;
}

int RunCancelJobs(const Session& session, const CancelOptions& options) {
  Console& console = session.console;
  protocol::CancelJobsRequest request;
  request.set_user_id(options.user);
  request.set_reason(options.reason);
  request.set_all(options.all);
  if (options.status == "pending") request.set_status(protocol::STATUS_PENDING);
  if (options.status == "running") request.set_status(protocol::STATUS_IN_PROGRESS);
  request.set_job_type(JobTypeOf(options.type));
  request.set_project(options.project);
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  auto response = (*client)->Call((*client)->job_control(), &Jobs::CancelJobs, request);
  if (!response.ok()) return console.Fail(response.status());
  if (console.json) {
    console.PrintJson(wire::ToJson(*response));
  } else {
    console.out << "Cancelled " << response->cancelled()
                << (response->cancelled() == 1 ? " job" : " jobs");
    if (response->cancelling() > 0)
      console.out << "; " << response->cancelling() << " more end with their processes";
    console.out << std::endl;
  }
  return kExitOk;
}

int RunExplain(const Session& session, const ExplainOptions& options) {
  Console& console = session.console;
  auto what_if = ParseWhatIf("--what-if", options.what_if);
  if (!what_if.ok()) return console.FailUsage(what_if.status().message(), what_if.status().hint());
  protocol::ExplainJobRequest request;
  request.set_job_id(options.job_id);
  *request.mutable_what_if() = *what_if;
  auto at = ReadMoment("--at", options.at);
  if (!at.ok()) return console.FailUsage(at.status().message(), at.status().hint());
  request.set_at_ms(*at * 1000);
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  auto plan = (*client)->Call((*client)->job_control(), &Jobs::ExplainJob, request);
  if (!plan.ok()) return console.Fail(plan.status());
  if (console.json) {
    console.PrintJson(wire::ToJson(*plan));
    return kExitOk;
  }
  const protocol::JobStatus& status = plan->status();
  std::string title = "Job " + status.job_id() + (options.at.empty() ? " is " : " was ") +
                      StateWord(status.state());
  if (!status.current_node_id().empty()) title += " on " + status.current_node_id();
  console.out << title << "\n";
  if (status.state() == protocol::JOB_STATE_QUEUED) {
    console.out << PlanToText(*plan, console, *at > 0 ? *at : ReadClocks().unix.seconds());
  } else if (!status.message().empty()) {
    console.out << Printable(status.message()) << "\n";
  }
  console.out << std::flush;
  return kExitOk;
}

int RunPlan(const Session& session, const PlanOptions& options) {
  Console& console = session.console;
  auto what_if = ParseWhatIf("--what-if", options.what_if);
  if (!what_if.ok()) return console.FailUsage(what_if.status().message(), what_if.status().hint());
  protocol::JobConfig config;
  if (int code = ReadJob(session, options.file, &config); code != kExitOk) return code;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::PlanJobRequest request;
  *request.mutable_config() = config;
  *request.mutable_what_if() = *what_if;
  std::vector<protocol::Problem> problems;
  auto response = (*client)->PlanJob(request, &problems);
  if (!response.ok()) return FailRefused(console, response.status(), problems);
  if (console.json) {
    console.PrintJson(wire::ToJson(response->plan()));
  } else {
    if (response->plan().has_status()) {
      console.out << "Job " << response->plan().status().job_id()
                  << " has been accepted before, and is "
                  << StateWord(response->plan().status().state()) << "\n";
    }
    console.out << PlanToText(response->plan(), console, ReadClocks().unix.seconds()) << std::flush;
  }
  const bool accepted = response->plan().has_status();
  return accepted || response->plan().could_ever_run() ? kExitOk : kExitRefused;
}

int RunEvents(const Session& session, const EventsOptions& options) {
  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::ListEventsRequest request;
  request.set_job_id(options.job_id);
  request.set_node_id(options.node_id);
  request.set_after(options.after);
  auto print = [&](const protocol::Event& event) {
    if (console.json) {
      console.PrintJson(wire::ToJson(event));
    } else {
      console.out << EventText(event, console) << std::endl;
    }
  };
  if (options.follow) {
    SignalQueue interrupts({SIGINT, SIGTERM});
    grpc::ClientContext context;
    std::thread waiter;
    auto reader = (*client)->job_control().FollowEvents(&context, request);
    std::atomic<bool> interrupted = false;
    UniqueFd ended(::eventfd(0, EFD_CLOEXEC));
    waiter = std::thread([&] {
      pollfd descriptors[] = {{interrupts.fd(), POLLIN, 0}, {ended.get(), POLLIN, 0}};
      while (::poll(descriptors, 2, -1) < 0 && errno == EINTR) {
      }
      if (descriptors[0].revents == 0) return;
      interrupted = true;
      context.TryCancel();
    });
    protocol::Event event;
    while (reader->Read(&event)) print(event);
    ::eventfd_write(ended.get(), 1);
    waiter.join();
    grpc::Status status = reader->Finish();
    if (interrupted) return 128 + SIGINT;
    return status.ok() ? kExitOk : console.Fail(FromGrpc(status));
  }
  request.set_page_size(1000);
  do {
    auto page = (*client)->Call((*client)->job_control(), &Jobs::ListEvents, request);
    if (!page.ok()) return console.Fail(page.status());
    for (const protocol::Event& event : page->events()) print(event);
    request.set_after(page->next_after());
  } while (request.after() > 0);
  return kExitOk;
}

int RunCordon(const Session& session, const CordonOptions& options) {
  protocol::CordonNodeRequest request;
  request.set_reason(options.reason);
  request.set_drain(options.drain);
  auto from = ReadMoment("--from", options.from), until = ReadMoment("--until", options.until);
  for (const auto* moment : {&from, &until}) {
    if (!moment->ok())
      return session.console.FailUsage(moment->status().message(), moment->status().hint());
  }
  request.set_from(*from);
  request.set_until(*until);
  if (options.node_id.empty() == options.pool.empty()) {
    return session.console.FailUsage("which node is not said",
                                     "name a NODE, or all of a pool with --pool NAME");
  }
  auto client = Client::Connect(session.server);
  if (!client.ok()) return session.console.Fail(client.status());
  if (options.pool.empty()) {
    request.set_node_id(options.node_id);
    return AskForNode(session.console, client->get(), request, options.undo);
  }
  auto list = AllNodes(client->get(), false, options.pool);
  if (!list.ok()) return session.console.Fail(list.status());
  if (list->nodes().empty())
    return session.console.Fail(NotFound("no node is in the pool '" + options.pool + "'",
                                         "'cyxwiz nodes' lists them with their labels"));
  for (const protocol::NodeInfo& node : list->nodes()) {
    request.set_node_id(node.node_id());
    int code = AskForNode(session.console, client->get(), request, options.undo);
    if (code != kExitOk) return code;
  }
  return kExitOk;
}

}  // namespace cyxwiz::cli
