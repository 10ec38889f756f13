#include <algorithm>
#include <iterator>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

constexpr int32_t kCuda = 2;  // wire DeviceType

}  // namespace

std::vector<scheduler::NodeState> Control::State::SupposedNodes(const WhatIf& what_if) const {
  std::vector<scheduler::NodeState> states = fleet.nodes();
  scheduler::NodeState like;
  for (const scheduler::NodeState& node : states) {
    if (node.capacity.cpu_millis > like.capacity.cpu_millis) like = node;
  }
  if (what_if.resources != Resources()) {
    // Its GPUs are like the known ones.
    const bool has_gpus = !like.capacity.gpus->empty();
    const int64_t memory_bytes = has_gpus ? like.capacity.gpus->front().memory_bytes : 0;
    like.capacity = what_if.resources;
    like.capacity.gpu_millis = 0;
    like.capacity.AddGpus(what_if.resources.gpu_millis / kWholeGpu, memory_bytes);
    if (what_if.resources.gpu_millis > 0 && !has_gpus) like.devices.push_back(kCuda);
  }
  for (int32_t i = 1; i <= what_if.more_nodes; ++i) {
    scheduler::NodeState node = like;
    node.id = {"what-if-" + std::to_string(i)};
    node.online = true;
    node.held = node.cordoned = node.quarantined = false;
    node.free = node.capacity;
    states.push_back(std::move(node));
  }
  return states;
}

std::optional<Duration> Control::State::ExpectedDuration(const JobEntry& entry) const {
  const BodyEntry& body = bodies.at(entry.job.body);
  const bool same = body.seconds.count > 0;
  if (!same && epoch_seconds.count == 0) return std::nullopt;
  const double whole = same ? body.seconds.mean : epoch_seconds.mean * EpochsOf(entry.job);
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(whole));
}

std::optional<Duration> Control::State::Remaining(const JobEntry& entry) const {
  const Job& job = entry.job;
  double ran = static_cast<double>(now.unix.ms - job.attempt_started_at.ms) / 1e3;
  if (job.state == JobState::kRunning && job.progress > 0.01 && ran > 0) {
    double left = ran * (1 - job.progress) / job.progress;
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left));
  }
  auto whole = ExpectedDuration(entry);
  if (!whole || job.state != JobState::kRunning) return whole;
  auto elapsed = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(ran));
  // One that has outrun what was expected tells that it is of another kind: the longer it has run,
  // the longer it will.
  return elapsed < *whole ? *whole - elapsed : elapsed;
}

void Control::State::Plan(const Job& job, const WhatIf& what_if, PlanReply* reply) {
  constexpr size_t kMostAhead = 1000;
  const LineKey line_key = LineOf(job);
  const scheduler::Request& request = line_key.request;
  const Rank rank = RankOf(job);
  std::vector<scheduler::NodeState> states = SupposedNodes(what_if);
  Status possible = scheduler::CouldEverRun(request, states);
  if (possible.ok()) possible = quotas.CouldEverRun(line_key);
  reply->could_ever_run = possible.ok();
  reply->reasons = scheduler::Explain(request, states);
  AddQuotaReason(line_key, &reply->reasons);
  reply->smallest_change = scheduler::SmallestChange(request, states);
  reply->queue_position = 1;
  // Within a line those ahead come first: they are older.
  std::vector<scheduler::Line> copies;
  bool placed = false;
  for (const auto& [key, line] : lines) {
    reply->jobs_queued += std::ssize(line.jobs);
    scheduler::Line copy{key, {}, true};
    const scheduler::Share share = shares.Of(key.account, key.project, now.monotonic);
    const scheduler::Standing standing = quotas.Of(key);
    for (int64_t one : line.jobs) {
      const Job& other = by_sequence.at(one)->job;
      if (!(RankOf(other, share, standing) < rank)) break;
      reply->queue_position++;
      if (copy.jobs.size() <= kMostAhead)
        copy.jobs.push_back({one, EffectivePriority(other), other.data});
    }
    if (key == line_key) {
      copy.jobs.push_back({job.sequence, EffectivePriority(job), job.data});
      placed = true;
    }
    if (!copy.jobs.empty()) copies.push_back(std::move(copy));
  }
  if (static_cast<size_t>(reply->queue_position) > kMostAhead) {
    reply->estimate_basis = "more than " + std::to_string(kMostAhead) + " jobs are ahead";
    return;
  }
  if (!placed) {
    copies.push_back({line_key, {{job.sequence, EffectivePriority(job)}}, true});
  }
  std::vector<scheduler::Running> running;
  for (const auto& [node_id, node] : nodes) {
    for (const JobId& job : node.jobs) {
      const JobEntry& entry = *jobs.at(job);
      running.push_back({node_id, HeldOn(entry.job, node_id), Remaining(entry), entry.job.user,
                         ProjectOf(entry.job)});
    }
  }
  auto forecast = scheduler::ForecastStart(
      std::move(states), std::move(copies), std::move(running), shares, now.monotonic, job.sequence,
      [this](int64_t one) { return ExpectedDuration(*by_sequence.at(one)); }, quotas);
  if (!forecast) {
    reply->estimate_basis = reply->could_ever_run
                                ? "nothing is known of how long the jobs ahead will run"
                                : possible.message();
    return;
  }
  reply->estimated_start = UnixTime{
      now.unix.ms + std::chrono::duration_cast<std::chrono::milliseconds>(forecast->start).count()};
  if (forecast->start == Duration::zero()) {
    reply->node = forecast->node;
    reply->estimate_basis = "a node is free";
  } else {
    reply->estimate_basis = "from the progress of running jobs and the time that " +
                            std::to_string(epoch_seconds.count) +
                            (epoch_seconds.count == 1 ? " earlier job took" : " earlier jobs took");
  }
}

