#include "sim/plan.h"

#include <algorithm>

#include "sim/random.h"

namespace cyxwiz::sim {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using enum ActionKind;

struct Weight {
  ActionKind kind;
  int64_t weight;
};

constexpr Weight kOperations[] = {{kSubmit, 12}, {kCancel, 4},     {kRemove, 4},  {kGet, 6},
                                  {kList, 1},    {kPause, 3},      {kResume, 3},  {kSetPriority, 2},
                                  {kRetry, 2},   {kCancelMany, 1}, {kExplain, 1}, {kPlan, 1},
                                  {kCordon, 2},  {kListNodes, 1}};
constexpr Weight kFaults[] = {
    {kServerKill, 3},   {kServerKillInCommit, 3},
    {kPowerLoss, 3},    {kPowerLossInCommit, 4},
    {kServerStop, 1},   {kServerFreeze, 2},
    {kDiskFull, 4},     {kDiskError, 1},
    {kNodeKill, 3},     {kNodeStop, 1},
    {kNodeFreeze, 2},   {kMachineFreeze, 2},
    {kRunnersCrash, 2}, {kCut, 6},
    {kClockJump, 1},
};

// What clients do just when something breaks: they look, most of all.
constexpr Weight kMeanwhile[] = {{kGet, 12},   {kListNodes, 3}, {kList, 2},   {kSubmit, 4},
                                 {kCancel, 2}, {kPause, 1},     {kRemove, 1}, {kCordon, 1}};
// Faults that begin just when another one begins or ends.
constexpr Weight kMeeting[] = {{kCut, 6},        {kNodeKill, 2},  {kNodeFreeze, 1},
                               {kServerKill, 1}, {kPowerLoss, 1}, {kDiskFull, 2}};

template <size_t n>
ActionKind Pick(Random& random, const Weight (&weights)[n], uint64_t allowed) {
  int64_t sum = 0;
  for (const Weight& w : weights) sum += (allowed >> static_cast<int>(w.kind) & 1) ? w.weight : 0;
  int64_t at = random.Below(sum);
  for (const Weight& w : weights) {
    if (!(allowed >> static_cast<int>(w.kind) & 1)) continue;
    if ((at -= w.weight) < 0) return w.kind;
  }
  return weights[0].kind;
}

Duration LengthOf(Random& random, Duration lease) {
  return random.Chance(0.5) ? random.Between(lease / 2, lease * 3)
                            : random.Between(Duration(milliseconds(1)), lease / 2);
}

// Many bugs need two faults that meet, or somebody who asks just then; by chance alone both are
// rare.
void AddMeetings(int64_t ids, Plan* plan) {
  Random random(plan->seed, "meetings");
  const Duration lease = plan->control.lease;
  plan->copies_on_write = random.Chance(0.5);
  if (random.Chance(0.5)) return;
  std::vector<Action> faults;
  if (random.Chance(0.5)) {
    faults.push_back({random.Between(Duration::zero(), plan->chaos), kDiskFull});
    faults[0].n = static_cast<int64_t>(random.Next() >> 16);
    faults[0].length = LengthOf(random, lease);
    plan->actions.push_back(faults[0]);
  }
  for (const Action& action : plan->actions) {
    if (IsFault(action.kind) && faults.size() < 4) faults.push_back(action);
  }
  for (const Action& fault : faults) {
    for (int64_t i = random.Below(3); i > 0; --i) {
      Action other{fault.at + (random.Chance(0.5) ? fault.length : Duration::zero()) +
                   random.Between(-lease, lease)};
      other.at = std::clamp(other.at, Duration::zero(), plan->chaos);
      other.kind = Pick(random, kMeeting, ~uint64_t{0});
      other.who = random.Below(std::ssize(plan->nodes));
      other.n = static_cast<int64_t>(random.Next() >> 16);
      other.length = LengthOf(random, lease);
      plan->actions.push_back(other);
    }
    for (int64_t i = random.Below(10); i > 0; --i) {
      Action meanwhile{fault.at + random.Between(Duration::zero(), fault.length + lease / 2)};
      meanwhile.kind = Pick(random, kMeanwhile, ~uint64_t{0});
      meanwhile.who = random.Below(plan->clients);
      meanwhile.target = random.Below(ids);
      meanwhile.n = random.Below(1000);
      plan->actions.push_back(meanwhile);
    }
  }
  // What a failed sync has lost shows when the power goes after it.
  if (random.Chance(0.3)) {
    Action error{random.Between(Duration::zero(), plan->chaos), kDiskError};
    error.n = 2 + 3 * random.Below(30);  // of a sync
    Action loss{error.at + random.Between(Duration::zero(), lease), kPowerLoss};
    loss.length = LengthOf(random, lease);
    plan->actions.push_back(error);
    plan->actions.push_back(loss);
  }
}

}  // namespace

