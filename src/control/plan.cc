#include <algorithm>
#include <iterator>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {
namespace {

constexpr int32_t kCpu = 1, kCuda = 2;  // wire DeviceType

// What an attempt may take to end that has been told to.
constexpr Duration kTimeToYield = std::chrono::minutes(1);

// The largest of the nodes, but with the amounts that are given.
scheduler::NodeState LikeLargest(const std::vector<scheduler::NodeState>& nodes,
                                 const Resources& given) {
  scheduler::NodeState like;
  int64_t most_gpu_bytes = 0;
  for (const scheduler::NodeState& node : nodes) {
    if (node.capacity.cpu_millis > like.capacity.cpu_millis) like = node;
    for (const GpuPart& gpu : *node.capacity.gpus)
      most_gpu_bytes = std::max(most_gpu_bytes, gpu.memory_bytes);
  }
  Resources& has = like.capacity;
  if (given.cpu_millis > 0) has.cpu_millis = given.cpu_millis;
  if (given.memory_bytes > 0) has.memory_bytes = given.memory_bytes;
  if (given.disk_bytes > 0) has.disk_bytes = given.disk_bytes;
  for (const NamedAmount& n : given.named) has.SetNamed(n.name, n.amount);
  if (given.AsksForGpu()) {
    const std::vector<GpuPart> gpus = *has.gpus;
    const int64_t count = given.gpu_millis > 0 ? given.gpu_millis / kWholeGpu
                                               : std::max<int64_t>(1, std::ssize(gpus));
    const int64_t bytes = given.gpu_memory_bytes > 0 ? given.gpu_memory_bytes
                          : gpus.empty()             ? most_gpu_bytes
                                                     : gpus.front().memory_bytes;
    has.gpus = {};
    has.gpu_millis = has.gpu_memory_bytes = 0;
    has.AddGpus(count, bytes);
    const auto is_gpu = [](int32_t device) { return device > kCpu; };
    if (std::none_of(like.devices.begin(), like.devices.end(), is_gpu))
      like.devices.push_back(kCuda);
  }
  like.online = true;
  like.held = like.cordoned = like.quarantined = like.probe = like.kept = false;
  like.claims = 0;
  like.free = has;
  return like;
}

// Of a question that somebody waits for.
constexpr PlanBounds kWholePlan{.most_counted = INT64_MAX, .most_ahead = 1000, .most_steps = 1000};

void AddTurn(PlanReply* reply) {
  if (reply->node.empty() && reply->reasons.empty())
    reply->reasons.push_back({"QUEUED", "waits for its turn behind jobs that go first", {}});
}

}  // namespace