void Control::State::PlanRoom(const Job& job, PlanReply* reply) const {
  // What an attempt may take to write its checkpoint.
  constexpr Duration kTimeToYield = std::chrono::minutes(1);
  if (!options.preemption.on) return;
  auto tell = [&](const scheduler::Preemption& room) {
    reply->preempts = VictimsOf(room);
    for (const scheduler::Preemption::Place& place : room.places)
      reply->preempts_on.push_back(place.node);
  };
  if (const scheduler::Claim* claim = ClaimOf(job)) {
    tell(RoomOf(*claim));
    UnixTime then{now.unix.ms + Milliseconds(kTimeToYield)};
    if (reply->estimated_start && *reply->estimated_start <= then) return;
    reply->estimated_start = then;
    reply->estimate_basis = "the jobs that make room for it have a minute to write checkpoints";
    return;
  }
  const LineKey line = LineOf(job);
  const scheduler::Standing standing = quotas.Of(line);
  if (standing == scheduler::Standing::kBlocked) return;
  const bool reclaims = !quotas.empty() && standing == scheduler::Standing::kWithin;
  MonotonicTime later;
  auto preemption = scheduler::PlanPreemption(fleet, line, now.monotonic, [&](const NodeId& node) {
    return Victims(node, job.priority, reclaims, &later);
  });
  if (preemption) tell(*preemption);
}

void Control::State::Apply(PlanJob& c) {
  PlanReply reply;
  Job job;
  job.sequence = next_sequence;
  job.user = c.user;
  job.priority = c.priority;
  job.resources = c.request.resources;
  job.device = c.request.device;
  Terms terms;
  terms.labels = c.request.labels;
  terms.limits.run = c.request.run_limit;
  terms.project = c.project;
  terms.nodes = c.request.nodes;
  terms.min_nodes = c.request.min_nodes;
  terms.processes = c.request.processes;
  job.terms = std::make_shared<const Terms>(std::move(terms));
  job.created_at = now.unix;
  Plan(job, c.what_if, &reply);
  if (reply.node.empty() && c.what_if.more_nodes == 0) PlanRoom(job, &reply);
  if (reply.node.empty() && reply.reasons.empty())
    reply.reasons.push_back({"QUEUED", "waits for its turn behind jobs that go first", {}});
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::Apply(ExplainJob& c) {
  auto found = Recall(c.job);
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  const Job& job = entry->job;
  PlanReply reply;
  if (job.state == JobState::kQueued && IsInLine(job)) {
    Plan(job, c.what_if, &reply);
    if (reply.node.empty() && c.what_if.more_nodes == 0) PlanRoom(job, &reply);
  }
  const scheduler::Hold* kept = IsInLine(job) ? HoldFor(job) : nullptr;
  if (kept != nullptr && !reply.estimated_start) {
    const scheduler::Hold& hold = *kept;
    std::string nodes;
    for (const scheduler::Hold::Place& place : hold.places)
      nodes += (nodes.empty() ? "'" : ", '") + place.node.value + "'";
    reply.estimate_basis = hold.places.size() == 1 ? "node " + nodes + " is kept for it"
                                                   : "nodes " + nodes + " are kept for it";
    if (hold.start != MonotonicTime::Never()) {
      reply.estimated_start = UnixTime{now.unix.ms + Milliseconds(hold.start - now.monotonic)};
      reply.estimate_basis += ": at the latest then, by the limits of what runs there";
    }
  }
  reply.view = View(*entry);
  if (c.what_if.more_nodes == 0) reply.reasons = reply.view.reasons;
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

}  // namespace cyxwiz::control