std::string Action::ToString() const {
  std::string text = std::to_string(std::chrono::duration_cast<milliseconds>(at).count()) + "ms " +
                     kActionNames[static_cast<int>(kind)];
  if (!IsFault(kind)) {
    text += " client=" + std::to_string(who) + " job=" + std::to_string(target);
  } else {
    text += " who=" + std::to_string(who);
  }
  text += " n=" + std::to_string(n);
  if (length > Duration::zero()) {
    text +=
        " for=" + std::to_string(std::chrono::duration_cast<milliseconds>(length).count()) + "ms";
  }
  return text;
}

Plan MakePlan(uint64_t seed) {
  Random random(seed, "plan");
  Plan plan;
  plan.seed = seed;

  // Rare settings, each switched on by some seeds. (Arguments that take chances themselves are
  // written out one by one: compilers evaluate them in different orders.)
  auto between = [&random](int64_t low, int64_t high) { return random.Between(low, high); };
  auto sometimes = [&random](double chance, auto rare, auto usual) {
    return random.Chance(chance) ? rare : usual;
  };
  plan.control.lease = sometimes(0.5, seconds(2), seconds(10));
  plan.control.assign_timeout = sometimes(0.3, seconds(1), seconds(10));
  plan.control.progress_flush = sometimes(0.3, milliseconds(50), milliseconds(1000));
  plan.control.retry_backoff = sometimes(0.3, milliseconds(50), milliseconds(1000));
  plan.control.retry_backoff_most = seconds(8);
  plan.control.max_nodes_lost = sometimes(0.3, 1, 3);
  plan.control.quarantine_failures = sometimes(0.5, 1, 3);
  plan.control.hold_after = sometimes(0.7, milliseconds(200), seconds(60));
  plan.control.ageing = sometimes(0.3, seconds(2), hours(1));
  plan.control.probe_wait = seconds(1);
  plan.control.probe_wait_most = seconds(4);
  plan.control.preemption.on = random.Chance(0.5);
  plan.control.preemption.min_run = sometimes(0.5, milliseconds(0), milliseconds(500));
  plan.control.preemption.most = sometimes(0.3, 1, 3);
  if (random.Chance(0.4)) {
    for (const char* owner : {"user:user0", "user:user1", "project:p0"}) {
      if (random.Chance(0.3)) continue;
      scheduler::Quota& quota = plan.control.quotas[owner];
      quota.cpu_millis = 1000 * between(0, 6);
      if (random.Chance(0.3)) quota.gpu_millis = 500 * between(0, 4);
      quota.borrow = random.Chance(0.6);
    }
  }
  plan.control.keep_ended = sometimes(0.5, milliseconds(100), milliseconds(60'000));
  plan.control.max_queued = sometimes(0.1, 3, 1'000'000);
  plan.heartbeat = plan.control.lease * 3 / 10;
  plan.retry_commit = sometimes(0.5, milliseconds(100), milliseconds(1000));
  plan.token_lifetime = seconds(3600);
  plan.max_batch = sometimes(0.3, 1, 1000);
  // Not both: such a server would not keep up with its nodes.
  plan.commit_time = sometimes(0.1, milliseconds(plan.max_batch > 1 ? 300 : 30), milliseconds(3));
  plan.checkpoint_pages = random.Chance(0.5) ? between(2, 8) : between(20, 60);
  plan.reserve_bytes = sometimes(0.3, 4096, 65536);
  plan.body_bytes = sometimes(0.3, 9000, 100);
  plan.quota_like = random.Chance(0.3);
  plan.most_drift_ppm = sometimes(0.3, 20'000, 100);

  int64_t nodes = between(1, 5);
  for (int64_t i = 0; i < nodes; ++i) {
    Resources& node = plan.nodes.emplace_back();
    node.cpu_millis = 1000 * between(2, 6);
    node.memory_bytes = 1000 * between(2, 6);
    for (int64_t gpus = between(0, 2); gpus > 0; --gpus) node.AddGpus(1, 1000 * between(0, 4));
  }
  plan.nodes[0] = Resources{4000, 4000}.WithGpus(2, 4000);  // holds every job
  plan.clients = between(1, 3);

  plan.network.most_delay = sometimes(0.3, milliseconds(200), milliseconds(5));
  plan.network.loss = sometimes(0.3, 0.05, 0.0);
  plan.network.twice = sometimes(0.3, 0.05, 0.0);
  if (random.Chance(0.3)) plan.network.slow = random.Chance(0.5) ? 0.3 : 0.05;
  plan.network.slow_delay = plan.control.lease * 2;

  plan.runner.most = sometimes(0.3, milliseconds(200), milliseconds(5000));
  plan.runner.crash = sometimes(0.3, 0.2, 0.02);
  plan.runner.fail = sometimes(0.3, 0.2, 0.02);
  plan.runner.ignores_stop = sometimes(0.3, 0.5, 0.05);
  plan.runner.ignores_term = sometimes(0.3, 0.5, 0.05);

  plan.chaos = sometimes(0.3, seconds(40), seconds(15));
  int64_t jobs = between(2, random.Chance(0.2) ? 40 : 15);
  int64_t operations = jobs + between(2, jobs * 2);
  // Ids are used again, by the same job and by others.
  int64_t ids = sometimes(0.4, std::max<int64_t>(1, jobs / 4), jobs);
  auto time = [&] { return random.Between(Duration::zero(), Duration(plan.chaos)); };
  for (int64_t i = 0; i < operations; ++i) {
    Action action{time()};
    action.kind = i < jobs ? kSubmit : Pick(random, kOperations, ~uint64_t{0});
    action.who = random.Below(plan.clients);
    action.target = i < jobs && ids == jobs ? i : random.Below(ids);
    action.n = random.Below(1000);
    if (action.kind == kCordon && random.Chance(0.5)) action.length = Duration(1);  // no more
    plan.actions.push_back(action);
  }
  // A few kinds of faults a run: their meetings are rarer when all are mixed.
  uint64_t allowed = random.Next() | (uint64_t{1} << static_cast<int>(kCut));
  if (random.Chance(0.3)) allowed = ~uint64_t{0};
  int64_t faults = random.Chance(0.2) ? between(6, 20) : between(0, 6);
  for (int64_t i = 0; i < faults; ++i) {
    Action action{time()};
    action.kind = Pick(random, kFaults, allowed);
    action.who = random.Below(nodes);
    action.n = static_cast<int64_t>(random.Next() >> 16);
    action.length = LengthOf(random, plan.control.lease);
    plan.actions.push_back(action);
  }
  plan.control.mass_loss_hold = sometimes(0.5, seconds(2), seconds(300));
  Random rare(seed, "rare");  // of its own, so that what came before it stays what it was
  plan.control.cancelled_at_once = rare.Chance(0.7) ? rare.Between(1, 3) : 1000;
  if (rare.Chance(0.2)) plan.control.forget_nodes_after = rare.Between(seconds(1), seconds(20));
  for (int64_t i = rare.Chance(0.3) ? rare.Between(1, 4) : 0; i > 0; --i) {
    Action forget{rare.Between(Duration::zero(), plan.chaos), kForget};
    forget.who = rare.Below(plan.clients);
    forget.n = rare.Below(nodes);
    plan.actions.push_back(forget);
  }
  // Many are cancelled, and the server ends while they are.
  for (int64_t i = rare.Chance(0.3) ? rare.Between(1, 4) : 0; i > 0; --i) {
    Action cancel{rare.Between(Duration::zero(), plan.chaos), kCancelMany};
    cancel.who = rare.Below(plan.clients);
    cancel.n = rare.Below(1000);
    Action loss{cancel.at + rare.Between(Duration::zero(), milliseconds(50)),
                rare.Chance(0.5) ? kServerKillInCommit : kPowerLossInCommit};
    loss.n = static_cast<int64_t>(rare.Next() >> 16);
    loss.length = LengthOf(rare, plan.control.lease);
    plan.actions.push_back(cancel);
    plan.actions.push_back(loss);
  }
  AddMeetings(ids, &plan);
  std::stable_sort(plan.actions.begin(), plan.actions.end(),
                   [](const Action& a, const Action& b) { return a.at < b.at; });
  return plan;
}

}  // namespace cyxwiz::sim