Result<scheduler::Fleet> Control::State::SupposedFleet(const WhatIf& what_if) const {
  scheduler::Fleet supposed = fleet;
  if (what_if.more_nodes == 0) return supposed;
  scheduler::NodeState node = LikeLargest(fleet.nodes(), what_if.resources);
  if (node.capacity.cpu_millis == 0 || node.capacity.memory_bytes == 0) {
    return FailedPrecondition(
        "no node is registered that the supposed ones could be like",
        "say what they have: cores and memory, such as nodes=+1,cpus=16,memory=32GiB");
  }
  int64_t number = 0;
  for (int32_t i = 0; i < what_if.more_nodes; ++i) {
    do {
      node.id = {"what-if-" + std::to_string(++number)};
    } while (supposed.Find(node.id) != nullptr);
    supposed.Put(node);
  }
  return supposed;
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

std::vector<scheduler::Running> Control::State::RunningAttempts() const {
  std::vector<scheduler::Running> running;
  for (const auto& [id, node] : nodes) {
    for (const JobId& one : node.jobs) {
      const JobEntry& entry = *jobs.at(one);
      const Job& job = entry.job;
      std::optional<Duration> left = Remaining(entry);
      if (IsToStop(entry)) left = std::min(left.value_or(kTimeToYield), kTimeToYield);
      running.push_back({id, HeldOn(job, id), left, job.user, ProjectOf(job), job.sequence,
                         job.member != nullptr && job.node == id ? job.member->array_sequence : 0});
    }
  }
  return running;
}

int64_t Control::State::LineUp(const JobEntry& entry, int64_t members_before,
                               const PlanBounds& bounds, scheduler::Prospect* prospect) const {
  const Job& job = entry.job;
  const LineKey own_key = LineOf(job);
  const Rank rank = RankOf(job);
  int64_t ahead = members_before;
  std::map<LineKey, size_t> placed;  // lines by their place in the prospect
  auto line_of = [&](const LineKey& key) -> scheduler::Line& {
    auto [found, fresh] = placed.try_emplace(key, prospect->lines.size());
    return fresh ? prospect->lines.emplace_back(scheduler::Line{key, {}, true})
                 : prospect->lines[found->second];
  };
  auto waiting = [this](const Job& one) {
    return scheduler::Waiting{one.sequence, EffectivePriority(one), one.data};
  };
  auto add = [&](const Job& one, int64_t times) {
    std::vector<scheduler::Waiting>& in_line = line_of(LineOf(one)).jobs;
    in_line.insert(in_line.end(), static_cast<size_t>(times), waiting(one));
  };
  auto add_rest = [&](const Job& array, int64_t started_later) {
    const int64_t members = array.array->size - array.array->started - started_later;
    if (members <= 0) return;
    line_of(LineOf(array));
    prospect->rests[array.sequence] = {placed.at(LineOf(array)), waiting(array), members};
  };
  for (const auto& [key, line] : lines) {
    // Those for which room is kept or made take it, though they come later.
    const auto is_for = [&key = key](const auto& one) { return one.line == key; };
    int64_t kept = std::count_if(fleet.holds().begin(), fleet.holds().end(), is_for) +
                   std::count_if(fleet.claims().begin(), fleet.claims().end(), is_for);
    const scheduler::Share share = shares.Of(key.account, key.project, now.monotonic);
    const scheduler::Standing standing = quotas.Of(key);
    for (int64_t sequence : line.jobs) {
      if (sequence == job.sequence) continue;
      const Job& other = by_sequence.at(sequence)->job;
      int64_t starts = MostStarts(other);
      if (RankOf(other, share, standing) < rank) {
        ahead += starts;
      } else if ((starts = std::min(starts, kept)) == 0) {
        break;
      }
      if (ahead > bounds.most_counted) return ahead;
      if (ahead > bounds.most_ahead) continue;  // it is only counted
      kept -= std::min(kept, starts);
      add(other, starts);
      if (other.array != nullptr) add_rest(other, starts);
    }
  }
  for (const auto& [sequence, of_array] : members) {
    const auto array = by_sequence.find(sequence);
    if (sequence == job.sequence || array == by_sequence.end()) continue;
    const Job& other = array->second->job;
    if (other.state == JobState::kQueued && NotDueOf(*array->second) == NotDue::kArrayParallel &&
        RankOf(other) < rank)
      add_rest(other, 0);
  }
  if (ahead > bounds.most_ahead) return ahead;
  const int64_t own = std::min(members_before + 1, MostStarts(job));
  std::vector<scheduler::Waiting>& in_line = line_of(own_key).jobs;
  const auto place = std::find_if(in_line.begin(), in_line.end(),
                                  [&](const auto& one) { return one.job > job.sequence; });
  in_line.insert(place, static_cast<size_t>(own), waiting(job));
  if (job.array != nullptr) add_rest(job, own);
  return ahead;
}

std::string Control::State::SmallestChange(const JobEntry& entry,
                                           const std::vector<scheduler::NodeState>& of_nodes,
                                           const KeepsNode& is_kept) const {
  const LineKey line = LineOf(entry.job);
  if (const scheduler::Claim* claim = ClaimOf(entry.job)) return RoomToBeMade(*claim);
  std::string text = ChangeToBeDue(entry);
  for (const std::string& change :
       {quotas.SmallestChange(line), scheduler::SmallestChange(line.request, of_nodes, is_kept)}) {
    if (!change.empty()) text += (text.empty() ? "" : ", and ") + change;
  }
  return text;
}

Status Control::State::Plan(const JobEntry& entry, int64_t members_before, const WhatIf& what_if,
                            const PlanBounds& bounds, PlanReply* reply) {
  const Job& job = entry.job;
  const LineKey line = LineOf(job);
  ASSIGN_OR_RETURN(scheduler::Fleet supposed, SupposedFleet(what_if));
  const std::vector<scheduler::NodeState>& states = supposed.nodes();
  Status possible = scheduler::CouldEverRun(line.request, states);
  if (possible.ok()) possible = quotas.CouldEverRun(line);
  reply->could_ever_run = possible.ok();
  const KeepsNode is_kept = [&](const scheduler::NodeState& node) {
    return scheduler::IsKeptFrom(supposed, node, line, now.monotonic);
  };
  reply->reasons = scheduler::Explain(line.request, states, is_kept);
  AddQuotaReason(line, &reply->reasons);
  if (auto reason = NotDueReason(entry)) {
    reply->reasons.insert(reply->reasons.begin(), std::move(*reason));
  } else if (const scheduler::Claim* claim = ClaimOf(job)) {
    reply->reasons.insert(reply->reasons.begin(), PreemptingReason(*claim));
  }
  reply->smallest_change = SmallestChange(entry, states, is_kept);
  for (const auto& [key, one] : lines) {
    reply->jobs_queued += std::ssize(one.jobs);
    for (int64_t array : one.arrays)
      reply->jobs_queued += MostStarts(by_sequence.at(array)->job) - 1;
  }
  scheduler::Prospect prospect{.shares = shares, .quotas = quotas, .now = now.monotonic};
  const int64_t ahead = LineUp(entry, members_before, bounds, &prospect);
  if (ahead <= bounds.most_counted) reply->queue_position = ahead + 1;
  if (ahead > bounds.most_ahead) {
    reply->estimate_basis = "more than " + std::to_string(bounds.most_ahead) + " jobs are ahead";
    return OkStatus();
  }
  const std::optional<Duration> due = DueIn(entry);
  if (!due) {
    reply->estimate_basis = "nothing is known of when the jobs that it waits for will end";
    return OkStatus();
  }
  prospect.fleet = std::move(supposed);
  prospect.running = RunningAttempts();
  for (const auto& [id, node] : nodes) {
    if (node.held_until > now.monotonic)
      prospect.resting.emplace_back(id, node.held_until - now.monotonic);
  }
  const auto forecast = scheduler::ForecastStart(
      std::move(prospect), {job.sequence, *due, members_before},
      [&](int64_t one) -> std::optional<Duration> {
        const auto found = by_sequence.find(one);
        return found != by_sequence.end() ? ExpectedDuration(*found->second) : std::nullopt;
      },
      bounds.most_steps);
  if (!forecast) {
    reply->estimate_basis = reply->could_ever_run
                                ? "nothing is known of how long the jobs ahead will run"
                                : possible.message();
    return OkStatus();
  }
  reply->estimated_start = UnixTime{now.unix.ms + Milliseconds(forecast->start)};
  if (forecast->start == Duration::zero()) {
    reply->node = forecast->node;
    reply->estimate_basis = "a node is free";
  } else {
    reply->estimate_basis = "from the progress of running jobs and the time that " +
                            std::to_string(epoch_seconds.count) +
                            (epoch_seconds.count == 1 ? " earlier job took" : " earlier jobs took");
  }
  return OkStatus();
}

void Control::State::PlanRoom(const Job& job, PlanReply* reply) const {
  if (!options.preemption.on) return;
  auto tell = [&](const scheduler::Preemption& room) {
    reply->preempts = VictimsOf(room);
    for (const scheduler::Preemption::Place& place : room.places)
      reply->preempts_on.push_back(place.node);
  };
  if (const scheduler::Claim* claim = ClaimOf(job)) {
    tell(RoomOf(*claim));
    UnixTime then{now.unix.ms + Milliseconds(kTimeToYield)};
    reply->estimated_start = std::min(reply->estimated_start.value_or(then), then);
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

std::optional<Outlook> Control::State::OutlookOf(const JobEntry& entry, int64_t members_before) {
  // Other commands wait meanwhile. One question of a batch may cost up to the first, all of them
  // together up to the second, in looks at nodes, attempts and lines: some milliseconds.
  constexpr int64_t kMostOfOne = 40'000, kMostOfBatch = 4'000;
  constexpr PlanBounds kBounds{.most_counted = 100, .most_ahead = 100, .most_steps = 100};
  if (entry.job.state != JobState::kQueued) return std::nullopt;
  const int64_t running = counters.jobs_by_state[static_cast<int>(JobState::kAssigned)] +
                          counters.jobs_by_state[static_cast<int>(JobState::kRunning)];
  const int64_t looks =
      kBounds.most_counted + std::ssize(lines) + 10 * std::ssize(nodes) + 5 * running;
  if (outlook_looks + looks > (outlook_looks == 0 ? kMostOfOne : kMostOfBatch)) return std::nullopt;
  outlook_looks += looks;
  PlanReply plan;
  if (!Plan(entry, members_before, {}, kBounds, &plan).ok()) return std::nullopt;
  if (NotDueOf(entry) == NotDue::kIsDue) PlanRoom(entry.job, &plan);
  if (members_before == 0) AddHold(entry.job, &plan);
  return Outlook{std::move(plan.smallest_change), plan.queue_position, plan.estimated_start};
}

void Control::State::AddHold(const Job& job, PlanReply* reply) const {
  const scheduler::Hold* hold = IsInLine(job) ? HoldFor(job) : nullptr;
  if (hold == nullptr) return;
  const bool is_sure = hold->start != MonotonicTime::Never();
  const UnixTime latest{now.unix.ms + (is_sure ? Milliseconds(hold->start - now.monotonic) : 0)};
  if (reply->estimated_start && !(is_sure && latest < *reply->estimated_start)) return;
  std::string nodes;
  for (const scheduler::Hold::Place& place : hold->places)
    nodes += (nodes.empty() ? "'" : ", '") + place.node.value + "'";
  reply->estimate_basis = hold->places.size() == 1 ? "node " + nodes + " is kept for it"
                                                   : "nodes " + nodes + " are kept for it";
  if (!is_sure) return;
  reply->estimated_start = latest;
  reply->estimate_basis += ": at the latest then, by the limits of what runs there";
}

void Control::State::Apply(PlanJob& c) {
  auto same = FindSame(c.job, *c.body, c.fresh_id);
  if (!same.ok()) return Answer(c.reply_to, same.status());
  if (*same != nullptr) {  // to submit it once more would change nothing
    ExplainJob explain{c.reply_to, c.job.id, c.what_if};
    return Apply(explain);
  }
  Status accepted = CheckRoomInQueue();
  if (accepted.ok()) accepted = CheckSubmission(c.job, c.fresh_id);
  JobEntry entry;
  entry.job = std::move(c.job);
  entry.job.sequence = next_sequence;
  entry.job.created_at = now.unix;
  entry.waits_for = Awaited(entry.job);
  PlanReply reply;
  if (accepted.ok()) accepted = Plan(entry, 0, c.what_if, kWholePlan, &reply);
  if (!accepted.ok()) return Answer(c.reply_to, std::move(accepted));
  if (reply.node.empty() && c.what_if.more_nodes == 0 && NotDueOf(entry) == NotDue::kIsDue)
    PlanRoom(entry.job, &reply);
  AddTurn(&reply);
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::Apply(ExplainJob& c) {
  auto found = Recall(c.job);
  std::optional<JobView> unstarted;
  int64_t members_before = 0;
  if (!found.ok() && found.status().code() == Code::kNotFound) {
    unstarted = ViewUnstarted(c.job);
    if (unstarted) found = Recall(unstarted->job.member->array);
  }
  if (!found.ok()) return Answer(c.reply_to, found.status());
  JobEntry* entry = *found;
  const Job& job = entry->job;
  if (unstarted) members_before = unstarted->job.member->number - job.array->started;
  PlanReply reply;
  if (job.state == JobState::kQueued) {
    if (Status planned = Plan(*entry, members_before, c.what_if, kWholePlan, &reply); !planned.ok())
      return Answer(c.reply_to, std::move(planned));
    if (c.what_if.more_nodes == 0) {
      if (reply.node.empty() && NotDueOf(*entry) == NotDue::kIsDue) PlanRoom(job, &reply);
      if (members_before == 0) AddHold(job, &reply);
    }
    AddTurn(&reply);
  }
  reply.view = unstarted ? std::move(*unstarted) : View(*entry);
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

}  // namespace cyxwiz::control
