#include "sim/client.h"

#include "sim/world.h"

namespace cyxwiz::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kDeadline = seconds(5);
constexpr int kMostTries = 200;

// Whether the answer says what became of the command.
bool IsDecided(const Status& status) {
  return status.ok() ||
         (status.code() != Code::kUnavailable && status.code() != Code::kDeadlineExceeded &&
          status.code() != Code::kResourceExhausted);
}

}  // namespace

Client::Client(World* world, int64_t number)
    : world_(world),
      random_(world->plan.seed, "client" + std::to_string(number)),
      process_(&world->loop, "client" + std::to_string(number), {}) {
  process_.Start();
}

void Client::Do(const Action& action) {
  waiting_.push_back(action);
  if (!busy_) Next();
}

void Client::Next() {
  busy_ = !waiting_.empty();
  if (!busy_) return;
  Action action = waiting_.front();
  waiting_.pop_front();
  Try(action, 0);
}

template <typename Content, typename Command>
void Client::Call(Command command, const Action& action, int tries) {
  Server* server = world_->server.get();
  world_->network.Call<Content>(
      &process_, server->process(), kDeadline,
      [server, command = std::move(command)](auto answer) {
        server->Ask<Content>(command, std::move(answer));
      },
      [this, action, tries](Result<Content> answer) {
        Ended(action, answer.ok() ? OkStatus() : answer.status(), tries);
      });
}

