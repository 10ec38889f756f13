#include "sim/world.h"

#include <algorithm>

#include "sim/client.h"
#include "sim/node.h"
#include "sim/server.h"

namespace cyxwiz::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// Once nothing breaks any more every job ends within this.
constexpr Duration kSettleWithin = minutes(10);

}  // namespace

World::World(const Plan& p, std::FILE* trace)
    : plan(p), network(&loop, p.seed, p.network), disk(p.seed), checker(p.control), trace_(trace) {
  disk.SetQuotaLike(plan.quota_like);
  disk.SetCopiesOnWrite(plan.copies_on_write);
  if (tracing()) disk.SetTrace([this](const std::string& what) { Trace("disk", what); });
  server = std::make_unique<Server>(this);
  for (size_t i = 0; i < plan.nodes.size(); ++i)
    nodes.push_back(std::make_unique<Node>(this, static_cast<int64_t>(i)));
  for (int64_t i = 0; i <= plan.clients; ++i) clients.push_back(std::make_unique<Client>(this, i));
}

World::~World() { network.Close(); }

void World::Trace(const std::string& who, const std::string& what) {
  if (trace_ == nullptr) return;
  std::fprintf(trace_, "%11.6f %-9s %s\n", static_cast<double>(loop.now().ns - 1'000'000'000) / 1e9,
               who.c_str(), what.c_str());
}

void World::Run() {
  server->Start();
  for (auto& node : nodes) node->Start();
  MonotonicTime begin = loop.now();
  for (const Action& action : plan.actions)
    loop.At(begin + action.at, [this, &action] { Do(action); });
  loop.At(begin + plan.chaos, [this] { Heal(); });
  MonotonicTime end = begin + plan.chaos + kSettleWithin;
  while (!Settled()) {
    if (!loop.RunOne()) Break("liveness", "nothing will ever happen again");
    CheckAfterStep();
    if (loop.now() > end) {
      std::string jobs;
      for (const auto& [id, job] : checker.state().jobs) {
        if (!control::IsFinal(job.state))
          jobs += "\n  " + id.value + " " + JobStateName(job.state) + ": " + job.message;
      }
      Break("liveness", "faults ended long ago, but these jobs did not:" + jobs);
    }
  }
  // What was acknowledged is there after one last power failure.
  server->Kill();
  disk.LosePower();
  server->Start();
  MonotonicTime last = loop.now() + seconds(5);
  while (loop.now() < last && loop.RunOne()) CheckAfterStep();
}

void World::UndoHolds() {
  Client& operator_client = *clients.back();
  if (operator_client.idle()) {
    for (const auto& [id, job] : checker.state().jobs) {
      if (job.state == control::JobState::kPaused)
        operator_client.Do({.kind = ActionKind::kResume, .job = id.value});
    }
    for (const auto& [id, node] : checker.state().nodes) {
      if (node.cordoned) {
        operator_client.Do({.kind = ActionKind::kCordon,
                            .n = std::stoll(id.value.substr(4)),
                            .length = Duration(1)});
      }
    }
  }
  loop.After(seconds(1), [this] { UndoHolds(); });
}

bool World::Settled() const {
  return healed_ && checker.AllEnded() &&
         std::all_of(clients.begin(), clients.end(), [](const auto& c) { return c->idle(); }) &&
         std::all_of(nodes.begin(), nodes.end(), [](const auto& n) { return n->idle(); });
}

void World::CheckAfterStep() {
  std::vector<Execution> executions;
  std::map<NodeId, Resources> capacities;
  for (const auto& node : nodes) {
    node->AddExecutions(&executions);
    capacities[NodeId{node->endpoint()}] = node->capacity();
  }
  if (!executions.empty()) checker.CheckExecutions(executions, capacities, loop.now());
}

// ---- What happens to it

void World::Do(const Action& action) {
  if (IsFault(action.kind) && tracing()) Trace("fault", action.ToString());
  if (!IsFault(action.kind)) return clients[static_cast<size_t>(action.who)]->Do(action);
  Node* node = nodes[static_cast<size_t>(action.who)].get();
  switch (action.kind) {
    case ActionKind::kServerKill:
    case ActionKind::kPowerLoss:
      server->Kill();
      if (action.kind == ActionKind::kPowerLoss) disk.LosePower();
      loop.After(action.length, [this] {
        if (!server->process()->up()) server->Start();
      });
      return;
    case ActionKind::kServerKillInCommit:
    case ActionKind::kPowerLossInCommit:
      return disk.KillProcessAt(1 + action.n % 60, action.kind == ActionKind::kPowerLossInCommit);
    case ActionKind::kServerStop:
      return server->StopInOrder();
    case ActionKind::kServerFreeze:
      return server->FreezeFor(action.length);
    case ActionKind::kDiskFull:
      // Sometimes the reserve does not help.
      disk.SetCapacity(disk.used() + action.n / 2 % (action.n % 2 ? 40'000 : 2'000) -
                       (action.n / 2 % 2 ? plan.reserve_bytes : 0));
      loop.After(action.length + plan.control.lease / 2, [this] { disk.SetCapacity(INT64_MAX); });
      return;
    case ActionKind::kDiskError:
      return disk.FailAt(static_cast<Disk::Fault>(1 + action.n % 3), 1 + action.n / 3 % 30);
    case ActionKind::kNodeStop:
      return node->StopInOrder(action.length);
    case ActionKind::kNodeKill:
      node->Kill();
      loop.After(action.length, [node] {
        if (!node->process()->up()) node->Start();
      });
      return;
    case ActionKind::kNodeFreeze:
    case ActionKind::kMachineFreeze:
      node->Freeze(action.kind == ActionKind::kMachineFreeze);
      loop.After(action.length, [node, run = node->process()->run()] {
        if (node->process()->run() == run) node->Thaw();
      });
      return;
    case ActionKind::kRunnersCrash:
      return node->CrashRunners();
    case ActionKind::kCut:
      return Cut(action);
    case ActionKind::kClockJump: {
      int64_t ms = action.n % 1'200'000 - 600'000;
      Process* process = action.n % 2 ? server->process() : node->process();
      return process->JumpCalendar(ms);
    }
    default:
      Break("plan", "no such fault: " + action.ToString());
  }
}

// n says which nodes and directions. Each link comes back at a time of its own.
void World::Cut(const Action& action) {
  Random random(static_cast<uint64_t>(action.n));
  bool several = random.Chance(0.4);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (several ? random.Chance(0.5) : static_cast<int64_t>(i) != action.who) continue;
    std::string name = nodes[i]->endpoint();
    int64_t directions = random.Between(1, 3);
    for (int64_t d = 1; d <= 2; ++d) {
      if (!(directions & d)) continue;
      std::string from = d == 1 ? name : "server", to = d == 1 ? "server" : name;
      Duration begin = several ? random.Between(Duration::zero(), action.length) : Duration::zero();
      Duration length = several ? random.Between(Duration::zero(), action.length) : action.length;
      loop.After(begin, [this, from, to, length] {
        if (healed_) return;
        network.Cut(from, to);
        loop.After(length, [this, from, to] {
          if (!healed_) network.Mend(from, to);
        });
      });
    }
  }
}

void World::Heal() {
  if (tracing()) Trace("fault", "no more");
  healed_ = true;
  network.MendAll();
  NetworkOptions kind = plan.network;
  kind.loss = kind.twice = kind.slow = 0;
  network.SetOptions(kind);
  disk.SetCapacity(INT64_MAX);
  disk.KillProcessAt(0, false);
  disk.FailAt(Disk::Fault::kNone, 0);
  server->process()->Thaw();
  if (!server->process()->up()) server->Start();
  for (auto& node : nodes) {
    if (node->process()->up()) {
      node->Thaw();
    } else {
      node->Start();
    }
  }
  UndoHolds();
}

}  // namespace cyxwiz::sim