void Client::Try(const Action& action, int tries) {
  JobId id{action.job.empty() ? "job" + std::to_string(action.target) : action.job};
  const bool of_member = action.job.empty() && action.n % 6 == 5;  // perhaps of none that is there
  switch (action.kind) {
    case ActionKind::kCancel:
    case ActionKind::kGet:
    case ActionKind::kPause:
    case ActionKind::kResume:
    case ActionKind::kSetPriority:
      if (of_member) id = control::MemberId(id, action.n / 6 % 4);
      break;
    default:
      break;
  }
  switch (action.kind) {
    case ActionKind::kSubmit: {
      // What is submitted depends on n alone, so that asking again asks for the same.
      Random random(world_->plan.seed ^ static_cast<uint64_t>(action.n), "job");
      control::SubmitJob submit;
      submit.job.id = id;
      submit.job.name = "job";
      submit.job.user = "user" + std::to_string(random.Below(2));
      submit.job.priority = static_cast<int32_t>(random.Below(4));
      submit.job.resources.cpu_millis = 1000 * random.Between(1, 4);
      submit.job.resources.memory_bytes = 1000 * random.Between(0, 4);
      if (random.Chance(0.4)) {  // whole GPUs, a share of one with its memory, or that alone
        Resources& asked = submit.job.resources;
        if (random.Chance(0.8))
          asked.gpu_millis =
              random.Chance(0.4) ? 1000 * random.Between(1, 2) : random.Between(1, 999);
        if (asked.gpu_millis == 0 || random.Chance(0.5))
          asked.gpu_memory_bytes = random.Between(1, 4000);
      }
      if (random.Chance(0.1))
        submit.job.resources.SetNamed(AntiAffinityToken(submit.job.user, "apart"), 1);
      if (random.Chance(0.3)) submit.job.data = static_cast<ContentKey>(random.Between(1, 3));
      submit.job.max_retries = static_cast<int32_t>(random.Below(4));
      submit.job.total_epochs = 10;
      std::string config = "config" + std::to_string(random.Below(5));
      if (random.Chance(0.3)) {
        control::Terms terms;
        if (random.Chance(0.5))
          terms.limits.run = random.Between(Duration(std::chrono::milliseconds(500)),
                                            Duration(std::chrono::seconds(10)));
        if (random.Chance(0.5))
          terms.limits.queue = random.Between(Duration(std::chrono::milliseconds(500)),
                                              Duration(std::chrono::seconds(20)));
        for (int64_t i = random.Below(3); i > 0; --i) {
          terms.after.push_back(
              {{"job" + std::to_string(random.Below(std::max<int64_t>(action.target, 1)))},
               random.Chance(0.5)});
        }
        if (random.Chance(0.5)) terms.project = "p" + std::to_string(random.Below(2));
        // They are part of what is submitted, so of the body.
        if (terms != control::Terms()) {
          config += " terms " + std::to_string(action.n);
          submit.job.terms = std::make_shared<const control::Terms>(std::move(terms));
        }
      }
      const auto most_nodes = std::min<int64_t>(std::ssize(world_->plan.nodes), 4);
      if (most_nodes > 1 && random.Chance(0.2)) {  // so small that any node holds a rank
        submit.job.resources = {1000, 1000 * random.Between(0, 2), 0};
        control::Terms terms = submit.job.terms != nullptr ? *submit.job.terms : control::Terms();
        terms.nodes = static_cast<int32_t>(random.Between(2, most_nodes));
        if (random.Chance(0.4))
          terms.min_nodes = static_cast<int32_t>(random.Between(1, terms.nodes));
        submit.job.terms = std::make_shared<const control::Terms>(std::move(terms));
        config += " gang " + std::to_string(action.n);
      }
      if (random.Chance(0.15)) {
        control::Array array;
        array.size = random.Between(1, 6);
        array.max_parallel = random.Below(4);
        submit.job.array = std::make_shared<const control::Array>(array);
        config += " array " + std::to_string(action.n);
      }
      config.resize(static_cast<size_t>(world_->plan.body_bytes), '.');
      submit.body =
          std::make_shared<control::JobBody>(control::JobBody{config.substr(0, 24), config});
      return Call<control::SubmitReply>(std::move(submit), action, tries);
    }
    case ActionKind::kCancel:
      return Call<control::JobReply>(control::CancelJob{.job = id, .reason = "not wanted"}, action,
                                     tries);
    case ActionKind::kRemove:
      return Call<control::RemoveReply>(control::RemoveJob{.job = id}, action, tries);
    case ActionKind::kGet:
      return Call<control::JobReply>(control::GetJob{.job = id}, action, tries);
    case ActionKind::kList:
      if (action.n % 4 == 0)
        return Call<control::ListReply>(control::ListJobs{.filter = {.array_id = id}}, action,
                                        tries);
      return Call<control::ListReply>(control::ListJobs{}, action, tries);
    case ActionKind::kPause:
      return Call<control::JobReply>(control::PauseJob{.job = id}, action, tries);
    case ActionKind::kResume:
      return Call<control::JobReply>(control::ResumeJob{.job = id}, action, tries);
    case ActionKind::kSetPriority:
      return Call<control::JobReply>(
          control::SetPriority{.job = id, .priority = static_cast<int32_t>(action.n % 4)}, action,
          tries);
    case ActionKind::kRetry:
      return Call<control::JobReply>(
          control::RetryJob{.job = id, .new_job = {"retry" + std::to_string(action.n)}}, action,
          tries);
    case ActionKind::kCancelMany: {
      control::CancelJobs cancel{.reason = "all of them"};
      cancel.filter.user = "user" + std::to_string(action.n % 2);
      if (action.n % 3 == 0) cancel.filter.states = {control::JobState::kQueued};
      if (action.n % 3 == 1) cancel.filter.states = {control::JobState::kRunning};
      return Call<control::CancelJobsReply>(std::move(cancel), action, tries);
    }
    case ActionKind::kExplain:
      return Call<control::PlanReply>(control::ExplainJob{.job = id}, action, tries);
    case ActionKind::kPlan: {
      control::PlanJob plan{.job = {.id = {"planned"}, .resources = {1000, 1000, 0}},
                            .body = std::make_shared<const control::JobBody>(),
                            .what_if = {.more_nodes = 1}};
      plan.job.terms = std::make_shared<const control::Terms>(
          control::Terms{.nodes = static_cast<int32_t>(1 + action.n % 3),
                         .min_nodes = static_cast<int32_t>(action.n % 2)});
      return Call<control::PlanReply>(std::move(plan), action, tries);
    }
    case ActionKind::kCordon: {
      auto after = [this](int64_t ms) {
        return UnixTime{world_->server->process()->now().unix.ms + ms};
      };
      int64_t node = action.n % static_cast<int64_t>(world_->plan.nodes.size());
      return Call<control::NodeReply>(
          control::CordonNode{.node = {"node" + std::to_string(node)},
                              .cordoned = action.length == Duration::zero(),
                              .drain = action.length == Duration::zero() && action.n % 7 < 3,
                              .reason = "maintenance",
                              .from = action.n % 3 == 0 ? after(2000) : UnixTime(),
                              .until = action.n % 3 < 2 ? after(5000) : UnixTime()},
          action, tries);
    }
    case ActionKind::kForget:
      return Call<control::RemoveReply>(
          control::ForgetNode{.node = {"node" + std::to_string(action.n)}}, action, tries);
    case ActionKind::kListNodes:
      return Call<control::NodesReply>(control::ListNodes{}, action, tries);
    default:
      Break("plan", "a client cannot do this: " + action.ToString());
  }
}

void Client::Ended(const Action& action, const Status& status, int tries) {
  if (world_->tracing())
    world_->Trace(process_.name(), action.ToString() + ": " + status.ToString());
  if (!IsDecided(status) && tries < kMostTries) {
    process_.After(random_.Between(Duration(milliseconds(10)), Duration(seconds(1))),
                   [this, action, tries] { Try(action, tries + 1); });
    return;
  }
  Next();
}

}  // namespace cyxwiz::sim
