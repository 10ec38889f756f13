#include "control/control.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "control/job_index.h"
#include "control/transitions.h"

namespace cyxwiz::control {
namespace {

using scheduler::Reason;

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

// A broken invariant is a bug of this program: going on would write it to disk.
void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "control: broken invariant: %s\n", what);
  std::abort();
}

// Whether a failure with this cause is tried again (within max_retries). The others are the job's
// own fault and would only happen again.
bool IsRetried(Cause cause) {
  switch (cause) {
    case Cause::kOutOfMemory:
    case Cause::kOutOfGpuMemory:
    case Cause::kRunnerCrashed:
    case Cause::kDataUnavailable:
    case Cause::kInternal:
      return true;
    default:
      return false;
  }
}

// Whether an attempt's failure with this cause may be the node's fault rather than the job's.
bool MayBeTheNodes(Cause cause) {
  return cause == Cause::kRunnerCrashed || cause == Cause::kDataUnavailable ||
         cause == Cause::kInternal || cause == Cause::kOutOfGpuMemory;
}

// The same in every run: a part of one that differs from job to job, so that many that failed
// together do not come back together. In [0, 1).
double Jitter(const JobId& id, int64_t number) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 1099511628211u; };
  for (char c : id.value) mix(static_cast<unsigned char>(c));
  for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(number >> (8 * i)));
  return static_cast<double>(hash >> 11) * 0x1p-53;
}

constexpr int64_t kTrimEvents = 1000;

struct JobEntry {
  Job job;
  std::shared_ptr<const JobBody> body;
  bool stored = false;      // the store has a row of it
  bool changed = false;     // must be written with this batch
  bool progressed = false;  // must be written within progress_flush
  bool touched = false;     // followers must be told with this batch
  int32_t node_faults = 0;  // attempts that a node's own trouble ended, for their backoff
  // Of the current attempt:
  bool accepted = false;    // the node has said yes, or has been heard of it
  MonotonicTime last_seen;  // when its node last listed or reported it
  bool adopted = false;     // begun under an earlier run of this server
  // While Queued and not in line: its backoff timer. Older timers of the job fire without effect.
  MonotonicTime wake;
  // When its limits end it; Never() without.
  MonotonicTime run_end = MonotonicTime::Never(), queue_end = MonotonicTime::Never(),
                deadline = MonotonicTime::Never();
  int32_t waits_for = 0;  // jobs that must end first
};

struct NodeEntry {
  Node node;
  bool online = false;
  bool changed = false;
  std::string session;  // empty: it must register before it is given anything
  std::string boot;     // of the last registration, and its number
  int64_t registration = 0;
  UnixTime last_heartbeat;
  MonotonicTime lease_end = MonotonicTime::Never();
  MonotonicTime held_until;
  int32_t refusals = 0;  // since it last took an attempt
  Resources reserved;
  std::set<JobId> jobs;  // whose current attempt is assigned or running here
  // Jobs with different bodies that failed here since one succeeded; text of each failure.
  std::map<int64_t, std::string> failures;
};

// Of how long attempts that succeeded ran, newer ones weighing more.
struct Average {
  double mean = 0;
  int64_t count = 0;
  void Add(double value) {
    ++count;
    mean += (value - mean) / static_cast<double>(std::min<int64_t>(count, 10));
  }
};

struct BodyEntry {
  int64_t number = 0;
  std::shared_ptr<const JobBody> body;
  int64_t jobs = 0;
  bool stored = false;
  Average seconds = {};
};

enum class TimerKind {
  kLease,
  kAssign,
  kBackoff,
  kHeld,
  kFlush,
  kRunLimit,
  kQueueLimit,
  kDeadline,
  kProbe
};
struct Timer {
  MonotonicTime at;
  TimerKind kind;
  std::string id;  // of the job or node
  auto operator<=>(const Timer&) const = default;
};

// A line of the queue: same priority, same request, same user.
struct LineKey {
  int32_t priority;
  scheduler::Request request;
  std::string user;
  auto Tie() const {
    return std::tie(priority, user, request.run_limit, request.resources.cpu_millis,
                    request.resources.memory_bytes, request.resources.gpus,
                    request.resources.disk_bytes, request.device, request.resources.named,
                    request.labels);
  }
  bool operator<(const LineKey& other) const { return Tie() < other.Tie(); }
};
struct LineJobs {
  std::set<int64_t> jobs;
  bool fresh = true;  // not there at the last pass of the scheduler
};

scheduler::Request RequestOf(const Job& job) {
  if (job.terms == nullptr) return {job.resources, job.device, {}, {}};
  return {job.resources, job.device, job.terms->labels, job.terms->limits.run};
}
LineKey LineOf(const Job& job) { return {job.priority, RequestOf(job), job.user}; }

constexpr int32_t kHighestPriority = 3;
// What it may take at most to end an attempt that has reached its limit.
constexpr Duration kTimeToStop = std::chrono::seconds(10);

const Limits& LimitsOf(const Job& job) {
  static const Limits kNone;
  return job.terms != nullptr ? job.terms->limits : kNone;
}

int64_t Milliseconds(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace

struct Control::State {
  explicit State(Options o)
      : options(std::move(o)), shares(options.share_half_life, options.share_weights) {}

  Options options;
  std::unordered_map<JobId, std::unique_ptr<JobEntry>> jobs;
  std::unordered_map<int64_t, JobEntry*> by_sequence;
  std::map<NodeId, NodeEntry> nodes;
  std::unordered_map<std::string, BodyEntry> bodies;
  std::unordered_map<JobId, RemovedJob> removed;
  std::map<int64_t, JobId> removed_by_sequence;
  JobIndex index;
  std::map<LineKey, LineJobs> lines;  // jobs that may be scheduled now
  scheduler::Fleet fleet;             // `nodes`, as the scheduler sees them
  scheduler::Shares shares;
  // The job that goes first, when it could not start and others have passed it by since.
  int64_t overtaken = 0;
  MonotonicTime overtaken_since;
  int64_t nodes_quarantined = 0;
  std::unordered_map<JobId, std::vector<JobId>> dependents;  // of jobs that have not ended
  std::set<Timer> timers;
  std::set<int64_t> unflushed;  // sequences of jobs with progressed
  bool flush_armed = false;
  int64_t next_sequence = 1;  // of jobs and events alike
  int64_t first_event = 1;    // the oldest number that the store may hold
  int64_t next_body = 1;
  std::unordered_map<std::string, int64_t> checkpoint_files;  // sha256 -> checkpoints that need it
  Average all_seconds;
  Counters counters;

  // Of the batch in work:
  Now now;
  Output* output = nullptr;
  bool reschedule = false;
  std::vector<JobEntry*> touched;
  std::vector<Record> removals;  // what deletes and remembers removed jobs
  std::vector<NodeEntry*> changed_nodes;
  std::vector<Event> events;
  std::vector<JobId> ended;            // whose dependents have not been looked at
  std::vector<std::string> uncounted;  // files of checkpoints that somebody gave up
  struct PendingReply {
    ReplyTo to;
    JobId job;
    bool is_submit, existed;
  };
  std::vector<PendingReply> pending;
  std::map<LineKey, std::vector<Reason>> explained;

  // ---- Small steps ----

  JobEntry* Find(const JobId& id) {
    auto found = jobs.find(id);
    return found == jobs.end() ? nullptr : found->second.get();
  }
  NodeEntry* FindNode(const NodeId& id) {
    auto found = nodes.find(id);
    return found == nodes.end() ? nullptr : &found->second;
  }

  void Answer(ReplyTo to, Status status, decltype(Reply::content) content = std::monostate()) {
    if (to != 0) output->effects.push_back(Reply{to, std::move(status), std::move(content)});
  }
  static Status NoSuchJob(const JobId& id) {
    return NotFound("there is no job '" + id.value + "'", "list the jobs with 'cyxwiz ps'");
  }

  void Touch(JobEntry& entry) {
    if (!entry.touched) touched.push_back(&entry);
    entry.touched = true;
  }
  void MarkChanged(JobEntry& entry) {
    entry.changed = true;
    Touch(entry);
  }
  void MarkChanged(NodeEntry& node) {
    if (!node.changed) changed_nodes.push_back(&node);
    node.changed = true;
  }

  void Arm(MonotonicTime at, TimerKind kind, const std::string& id) {
    timers.insert({at, kind, id});
  }
  void Disarm(MonotonicTime at, TimerKind kind, const std::string& id) {
    timers.erase({at, kind, id});
  }

  Event& Tell(EventKind kind, std::string message) {
    Event event;
    event.number = next_sequence++;
    event.at = now.unix;
    event.kind = kind;
    event.message = std::move(message);
    events.push_back(std::move(event));
    return events.back();
  }
  Event& Tell(const Job& job, EventKind kind, std::string message) {
    Event& event = Tell(kind, std::move(message));
    event.sequence = job.sequence;
    event.job = job.id;
    event.attempt = job.attempt;
    if (job.attempt > 0) event.node = job.node;
    return event;
  }
  void Tell(const NodeEntry& node, EventKind kind, std::string message) {
    Tell(kind, std::move(message)).node = node.node.id;
  }

  void SetState(JobEntry& entry, JobState to, std::string message) {
    Job& job = entry.job;
    Require(IsLegal(job.state, to), "illegal change of a job's state");
    Event& event = Tell(job, EventKind::kStateChanged, message);
    event.from = job.state;
    event.to = to;
    if (to != JobState::kAssigned && to != JobState::kRunning && to != JobState::kSucceeded)
      event.cause = job.cause;
    index.Move(job, to);
    counters.jobs_by_state[static_cast<int>(job.state)]--;
    counters.jobs_by_state[static_cast<int>(to)]++;
    if (job.state == JobState::kQueued) LeaveLine(job);
    job.state = to;
    job.message = std::move(message);
    if (IsFinal(to)) {
      job.ended_at = now.unix;
      job.limit_hit = Cause::kNone;
      DisarmLimit(job, TimerKind::kQueueLimit, &entry.queue_end);
      DisarmLimit(job, TimerKind::kDeadline, &entry.deadline);
      if (entry.waits_for > 0) StopWaiting(entry);
      if (dependents.count(job.id) > 0) ended.push_back(job.id);
      if (to == JobState::kSucceeded) counters.succeeded++;
      if (to == JobState::kFailed) counters.failed++;
      if (to == JobState::kCancelled) counters.cancelled++;
      Drop(job);
    }
    if (to == JobState::kQueued) EnterLine(entry);
    MarkChanged(entry);
  }

  // A limit of `whole` of which `used` is over. The clock may have jumped meanwhile: never longer
  // than the whole.
  void ArmLimit(const Job& job, TimerKind kind, Duration whole, Duration used, MonotonicTime* end) {
    *end = now.monotonic + std::clamp(whole - used, Duration::zero(), whole);
    Arm(*end, kind, job.id.value);
  }
  void DisarmLimit(const Job& job, TimerKind kind, MonotonicTime* end) {
    if (*end != MonotonicTime::Never()) Disarm(*end, kind, job.id.value);
    *end = MonotonicTime::Never();
  }
  Duration Since(UnixTime time) const { return std::chrono::milliseconds(now.unix.ms - time.ms); }

  // Of a job that has not ended.
  void ArmLimits(JobEntry& entry) {
    const Job& job = entry.job;
    const Limits& limits = LimitsOf(job);
    if (limits.queue > Duration::zero() && job.started_at.ms == 0) {
      ArmLimit(job, TimerKind::kQueueLimit, limits.queue, Since(job.created_at), &entry.queue_end);
    }
    if (limits.deadline.ms > 0) {
      Duration left = std::chrono::milliseconds(limits.deadline.ms - now.unix.ms);
      ArmLimit(job, TimerKind::kDeadline, std::max(left, Duration::zero()), {}, &entry.deadline);
    }
    if (job.state == JobState::kRunning) ArmRunLimit(entry);
  }
  void ArmRunLimit(JobEntry& entry) {
    const Limits& limits = LimitsOf(entry.job);
    if (limits.run > Duration::zero()) {
      ArmLimit(entry.job, TimerKind::kRunLimit, limits.run, Since(entry.job.attempt_started_at),
               &entry.run_end);
    }
  }

  static std::string LimitMessage(const Job& job, Cause cause) {
    const Limits& limits = LimitsOf(job);
    auto seconds = [](Duration d) {
      return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(d).count()) + " s";
    };
    switch (cause) {
      case Cause::kTimeLimit:
        return "it ran longer than its limit of " + seconds(limits.run);
      case Cause::kQueueTimeLimit:
        return "it waited longer than its limit of " + seconds(limits.queue);
      default:
        return "its deadline has passed";
    }
  }

  // A limit of the job is reached: it ends, at once or when its processes have.
  void HitLimit(JobEntry& entry, Cause cause) {
    Job& job = entry.job;
    if (IsFinal(job.state) || job.cancel_requested || job.limit_hit != Cause::kNone) return;
    if (job.state == JobState::kQueued || job.state == JobState::kPaused)
      return FailByLimit(entry, cause);
    job.limit_hit = cause;
    job.message = LimitMessage(job, cause) + ": stopping";
    MarkChanged(entry);
    SendStop(entry, LimitMessage(job, cause));
  }
  void FailByLimit(JobEntry& entry, Cause cause) {
    Job& job = entry.job;
    job.cause = cause;
    job.error = {static_cast<int32_t>(Code::kDeadlineExceeded), LimitMessage(job, cause),
                 "raise \"limits\" in the job file and submit it again"};
    SetState(entry, JobState::kFailed, job.error.message);
  }

  // ---- Dependencies ----

  // Before the job is told of: what it waits for.
  void StartWaiting(JobEntry& entry) {
    const Job& job = entry.job;
    if (job.terms == nullptr) return;
    for (const Dependency& dependency : job.terms->after) {
      const JobEntry* other = Find(dependency.job);
      // One that is not there was deleted, which it was only once it had ended well.
      if (other == nullptr || IsFinal(other->job.state)) continue;
      dependents[dependency.job].push_back(job.id);
      entry.waits_for++;
    }
  }
  void StopWaiting(JobEntry& entry) {
    for (const Dependency& dependency : entry.job.terms->after) {
      auto found = dependents.find(dependency.job);
      if (found == dependents.end()) continue;
      std::erase(found->second, entry.job.id);
      if (found->second.empty()) dependents.erase(found);
    }
    entry.waits_for = 0;
  }

  // Jobs that waited for those which have ended may start now, or never will. One after the other:
  // a chain may be long.
  void WakeDependents() {
    while (!ended.empty()) {
      JobId id = std::move(ended.back());
      ended.pop_back();
      auto waiting = dependents.extract(id);
      if (waiting.empty()) continue;
      const Job& over = Find(id)->job;
      for (const JobId& one : waiting.mapped()) {
        JobEntry& entry = *Find(one);
        if (IsFinal(entry.job.state)) continue;  // it was named twice
        entry.waits_for--;
        const auto& after = entry.job.terms->after;
        bool fine = over.state == JobState::kSucceeded ||
                    std::all_of(after.begin(), after.end(), [&](const Dependency& dependency) {
                      return dependency.job != id || dependency.any_end;
                    });
        if (!fine) {
          entry.job.cause = Cause::kDependencyFailed;
          SetState(entry, JobState::kCancelled,
                   "job '" + id.value + "', which had to succeed first, has ended " +
                       JobStateName(over.state));
          continue;
        }
        if (entry.waits_for == 0 && entry.job.state == JobState::kQueued) EnterLine(entry);
        Touch(entry);
      }
    }
  }

  std::string WaitMessage(const JobEntry& entry) const {
    constexpr int kMostNamed = 5;
    std::string text = "waits for " + std::to_string(entry.waits_for) +
                       (entry.waits_for == 1 ? " job:" : " jobs:");
    int named = 0;
    for (const Dependency& dependency : entry.job.terms->after) {
      auto other = jobs.find(dependency.job);
      if (other == jobs.end() || IsFinal(other->second->job.state)) continue;
      if (named++ == kMostNamed) return text + ", ...";
      text += std::string(named > 1 ? ", '" : " '") + dependency.job.value + "' (" +
              JobStateName(other->second->job.state) + ")";
    }
    return text;
  }

  void EnterLine(JobEntry& entry) {
    if (entry.waits_for > 0) return;
    const Job& job = entry.job;
    Duration wait = std::chrono::milliseconds(job.not_before.ms - now.unix.ms);
    if (wait > Duration::zero()) {
      // not_before is calendar time because it is durable; a clock that jumped must not make a job
      // wait for ever.
      entry.wake = now.monotonic + std::min(wait, options.retry_backoff_most);
      Arm(entry.wake, TimerKind::kBackoff, job.id.value);
      return;
    }
    LineJobs& line = lines[LineOf(job)];
    line.jobs.insert(job.sequence);
    // One that has joined others waits as they do until something changes.
    reschedule |= line.fresh;
  }
  void LeaveLine(const Job& job) {
    auto line = lines.find(LineOf(job));
    if (line == lines.end()) return;
    line->second.jobs.erase(job.sequence);
    if (fleet.hold() && fleet.hold()->job == job.sequence) reschedule = true;
    if (line->second.jobs.empty()) lines.erase(line);
  }
  bool IsInLine(const Job& job) const {
    auto line = lines.find(LineOf(job));
    return line != lines.end() && line->second.jobs.count(job.sequence) > 0;
  }

  // Gives back what the current attempt holds on its node.
  void Release(JobEntry& entry) {
    NodeEntry* node = FindNode(entry.job.node);
    Require(node != nullptr && node->jobs.erase(entry.job.id) == 1,
            "an attempt is not on its node");
    node->reserved -= entry.job.resources;
    Require(!node->reserved.IsNegative(), "a node has given back more than it gave");
    fleet.GiveBack(entry.job.node, entry.job.resources);
    shares.GiveBack(entry.job.user, entry.job.resources, now.monotonic);
    if (node->node.quarantined) ArmProbe(*node);
    DisarmAssign(entry);
    DisarmLimit(entry.job, TimerKind::kRunLimit, &entry.run_end);
    reschedule = true;
  }
  void DisarmAssign(JobEntry& entry) {
    if (!entry.accepted)
      Disarm(entry.last_seen + options.assign_timeout, TimerKind::kAssign, entry.job.id.value);
  }
  void Accept(JobEntry& entry) {
    DisarmAssign(entry);
    if (!entry.accepted) nodes.at(entry.job.node).refusals = 0;
    entry.accepted = true;
    entry.last_seen = now.monotonic;
  }

  // `wait`, doubled so many times, at most `most`.
  static Duration Doubled(Duration wait, int32_t times, Duration most) {
    for (int32_t i = 0; i < times && wait < most; ++i) wait *= 2;
    return std::min(wait, most);
  }
  // After so many failures in a row.
  Duration Backoff(int32_t failures) const {
    return Doubled(options.retry_backoff, failures - 1, options.retry_backoff_most);
  }
  // Doubled at each failure, and then between three quarters and five quarters of that.
  Duration Backoff(const Job& job, int32_t failures) const {
    double part = 0.75 + 0.5 * Jitter(job.id, job.attempt);
    return std::chrono::duration_cast<Duration>(part * Backoff(failures));
  }

  // The node is given nothing for a while.
  void LetRest(NodeEntry& node, Duration time) {
    node.held_until = std::max(node.held_until, now.monotonic + time);
    Arm(node.held_until, TimerKind::kHeld, node.node.id.value);
    UpdateFleet(node);
  }

  // ---- Checkpoints ----

  static std::string Place(const Checkpoint& checkpoint) {
    return "epoch " + std::to_string(checkpoint.epoch) + ", step " +
           std::to_string(checkpoint.step);
  }
  static std::string PausedMessage(const Job& job) {
    return job.checkpoint.exists()
               ? "paused at " + Place(job.checkpoint) + "; it goes on there when resumed"
               : "paused; it starts from its beginning when resumed";
  }

  // Counts a checkpoint's files in (+1) or out (-1); what nobody counts at the batch's end is
  // released. The same file may be a part of two checkpoints: of jobs that do the same.
  void CountFiles(const Checkpoint& checkpoint, int change) {
    for (const Artifact& file : checkpoint.files) {
      checkpoint_files[file.sha256] += change;
      if (change < 0) uncounted.push_back(file.sha256);
    }
  }
  // Takes what an attempt reports; an older one than what is there is of no use.
  void Keep(JobEntry& entry, Checkpoint checkpoint) {
    if (!checkpoint.exists()) return;
    Job& job = entry.job;
    CountFiles(checkpoint, +1);
    if (!job.checkpoint.exists() || checkpoint.step >= job.checkpoint.step) {
      std::swap(job.checkpoint, checkpoint);
      MarkChanged(entry);
    }
    CountFiles(checkpoint, -1);
  }
  // Of an attempt that is not the current one.
  void Refuse(const Checkpoint& checkpoint) {
    CountFiles(checkpoint, +1);
    CountFiles(checkpoint, -1);
  }
  void Drop(Job& job) {
    CountFiles(job.checkpoint, -1);
    job.checkpoint = {};
  }
  void ReleaseFiles() {
    ReleaseEffect release;
    for (std::string& file : uncounted) {
      auto found = checkpoint_files.find(file);
      if (found == checkpoint_files.end() || found->second > 0) continue;
      checkpoint_files.erase(found);
      release.sha256.push_back(std::move(file));
    }
    uncounted.clear();
    if (!release.sha256.empty()) output->effects.push_back(std::move(release));
  }

  // What the job shows is where its next attempt begins.
  static void StepBack(Job& job) {
    job.metrics.clear();
    job.progress = 0;
    job.current_epoch = 0;
    if (!job.checkpoint.exists() || job.total_epochs < 1) return;
    job.current_epoch = std::min(job.checkpoint.epoch, job.total_epochs);
    job.progress =
        std::clamp(static_cast<double>(job.checkpoint.epoch - 1) / job.total_epochs, 0.0, 1.0);
  }

  // The attempt is over without being the job's failure: the job goes back into the queue, or ends
  // if it was to end anyhow.
  void Lose(JobEntry& entry, Cause cause, const std::string& why, Duration wait = {}) {
    Job& job = entry.job;
    Release(entry);
    counters.attempts_lost++;
    if (job.cancel_requested) {
      SetState(entry, JobState::kCancelled, CancelMessage(job));
      return;
    }
    if (job.limit_hit != Cause::kNone) return FailByLimit(entry, job.limit_hit);
    job.error = {};
    if (cause != Cause::kNodeLost) job.nodes_lost = 0;
    if (job.nodes_lost >= options.max_nodes_lost) {
      job.cause = Cause::kKillsNodes;
      job.error = {static_cast<int32_t>(Code::kAborted),
                   std::to_string(job.nodes_lost) +
                       " nodes were lost one after the other while they ran it; last: " + why,
                   "see the node's log; 'cyxwiz retry " + job.id.value + "' runs it again"};
      SetState(entry, JobState::kFailed, job.error.message);
      return;
    }
    job.cause = cause;
    StepBack(job);
    if (job.pause_requested) {
      job.pause_requested = false;
      job.cause = Cause::kNone;
      SetState(entry, JobState::kPaused, PausedMessage(job));
      return;
    }
    job.not_before = {wait > Duration::zero() ? now.unix.ms + Milliseconds(wait) : 0};
    SetState(entry, JobState::kQueued, "queued again: " + why);
  }

  // Its node is gone with the attempt that ran there. Not held against the job when this server was
  // gone too: then more than the node has failed.
  void LoseWithNode(JobEntry& entry, const std::string& why) {
    if (entry.job.state == JobState::kRunning && !entry.adopted) entry.job.nodes_lost++;
    Lose(entry, Cause::kNodeLost, why);
  }

  // ---- Quarantine ----

  // Tells the scheduler what it must know of the node besides amounts.
  void UpdateFleet(const NodeEntry& node) {
    fleet.Change(node.node.id, [&](scheduler::NodeState& state) {
      state.online = node.online;
      state.held = node.session.empty() || node.held_until > now.monotonic;
      state.cordoned = node.node.cordoned;
      state.quarantined = node.node.quarantined;
      if (!node.node.quarantined) state.probe = false;
    });
    reschedule = true;
  }
  void PutIntoFleet(const NodeEntry& node) {
    const Node& n = node.node;
    scheduler::NodeState state;
    state.id = n.id;
    state.capacity = n.capacity;
    state.free = n.capacity - node.reserved;
    state.devices = n.devices;
    if (!n.labels.empty()) state.labels = std::make_shared<const Labels>(n.labels);
    Resources total = shares.total() + n.capacity;
    if (const scheduler::NodeState* earlier = fleet.Find(n.id)) {
      state.probe = earlier->probe;
      total -= earlier->capacity;
    }
    shares.SetTotal(total);
    fleet.Put(std::move(state));
    UpdateFleet(node);
  }

  // An attempt failed on the node, perhaps by the node's fault. Unlike jobs that fail in a row tell
  // that it is; but when most nodes seem so, it is something else.
  void Suspect(NodeEntry& node, const JobEntry& entry, const std::string& what) {
    if (node.node.quarantined) {  // the probe has failed
      node.node.failed_probes++;
      MarkChanged(node);
      return;
    }
    node.failures[entry.job.body] = "'" + entry.job.id.value + "' (" + what + ")";
    if (std::ssize(node.failures) < options.quarantine_failures ||
        2 * (nodes_quarantined + 1) > std::ssize(nodes)) {
      return;
    }
    std::string reason =
        std::to_string(node.failures.size()) + " unlike jobs failed one after the other:";
    for (const auto& [body, text] : node.failures) reason += " " + text;
    node.failures.clear();
    node.node.quarantined = true;
    node.node.quarantine_reason = reason;
    node.node.failed_probes = 0;
    nodes_quarantined++;
    MarkChanged(node);
    Tell(node, EventKind::kNodeQuarantined, reason);
    UpdateFleet(node);
    ArmProbe(node);
  }
  void ArmProbe(const NodeEntry& node) {
    Duration wait = Doubled(options.probe_wait, node.node.failed_probes, options.probe_wait_most);
    Arm(now.monotonic + wait, TimerKind::kProbe, node.node.id.value);
  }
  void ReleaseNode(NodeEntry& node, const std::string& why) {
    node.failures.clear();
    if (!node.node.quarantined) return;
    node.node.quarantined = false;
    node.node.quarantine_reason.clear();
    node.node.failed_probes = 0;
    nodes_quarantined--;
    MarkChanged(node);
    Tell(node, EventKind::kNodeReleased, why);
    UpdateFleet(node);
  }

  static std::string CancelMessage(const Job& job) {
    return job.cancel_reason.empty() ? "cancelled" : "cancelled: " + job.cancel_reason;
  }

  // ---- Views ----

  // All jobs of a line wait for the same; asked once a batch.
  const std::vector<Reason>& Explained(const Job& job) {
    auto [entry, fresh] = explained.try_emplace(LineOf(job));
    if (fresh) {
      scheduler::Request request = RequestOf(job);
      const std::optional<scheduler::Hold>& hold = fleet.hold();
      bool kept = hold && scheduler::IsKeptFrom(*hold, job.priority, request, now.monotonic);
      entry->second = scheduler::Explain(request, fleet.nodes(), kept ? &*hold : nullptr);
    }
    return entry->second;
  }

  JobView View(const JobEntry& entry) {
    JobView view{.job = entry.job, .body = entry.body};
    const Job& job = entry.job;
    if (job.state == JobState::kAssigned || job.state == JobState::kRunning) {
      if (const NodeEntry* node = FindNode(job.node)) view.node_endpoint = node->node.endpoint;
    }
    if (job.state == JobState::kQueued) {
      if (entry.waits_for > 0) {
        view.reasons.push_back({"DEPENDENCY", WaitMessage(entry), {}});
      } else if (!IsInLine(job)) {
        view.reasons.push_back({"BACKOFF", "waits before the next try", {}});
      }
      const auto& reasons = Explained(job);
      view.reasons.insert(view.reasons.end(), reasons.begin(), reasons.end());
      if (view.reasons.empty())
        view.reasons.push_back({"QUEUED", "waits for its turn behind jobs that go first", {}});
      std::string why;
      for (const Reason& reason : view.reasons) why += (why.empty() ? "" : "; ") + reason.message;
      view.job.message = job.message.empty() ? why : job.message + "; " + why;
    }
    return view;
  }

  NodeView View(const NodeEntry& entry) const {
    NodeView view{.node = entry.node,
                  .online = entry.online,
                  .last_heartbeat = entry.last_heartbeat,
                  .available = entry.node.capacity - entry.reserved};
    for (const JobId& id : entry.jobs) view.attempts.push_back({id, jobs.at(id)->job.attempt});
    return view;
  }

  // ---- Commands of clients ----

  void Apply(SubmitJob& c) {
    if (JobEntry* existing = Find(c.job.id)) {
      const Job& old = existing->job;
      bool same = existing->body->sha256 == c.body->sha256 && old.name == c.job.name &&
                  old.user == c.job.user;
      if (!same) {
        return Answer(c.reply_to, AlreadyExists("a different job with the id '" + c.job.id.value +
                                                    "' exists already",
                                                "leave job_id empty, or choose another"));
      }
      pending.push_back({c.reply_to, c.job.id, true, true});
      return;
    }
    JobId id = c.job.id;
    Status accepted = Submit(c);
    if (!accepted.ok()) return Answer(c.reply_to, std::move(accepted));
    pending.push_back({c.reply_to, id, true, false});
  }

  // Accepts a job whose id is new, or says why not.
  Status Submit(SubmitJob& c) {
    if (Find(c.job.id) != nullptr) return AlreadyExists("job '" + c.job.id.value + "' exists");
    int64_t queued = counters.jobs_by_state[static_cast<int>(JobState::kQueued)];
    if (queued >= options.max_queued) {
      return ResourceExhausted("the queue is full: " + std::to_string(queued) + " jobs wait",
                               "try again later");
    }
    std::string reason;
    if (!scheduler::CouldEverRun(RequestOf(c.job), fleet.nodes(), &reason)) {
      return FailedPrecondition(reason, "ask for less in \"resources\", or add a larger node");
    }
    if (c.job.terms != nullptr) RETURN_IF_ERROR(CheckTerms(c.job));
    auto entry = std::make_unique<JobEntry>();
    Job& job = entry->job;
    job = std::move(c.job);
    job.sequence = next_sequence++;
    job.state = JobState::kQueued;
    job.created_at = now.unix;
    if (auto earlier = removed.find(job.id); earlier != removed.end())
      job.attempt = earlier->second.attempt;
    BodyEntry& body = bodies[c.body->sha256];
    if (body.body == nullptr) {
      body.body = c.body;
      body.number = next_body++;
    }
    job.body = body.number;
    body.jobs++;
    entry->body = body.body;
    JobEntry& inserted = *entry;
    by_sequence[job.sequence] = entry.get();
    jobs.emplace(job.id, std::move(entry));
    index.Insert(inserted.job);
    counters.jobs_by_state[static_cast<int>(JobState::kQueued)]++;
    counters.submitted++;
    events.push_back(SubmittedEvent(inserted.job));
    StartWaiting(inserted);
    ArmLimits(inserted);
    EnterLine(inserted);
    MarkChanged(inserted);
    return OkStatus();
  }

  Status CheckTerms(const Job& job) const {
    for (const Dependency& dependency : job.terms->after) {
      const std::string& id = dependency.job.value;
      if (dependency.job == job.id)
        return InvalidArgument("job '" + id + "' cannot come after itself");
      auto other = jobs.find(dependency.job);
      if (other == jobs.end()) {
        return NotFound("job '" + id + "', after which this one shall come, is not known",
                        "submit that one first");
      }
      JobState state = other->second->job.state;
      if (!dependency.any_end && IsFinal(state) && state != JobState::kSucceeded) {
        return FailedPrecondition(
            "job '" + id + "' has ended " + JobStateName(state) +
                ": this one, which comes after its success, would never start",
            "let it come after any end (\"end\"), or after another job");
      }
    }
    const Limits& limits = job.terms->limits;
    if (limits.deadline.ms > 0 && limits.deadline.ms <= now.unix.ms) {
      return FailedPrecondition("the deadline has passed already",
                                "limits.deadline is a moment in seconds since 1970, UTC");
    }
    return OkStatus();
  }

  void Apply(CancelJob& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    Job& job = entry->job;
    if (IsFinal(job.state)) {
      if (job.state == JobState::kCancelled) {
        pending.push_back({c.reply_to, job.id, false, false});
        return;
      }
      return Answer(c.reply_to,
                    FailedPrecondition("job '" + job.id.value +
                                       "' has ended already: " + JobStateName(job.state)));
    }
    Cancel(*entry, c.reason);
    pending.push_back({c.reply_to, job.id, false, false});
  }

  // Of a job that has not ended.
  void Cancel(JobEntry& entry, const std::string& reason) {
    Job& job = entry.job;
    bool fresh = !job.cancel_requested;
    if (fresh) {
      job.cancel_requested = true;
      job.cancel_reason = reason;
    }
    if (job.state == JobState::kQueued || job.state == JobState::kPaused) {
      SetState(entry, JobState::kCancelled, CancelMessage(job));
      return;
    }
    if (fresh) Tell(job, EventKind::kCancelRequested, reason);
    job.message = "cancelling";
    MarkChanged(entry);
    SendStop(entry, CancelMessage(job));
  }

  void Apply(CancelJobs& c) {
    CancelJobsReply reply;
    for (int64_t sequence : index.All(c.filter)) {
      JobEntry& entry = *by_sequence.at(sequence);
      if (IsFinal(entry.job.state)) continue;
      Cancel(entry, c.reason);
      (IsFinal(entry.job.state) ? reply.cancelled : reply.cancelling)++;
    }
    Answer(c.reply_to, OkStatus(), reply);
  }

  static Status HasEnded(const Job& job) {
    return FailedPrecondition(
        "job '" + job.id.value + "' has ended already: " + JobStateName(job.state),
        "to run it again: 'cyxwiz retry " + job.id.value + "'");
  }

  void Apply(PauseJob& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    Job& job = entry->job;
    if (IsFinal(job.state)) return Answer(c.reply_to, HasEnded(job));
    if (job.cancel_requested) {
      return Answer(c.reply_to,
                    FailedPrecondition("job '" + job.id.value + "' is being cancelled"));
    }
    if (job.state == JobState::kQueued) {
      job.not_before = {};
      SetState(*entry, JobState::kPaused, "paused");
    } else if (job.state != JobState::kPaused && !job.pause_requested) {
      job.pause_requested = true;
      job.message = "pausing";
      Tell(job, EventKind::kPauseRequested, "");
      MarkChanged(*entry);
      SendStop(*entry, "paused");
    }
    pending.push_back({c.reply_to, job.id, false, false});
  }

  void Apply(ResumeJob& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    Job& job = entry->job;
    if (IsFinal(job.state)) return Answer(c.reply_to, HasEnded(job));
    if (job.state == JobState::kPaused) {
      SetState(*entry, JobState::kQueued, "");
    } else if (job.pause_requested) {
      return Answer(c.reply_to, FailedPrecondition("job '" + job.id.value + "' is still pausing",
                                                   "resume it once it is paused"));
    }
    pending.push_back({c.reply_to, job.id, false, false});
  }

  static const char* PriorityName(int32_t priority) {
    static constexpr const char* kNames[] = {"low", "normal", "high", "critical"};
    return priority >= 0 && priority < 4 ? kNames[priority] : "unknown";
  }

  void Apply(SetPriority& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    Job& job = entry->job;
    if (c.priority < 0 || c.priority > 3) {
      return Answer(c.reply_to,
                    InvalidArgument("priority: expected 0 (low) to 3 (critical), found " +
                                    std::to_string(c.priority)));
    }
    if (IsFinal(job.state)) return Answer(c.reply_to, HasEnded(job));
    if (job.priority != c.priority) {
      Tell(job, EventKind::kPriorityChanged,
           std::string(PriorityName(job.priority)) + " to " + PriorityName(c.priority));
      bool in_line = job.state == JobState::kQueued && IsInLine(job);
      if (in_line) LeaveLine(job);
      job.priority = c.priority;
      if (in_line) EnterLine(*entry);
      MarkChanged(*entry);
    }
    pending.push_back({c.reply_to, job.id, false, false});
  }

  void Apply(RetryJob& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    const Job& old = entry->job;
    if (old.state != JobState::kFailed && old.state != JobState::kCancelled) {
      return Answer(c.reply_to,
                    FailedPrecondition("job '" + old.id.value + "' is " + JobStateName(old.state) +
                                           ": only failed and cancelled jobs can be retried",
                                       IsFinal(old.state) ? "" : "wait until it has ended"));
    }
    Job job;
    job.id = c.new_job;
    job.name = old.name;
    job.user = old.user;
    job.type = old.type;
    job.priority = old.priority;
    job.resources = old.resources;
    job.device = old.device;
    job.max_retries = old.max_retries;
    job.total_epochs = old.total_epochs;
    if (old.terms != nullptr) {  // but not what it came after: that is over
      Terms terms = *old.terms;
      terms.after.clear();
      if (terms.limits.deadline.ms <= now.unix.ms) terms.limits.deadline = {};
      if (terms != Terms()) job.terms = std::make_shared<const Terms>(std::move(terms));
    }
    job.retry_of = old.id;
    // Only the new job's own acceptance tells whether it is retried.
    SubmitJob submit{0, std::move(job), entry->body};
    Status accepted = Submit(submit);
    if (!accepted.ok()) return Answer(c.reply_to, std::move(accepted));
    Tell(old, EventKind::kRetried, c.new_job.value);
    pending.push_back({c.reply_to, c.new_job, false, false});
  }

  void SendStop(const JobEntry& entry, const std::string& reason) {
    if (const NodeEntry* node = FindNode(entry.job.node)) {
      output->effects.push_back(StopEffect{{entry.job.id, entry.job.attempt},
                                           node->node.id,
                                           node->node.endpoint,
                                           reason,
                                           IsToYield(entry)});
    }
  }

  void Apply(RemoveJob& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    if (!IsFinal(entry->job.state)) {
      return Answer(c.reply_to,
                    FailedPrecondition("job '" + c.job.value +
                                           "' has not ended: " + JobStateName(entry->job.state),
                                       "cancel it first with 'cyxwiz cancel " + c.job.value + "'"));
    }
    UpdateEffect update{View(*entry), true};
    output->effects.push_back(std::move(update));
    Tell(entry->job, EventKind::kDeleted, "");
    index.Erase(entry->job);
    by_sequence.erase(entry->job.sequence);
    unflushed.erase(entry->job.sequence);
    counters.jobs_by_state[static_cast<int>(entry->job.state)]--;
    if (entry->touched) std::erase(touched, entry);
    if (entry->stored) {
      removals.push_back(DeleteJob{c.job});
      Remember({c.job, entry->job.sequence, entry->job.attempt});
    }
    auto body = bodies.find(entry->body->sha256);
    Require(body != bodies.end() && body->second.jobs > 0, "a job without its body");
    if (--body->second.jobs == 0) {
      if (body->second.stored) removals.push_back(DeleteBody{body->second.number});
      bodies.erase(body);
    }
    jobs.erase(c.job);
    Answer(c.reply_to, OkStatus(), RemoveReply{});
  }

  void Remember(const RemovedJob& job) {
    RemovedJob& entry = removed[job.id];
    removed_by_sequence.erase(entry.sequence);
    entry = job;
    removed_by_sequence[job.sequence] = job.id;
    removals.push_back(PutRemoved{job});
    while (std::ssize(removed_by_sequence) > options.max_removed) {
      auto oldest = removed_by_sequence.extract(removed_by_sequence.begin());
      removed.erase(oldest.mapped());
      removals.push_back(DeleteRemoved{oldest.mapped()});
    }
  }

  void Apply(GetJob& c) {
    if (Find(c.job) == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    pending.push_back({c.reply_to, c.job, false, false});
  }

  void Apply(ListJobs& c) {
    auto page = index.List(c.filter, c.after_sequence, static_cast<size_t>(c.page_size));
    ListReply reply{.jobs = {},
                    .next_after_sequence = page.more ? page.sequences.back() : 0,
                    .total = page.total};
    for (int64_t sequence : page.sequences) reply.jobs.push_back(View(*by_sequence.at(sequence)));
    Answer(c.reply_to, OkStatus(), std::move(reply));
  }

  static Status NoSuchNode(const NodeId& id) {
    return NotFound("there is no node '" + id.value + "'", "list the nodes with 'cyxwiz nodes'");
  }

  void Apply(GetNode& c) {
    NodeEntry* node = FindNode(c.node);
    if (node == nullptr) return Answer(c.reply_to, NoSuchNode(c.node));
    Answer(c.reply_to, OkStatus(), NodeReply{View(*node)});
  }

  void Apply(ListNodes& c) {
    NodesReply reply;
    for (const auto& [id, node] : nodes) reply.nodes.push_back(View(node));
    Answer(c.reply_to, OkStatus(), std::move(reply));
  }

  // ---- Questions about the queue ----

  // The nodes, with those that are only supposed.
  std::vector<scheduler::NodeState> SupposedNodes(const WhatIf& what_if) const {
    std::vector<scheduler::NodeState> states = fleet.nodes();
    scheduler::NodeState like;
    for (const scheduler::NodeState& node : states) {
      if (node.capacity.cpu_millis > like.capacity.cpu_millis) like = node;
    }
    if (what_if.resources != Resources()) like.capacity = what_if.resources;
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

  // How long a job with this body is expected to run.
  std::optional<Duration> ExpectedDuration(const JobEntry& entry) const {
    const BodyEntry& body = bodies.at(entry.body->sha256);
    const Average& average = body.seconds.count > 0 ? body.seconds : all_seconds;
    if (average.count == 0) return std::nullopt;
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(average.mean));
  }

  std::optional<Duration> Remaining(const JobEntry& entry) const {
    const Job& job = entry.job;
    double ran = static_cast<double>(now.unix.ms - job.attempt_started_at.ms) / 1e3;
    if (job.state == JobState::kRunning && job.progress > 0.01 && ran > 0) {
      double left = ran * (1 - job.progress) / job.progress;
      return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left));
    }
    auto whole = ExpectedDuration(entry);
    if (!whole) return std::nullopt;
    return std::max(Duration::zero(),
                    *whole - std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
                                 job.state == JobState::kRunning ? ran : 0)));
  }

  // With what it has gained by waiting.
  int32_t EffectivePriority(const Job& job) const {
    if (options.ageing <= Duration::zero()) return job.priority;
    int64_t gained = std::max<int64_t>(0, Since(job.created_at) / options.ageing);
    return static_cast<int32_t>(std::max<int64_t>(
        job.priority, std::min<int64_t>(kHighestPriority, job.priority + gained)));
  }
  // Jobs are served in this order.
  using Rank = std::tuple<int32_t, double, int64_t>;
  // share: of its user.
  Rank RankOf(const Job& job, double share) const {
    return {-EffectivePriority(job), share, job.sequence};
  }
  Rank RankOf(const Job& job) const { return RankOf(job, shares.Of(job.user, now.monotonic)); }

  // What becomes of a job that stands in the queue, or would.
  void Plan(const Job& job, const WhatIf& what_if, PlanReply* reply) {
    constexpr size_t kMostAhead = 1000;
    const scheduler::Request request = RequestOf(job);
    const Rank rank = RankOf(job);
    std::vector<scheduler::NodeState> states = SupposedNodes(what_if);
    std::string why;
    reply->could_ever_run = scheduler::CouldEverRun(request, states, &why);
    reply->reasons = scheduler::Explain(request, states);
    reply->smallest_change = scheduler::SmallestChange(request, states);
    reply->queue_position = 1;
    // Within a line those ahead come first: they are older.
    std::vector<scheduler::Line> copies;
    bool placed = false;
    for (const auto& [key, line] : lines) {
      reply->jobs_queued += std::ssize(line.jobs);
      scheduler::Line copy{key.priority, key.request, {}, true, key.user};
      const double share = shares.Of(key.user, now.monotonic);
      for (int64_t one : line.jobs) {
        const Job& other = by_sequence.at(one)->job;
        if (!(RankOf(other, share) < rank)) break;
        reply->queue_position++;
        if (copy.jobs.size() <= kMostAhead) copy.jobs.push_back({one, EffectivePriority(other)});
      }
      if (key.priority == job.priority && key.request == request && key.user == job.user) {
        copy.jobs.push_back({job.sequence, EffectivePriority(job)});
        placed = true;
      }
      if (!copy.jobs.empty()) copies.push_back(std::move(copy));
    }
    if (static_cast<size_t>(reply->queue_position) > kMostAhead) {
      reply->estimate_basis = "more than " + std::to_string(kMostAhead) + " jobs are ahead";
      return;
    }
    if (!placed) {
      copies.push_back(
          {job.priority, request, {{job.sequence, EffectivePriority(job)}}, true, job.user});
    }
    std::vector<scheduler::Running> running;
    for (const auto& [node_id, node] : nodes) {
      for (const JobId& job : node.jobs) {
        const JobEntry& entry = *jobs.at(job);
        running.push_back({node_id, entry.job.resources, Remaining(entry), entry.job.user});
      }
    }
    auto forecast = scheduler::ForecastStart(
        std::move(states), std::move(copies), std::move(running), shares, now.monotonic,
        job.sequence, [this](int64_t one) { return ExpectedDuration(*by_sequence.at(one)); });
    if (!forecast) {
      reply->estimate_basis =
          reply->could_ever_run ? "nothing is known of how long the jobs ahead will run" : why;
      return;
    }
    reply->estimated_start =
        UnixTime{now.unix.ms +
                 std::chrono::duration_cast<std::chrono::milliseconds>(forecast->start).count()};
    if (forecast->start == Duration::zero()) {
      reply->node = forecast->node;
      reply->estimate_basis = "a node is free";
    } else {
      reply->estimate_basis = "from the progress of running jobs and the time that " +
                              std::to_string(all_seconds.count) + " earlier jobs took";
    }
  }

  void Apply(PlanJob& c) {
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
    job.terms = std::make_shared<const Terms>(std::move(terms));
    job.created_at = now.unix;
    Plan(job, c.what_if, &reply);
    if (reply.node.empty() && reply.reasons.empty())
      reply.reasons.push_back({"QUEUED", "waits for its turn behind jobs that go first", {}});
    Answer(c.reply_to, OkStatus(), std::move(reply));
  }

  void Apply(ExplainJob& c) {
    JobEntry* entry = Find(c.job);
    if (entry == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
    const Job& job = entry->job;
    PlanReply reply;
    if (job.state == JobState::kQueued && IsInLine(job)) Plan(job, c.what_if, &reply);
    if (fleet.hold() && fleet.hold()->job == job.sequence && !reply.estimated_start) {
      const scheduler::Hold& hold = *fleet.hold();
      reply.estimate_basis = "node '" + hold.node.value + "' is kept for it";
      if (hold.start != MonotonicTime::Never()) {
        reply.estimated_start = UnixTime{now.unix.ms + Milliseconds(hold.start - now.monotonic)};
        reply.estimate_basis += ": at the latest then, by the limits of what runs there";
      }
    }
    reply.view = View(*entry);
    if (c.what_if.more_nodes == 0) reply.reasons = reply.view.reasons;
    Answer(c.reply_to, OkStatus(), std::move(reply));
  }

  void Apply(CordonNode& c) {
    NodeEntry* node = FindNode(c.node);
    if (node == nullptr) return Answer(c.reply_to, NoSuchNode(c.node));
    bool cordoned = c.cordoned || c.drain;
    if (cordoned != node->node.cordoned || c.drain != node->node.draining) {
      node->node.cordoned = cordoned;
      node->node.draining = c.drain;
      node->node.cordon_reason = cordoned ? c.reason : "";
      MarkChanged(*node);
      Tell(*node, cordoned ? EventKind::kNodeCordoned : EventKind::kNodeUncordoned,
           c.drain ? "draining" + (c.reason.empty() ? "" : ": " + c.reason) : c.reason);
      UpdateFleet(*node);
      if (c.drain) {
        for (const JobId& id : node->jobs) SendStop(*jobs.at(id), "the node is drained");
      }
    }
    if (!cordoned) ReleaseNode(*node, "by an operator");
    Answer(c.reply_to, OkStatus(), NodeReply{View(*node)});
  }

  // ---- Commands of nodes ----

  void RenewLease(NodeEntry& node) {
    Disarm(node.lease_end, TimerKind::kLease, node.node.id.value);
    node.lease_end = now.monotonic + options.lease;
    Arm(node.lease_end, TimerKind::kLease, node.node.id.value);
    node.last_heartbeat = now.unix;
    if (!node.online) {
      Tell(node, EventKind::kNodeRegistered, node.node.endpoint);
      node.online = true;
      counters.nodes_online++;
      UpdateFleet(node);
    }
  }

  // Whether the current attempt shall end before it is done.
  bool IsToStop(const JobEntry& entry) const {
    const Job& job = entry.job;
    return job.cancel_requested || job.pause_requested || job.limit_hit != Cause::kNone ||
           nodes.at(job.node).node.draining;
  }

  // Whether it shall write a checkpoint first; of an attempt that is to stop.
  static bool IsToYield(const JobEntry& entry) {
    return !entry.job.cancel_requested && entry.job.limit_hit == Cause::kNone;
  }

  // Marks the attempts that a node says it runs as seen, and tells those it must stop.
  HeartbeatReply Claim(NodeEntry& node, const std::vector<AttemptId>& active) {
    HeartbeatReply reply;
    for (const AttemptId& id : active) {
      JobEntry* entry = Find(id.job);
      bool current = entry != nullptr && node.jobs.count(id.job) > 0 &&
                     (id.attempt == 0 || id.attempt == entry->job.attempt);
      if (!current) {
        reply.stop.push_back(id);
        continue;
      }
      Accept(*entry);
      if (!IsToStop(*entry)) continue;
      (IsToYield(*entry) ? reply.yield : reply.stop).push_back({id.job, entry->job.attempt});
    }
    return reply;
  }

  void Apply(RegisterNode& c) {
    auto [found, fresh] = nodes.try_emplace(c.node.id);
    NodeEntry& node = found->second;
    if (c.number != 0 && c.boot == node.boot && c.number <= node.registration) {
      return Answer(c.reply_to,
                    FailedPrecondition("node '" + c.node.id.value +
                                           "' has sent a newer registration than this one",
                                       "register again"));
    }
    node.boot = std::move(c.boot);
    node.registration = c.number;
    if (!fresh) {  // what the server alone knows
      c.node.jobs_completed = node.node.jobs_completed;
      c.node.cordoned = node.node.cordoned;
      c.node.draining = node.node.draining;
      c.node.cordon_reason = std::move(node.node.cordon_reason);
      c.node.quarantined = node.node.quarantined;
      c.node.quarantine_reason = std::move(node.node.quarantine_reason);
      c.node.failed_probes = node.node.failed_probes;
    }
    node.node = std::move(c.node);
    node.node.registered_at = now.unix;
    node.session = std::move(c.session);
    node.held_until = {};
    if (fresh) counters.nodes_known++;
    PutIntoFleet(node);
    RenewLease(node);
    MarkChanged(node);
    HeartbeatReply claimed = Claim(node, c.active);
    std::vector<AttemptId> stop = std::move(claimed.stop);
    stop.insert(stop.end(), claimed.yield.begin(), claimed.yield.end());
    // What the node does not run any more is lost: it has been restarted, or an AssignJob did not
    // reach it, and now it would not take that any more.
    std::vector<JobId> here(node.jobs.begin(), node.jobs.end());
    for (const JobId& id : here) {
      JobEntry& entry = *jobs.at(id);
      bool runs = std::any_of(c.active.begin(), c.active.end(), [&](const AttemptId& a) {
        return a.job == id && (a.attempt == 0 || a.attempt == entry.job.attempt);
      });
      if (runs) continue;
      if (entry.accepted) {
        LoseWithNode(entry, "node " + node.node.id.value + " was restarted");
      } else {
        Lose(entry, Cause::kNodeLost, "node " + node.node.id.value + " did not take it");
      }
    }
    Answer(c.reply_to, OkStatus(), RegisterReply{node.node.id, std::move(stop)});
  }

  void Apply(Heartbeat& c) {
    NodeEntry* node = FindNode(c.node);
    if (node == nullptr || node->session.empty()) {
      // Without a session the node registered with an earlier run of this server.
      return Answer(c.reply_to,
                    NotFound("node '" + c.node.value + "' is not registered", "register again"));
    }
    if (!c.session.empty() && c.session != node->session) {
      return Answer(c.reply_to, Unauthenticated("the session of node '" + c.node.value +
                                                    "' is not the current one",
                                                "register again"));
    }
    RenewLease(*node);
    if (!c.info.empty()) node->node.info = std::move(c.info);
    HeartbeatReply reply = Claim(*node, c.active);
    for (JobId& id : c.kept) {
      const JobEntry* entry = Find(id);
      if (entry == nullptr || IsFinal(entry->job.state)) reply.drop.push_back(std::move(id));
    }
    // An attempt that the node accepted and has not listed for a whole lease is gone: it was
    // stopped on the node's side while the two were cut off from each other.
    std::vector<JobId> here(node->jobs.begin(), node->jobs.end());
    for (const JobId& id : here) {
      JobEntry& entry = *jobs.at(id);
      if (entry.accepted && now.monotonic - entry.last_seen > options.lease) {
        Lose(entry, Cause::kNodeLost, "node " + c.node.value + " no longer runs it");
      }
    }
    Answer(c.reply_to, OkStatus(), std::move(reply));
  }

  // The job's entry when `attempt` on `node` is its current one, else nullptr.
  JobEntry* Current(const AttemptId& attempt, const NodeId& node) {
    JobEntry* entry = Find(attempt.job);
    if (entry == nullptr || entry->job.node != node) return nullptr;
    if (entry->job.state != JobState::kAssigned && entry->job.state != JobState::kRunning)
      return nullptr;
    return attempt.attempt == 0 || attempt.attempt == entry->job.attempt ? entry : nullptr;
  }

  void Apply(AssignOutcome& c) {
    JobEntry* entry = Current(c.attempt, c.node);
    if (entry == nullptr || entry->job.state != JobState::kAssigned) return;
    if (c.kind == AssignOutcome::Kind::kAccepted) {
      Accept(*entry);
      if (IsToStop(*entry)) SendStop(*entry, StopMessage(*entry));
      return;
    }
    if (entry->accepted) return;  // its node was heard to run it meanwhile
    if (c.kind == AssignOutcome::Kind::kUnreachable) {
      return DoubtAssignment(*entry, "could not be reached: " + c.message);
    }
    NodeEntry& node = *FindNode(c.node);
    LetRest(node, Backoff(++node.refusals));
    Lose(*entry, Cause::kNodeRejected, "node " + c.node.value + " refused it: " + c.message);
  }

  std::string StopMessage(const JobEntry& entry) const {
    if (entry.job.cancel_requested) return CancelMessage(entry.job);
    if (entry.job.limit_hit != Cause::kNone) return LimitMessage(entry.job, entry.job.limit_hit);
    return entry.job.pause_requested ? "paused" : "the node is drained";
  }

  // The node may have taken the attempt all the same, now or when the call arrives late. Its next
  // heartbeat makes it register again: then it says what it runs, and a late call is void.
  void DoubtAssignment(JobEntry& entry, const std::string& what) {
    NodeEntry& node = *FindNode(entry.job.node);
    node.session.clear();
    UpdateFleet(node);
    entry.job.message = "node " + node.node.id.value + " " + what;
    MarkChanged(entry);
  }

  static void AddMetrics(const std::map<std::string, double>& metrics, Job* job) {
    for (const auto& [name, value] : metrics) {
      if (name.size() > kMaxMetricNameBytes) continue;
      if (job->metrics.size() < kMaxMetrics || job->metrics.count(name) > 0)
        job->metrics[name] = value;
    }
  }

  void Apply(ReportProgress& c) {
    if (Find(c.attempt.job) == nullptr) {
      Refuse(c.checkpoint);
      return Answer(c.reply_to, NoSuchJob(c.attempt.job));
    }
    JobEntry* entry = Current(c.attempt, c.node);
    if (entry == nullptr) {
      Refuse(c.checkpoint);
      return Answer(c.reply_to, OkStatus(), ReportReply{false, NotCurrent(c.attempt, c.node)});
    }
    Accept(*entry);
    Job& job = entry->job;
    Keep(*entry, std::move(c.checkpoint));
    if (job.state == JobState::kAssigned) {
      if (job.started_at.ms == 0) job.started_at = now.unix;
      counters.attempts_started++;
      job.attempt_started_at = now.unix;
      DisarmLimit(job, TimerKind::kQueueLimit, &entry->queue_end);
      ArmRunLimit(*entry);
      SetState(*entry, JobState::kRunning,
               job.cancel_requested            ? "cancelling"
               : job.limit_hit != Cause::kNone ? LimitMessage(job, job.limit_hit) + ": stopping"
               : job.pause_requested           ? "pausing"
               : c.resumed                     ? "resumed from " + Place(*c.resumed)
                                               : "");
      // What went wrong with the attempt before is in its log and in the events.
      job.cause = Cause::kNone;
      job.error = {};
    }
    job.progress = c.progress;
    job.current_epoch = c.epoch;
    AddMetrics(c.metrics, &job);
    if (!entry->progressed) {
      entry->progressed = true;
      unflushed.insert(job.sequence);
      if (!flush_armed) Arm(now.monotonic + options.progress_flush, TimerKind::kFlush, "");
      flush_armed = true;
    }
    Touch(*entry);
    Answer(c.reply_to, OkStatus(),
           ReportReply{!IsToStop(*entry), IsToStop(*entry) ? StopMessage(*entry) : "",
                       IsToStop(*entry) && IsToYield(*entry)});
  }

  std::string NotCurrent(const AttemptId& attempt, const NodeId& node) {
    const Job& job = Find(attempt.job)->job;
    if (IsFinal(job.state))
      return "job '" + job.id.value + "' has ended: " + JobStateName(job.state);
    return "attempt " + std::to_string(attempt.attempt) + " on node '" + node.value +
           "' is not the current one of job '" + job.id.value + "'";
  }

  void Apply(ReportCompletion& c) {
    if (Find(c.attempt.job) == nullptr) {
      Refuse(c.checkpoint);
      return Answer(c.reply_to, NoSuchJob(c.attempt.job));
    }
    JobEntry* entry = Current(c.attempt, c.node);
    if (entry == nullptr) {
      Refuse(c.checkpoint);
      return Answer(c.reply_to, OkStatus(), ReportReply{false, NotCurrent(c.attempt, c.node)});
    }
    Job& job = entry->job;
    Keep(*entry, std::move(c.checkpoint));
    using Outcome = ReportCompletion::Outcome;
    NodeEntry& node = *FindNode(c.node);
    // Stopped by the node's own decision: it shuts down, or its lease ended.
    bool stopped = c.outcome == Outcome::kCancelled && !job.cancel_requested;
    // What fails on a node in quarantine is the node's failure.
    bool nodes_fault =
        c.outcome == Outcome::kFailed && node.node.quarantined && MayBeTheNodes(c.cause);
    if (stopped || nodes_fault) {
      if (stopped && !IsToStop(*entry)) {
        // It is going away, or its lease was over: it must register before it is given anything.
        node.session.clear();
        UpdateFleet(node);
      }
      std::string what = c.error.message.empty() ? "" : ": " + c.error.message;
      if (nodes_fault) Suspect(node, *entry, CauseName(c.cause));
      Lose(
          *entry, stopped ? Cause::kNodeDrained : c.cause,
          "node " + c.node.value + (stopped ? " stopped it" : ", in quarantine, failed it") + what);
      return Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
    }
    if (c.outcome == Outcome::kFailed && c.cause == Cause::kNodeLost) {
      // The node's own trouble, such as a full disk. Its hold outlasts the job's wait, so that
      // another node gets the job if there is one.
      Duration wait = Backoff(job, ++entry->node_faults);
      LetRest(node, 2 * wait);
      Lose(*entry, Cause::kNodeLost,
           "node " + c.node.value + " could not go on with it: " + c.error.message, wait);
      return Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
    }
    Release(*entry);
    AddMetrics(c.metrics, &job);
    job.compute_seconds += c.compute_seconds;
    if (c.outcome == Outcome::kSucceeded) {
      job.pause_requested = false;
      job.artifacts = std::move(c.artifacts);
      job.progress = 1;
      job.current_epoch = job.total_epochs;
      job.cause = Cause::kNone;
      job.error = {};
      node.node.jobs_completed++;
      MarkChanged(node);
      ReleaseNode(node, "job '" + job.id.value + "' succeeded there");
      if (job.attempt_started_at.ms > 0) {
        double ran = static_cast<double>(now.unix.ms - job.attempt_started_at.ms) / 1e3;
        bodies.at(entry->body->sha256).seconds.Add(std::max(0.0, ran));
        all_seconds.Add(std::max(0.0, ran));
      }
      SetState(*entry, JobState::kSucceeded, "");
    } else if (job.cancel_requested) {
      job.cause = Cause::kCancelled;
      job.error = {};
      SetState(*entry, JobState::kCancelled, CancelMessage(job));
    } else if (job.limit_hit != Cause::kNone) {
      FailByLimit(*entry, job.limit_hit);
    } else {
      Fail(*entry, node, c);
    }
    Answer(c.reply_to, OkStatus(), ReportReply{false, "recorded"});
  }

  // The attempt has failed: the job is tried again, or has failed too.
  void Fail(JobEntry& entry, NodeEntry& node, ReportCompletion& c) {
    Job& job = entry.job;
    job.cause = c.cause == Cause::kNone ? Cause::kInternal : c.cause;
    job.error = std::move(c.error);
    job.nodes_lost = 0;
    if (MayBeTheNodes(job.cause)) Suspect(node, entry, CauseName(job.cause));
    if (!IsRetried(job.cause) || job.retries >= job.max_retries) {
      SetState(entry, JobState::kFailed, job.error.message);
      return;
    }
    job.retries++;
    StepBack(job);
    if (std::exchange(job.pause_requested, false)) {
      SetState(entry, JobState::kPaused, PausedMessage(job));
      return;
    }
    job.not_before = {now.unix.ms + Milliseconds(Backoff(job, job.retries))};
    SetState(entry, JobState::kQueued,
             "attempt " + std::to_string(job.attempt) + " failed (" + CauseName(job.cause) + ": " +
                 job.error.message + "), retry " + std::to_string(job.retries) + " of " +
                 std::to_string(job.max_retries));
  }

  void Apply(Tick&) {}

  // ---- Deadlines ----

  void Fire(const Timer& timer) {
    switch (timer.kind) {
      case TimerKind::kLease: {
        NodeEntry* node = FindNode(NodeId{timer.id});
        if (node == nullptr || node->lease_end != timer.at) return;
        if (node->online) counters.nodes_online--;
        if (node->online) Tell(*node, EventKind::kNodeLost, "no heartbeat within its lease");
        node->online = false;
        node->session.clear();  // a late AssignJob of what is lost here must not start anything
        node->lease_end = MonotonicTime::Never();
        UpdateFleet(*node);
        std::vector<JobId> here(node->jobs.begin(), node->jobs.end());
        for (const JobId& id : here) LoseWithNode(*jobs.at(id), "node " + timer.id + " was lost");
        return;
      }
      case TimerKind::kAssign: {
        JobEntry* entry = Find(JobId{timer.id});
        if (entry == nullptr || entry->job.state != JobState::kAssigned || entry->accepted ||
            entry->last_seen + options.assign_timeout != timer.at) {
          return;
        }
        DoubtAssignment(*entry, "did not answer");
        return;
      }
      case TimerKind::kBackoff: {
        JobEntry* entry = Find(JobId{timer.id});
        if (entry == nullptr || entry->job.state != JobState::kQueued || IsInLine(entry->job) ||
            entry->wake != timer.at)
          return;
        entry->job.not_before = {};
        EnterLine(*entry);
        Touch(*entry);
        return;
      }
      case TimerKind::kHeld:
        if (NodeEntry* node = FindNode(NodeId{timer.id})) UpdateFleet(*node);
        return;
      case TimerKind::kProbe: {
        NodeEntry* node = FindNode(NodeId{timer.id});
        if (node == nullptr || !node->node.quarantined) return;
        fleet.Change(node->node.id, [](scheduler::NodeState& state) { state.probe = true; });
        reschedule = true;
        return;
      }
      case TimerKind::kRunLimit: {
        JobEntry* entry = Find(JobId{timer.id});
        if (entry != nullptr && entry->run_end == timer.at) HitLimit(*entry, Cause::kTimeLimit);
        return;
      }
      case TimerKind::kQueueLimit: {
        JobEntry* entry = Find(JobId{timer.id});
        if (entry != nullptr && entry->queue_end == timer.at)
          HitLimit(*entry, Cause::kQueueTimeLimit);
        return;
      }
      case TimerKind::kDeadline: {
        JobEntry* entry = Find(JobId{timer.id});
        if (entry != nullptr && entry->deadline == timer.at) HitLimit(*entry, Cause::kDeadline);
        return;
      }
      case TimerKind::kFlush:
        flush_armed = false;
        for (int64_t sequence : unflushed) {
          JobEntry& entry = *by_sequence.at(sequence);
          if (entry.progressed) MarkChanged(entry);
        }
        return;
    }
  }

  // ---- Scheduling ----

  // The first of those that wait; nullptr when none does.
  const Job* First() const {
    const Job* first = nullptr;
    Rank best;
    for (const auto& [key, line] : lines) {
      const Job& head = by_sequence.at(*line.jobs.begin())->job;
      Rank rank = RankOf(head);
      if (first != nullptr && !(rank < best)) continue;
      first = &head;
      best = rank;
    }
    return first;
  }

  std::vector<scheduler::Occupant> Occupants(const NodeId& id) const {
    std::vector<scheduler::Occupant> occupants;
    for (const JobId& one : nodes.at(id).jobs) {
      const JobEntry& entry = *jobs.at(one);
      scheduler::Occupant occupant{entry.job.sequence, entry.job.resources};
      if (entry.run_end != MonotonicTime::Never()) occupant.end = entry.run_end + kTimeToStop;
      if (auto left = Remaining(entry)) occupant.expected = now.monotonic + *left;
      occupants.push_back(std::move(occupant));
    }
    return occupants;
  }

  bool WaitsInLine(int64_t sequence) const {
    auto found = by_sequence.find(sequence);
    return found != by_sequence.end() && found->second->job.state == JobState::kQueued &&
           IsInLine(found->second->job);
  }

  // Keeps a node for the job that goes first when others have passed it by for too long, brings up
  // to date what may go there meanwhile, or gives the node up.
  void UpdateHold() {
    int64_t sequence = 0;
    if (fleet.hold()) {
      if (!WaitsInLine(fleet.hold()->job)) return fleet.ClearHold();
      // One that asks for the same and is older may have come back into the line: it goes first.
      const Job& held = by_sequence.at(fleet.hold()->job)->job;
      sequence = *lines.at(LineOf(held)).jobs.begin();
    } else {
      if (overtaken == 0 || now.monotonic - overtaken_since < options.hold_after) return;
      sequence = overtaken;
      if (!WaitsInLine(sequence)) {
        overtaken = 0;
        return;
      }
    }
    const Job& job = by_sequence.at(sequence)->job;
    auto hold = scheduler::PlanHold(fleet, sequence, job.priority, RequestOf(job), now.monotonic,
                                    [this](const NodeId& id) { return Occupants(id); });
    if (hold) {
      fleet.SetHold(std::move(*hold));
    } else {
      fleet.ClearHold();
    }
  }

  void Schedule() {
    UpdateHold();
    std::vector<scheduler::Line> waiting;
    for (auto& [key, line] : lines) {
      bool fresh = std::exchange(line.fresh, false);
      int64_t most = scheduler::MostPlacements(key.request, fleet, !fresh);
      if (most == 0) continue;
      scheduler::Line one{key.priority, key.request, {}, fresh, key.user};
      for (int64_t sequence : line.jobs) {
        if (most-- == 0) break;
        one.jobs.push_back({sequence, EffectivePriority(by_sequence.at(sequence)->job)});
      }
      waiting.push_back(std::move(one));
    }
    int64_t last = 0;  // of the jobs that are placed, the newest of the lowest priority
    int32_t lowest = INT32_MAX;
    for (const scheduler::Placement& placement :
         scheduler::Schedule(&fleet, waiting, &shares, now.monotonic)) {
      JobEntry& entry = *by_sequence.at(placement.job);
      NodeEntry& node = *FindNode(placement.node);
      Job& job = entry.job;
      if (int32_t priority = EffectivePriority(job); priority < lowest) {
        lowest = priority;
        last = job.sequence;
      } else if (priority == lowest) {
        last = std::max(last, job.sequence);
      }
      job.attempt++;
      job.attempt_started_at = {};
      job.node = placement.node;
      job.not_before = {};
      node.reserved += job.resources;
      Require(node.node.capacity.Holds(node.reserved), "a node is oversold");
      node.jobs.insert(job.id);
      entry.accepted = entry.adopted = false;
      entry.last_seen = now.monotonic;
      Arm(now.monotonic + options.assign_timeout, TimerKind::kAssign, job.id.value);
      SetState(entry, JobState::kAssigned, "");
      output->effects.push_back(AssignEffect{{job.id, job.attempt},
                                             placement.node,
                                             node.node.endpoint,
                                             node.session,
                                             job,
                                             entry.body});
    }
    if (last != 0) NoteOvertaken(lowest, last);
  }

  // Jobs were placed, the last of them as given: whether the first one that still waits stood
  // before it.
  void NoteOvertaken(int32_t lowest, int64_t last) {
    const Job* first = First();
    if (first != nullptr && first->sequence == overtaken) return;
    int32_t priority = first != nullptr ? EffectivePriority(*first) : 0;
    bool passed =
        first != nullptr && (priority > lowest || (priority == lowest && first->sequence < last));
    overtaken = passed ? first->sequence : 0;
    overtaken_since = now.monotonic;
  }

  // ---- The end of a batch ----

  void Finish() {
    // First, because a removed id may have been submitted again since.
    output->records.insert(output->records.end(), std::make_move_iterator(removals.begin()),
                           std::make_move_iterator(removals.end()));
    for (NodeEntry* node : changed_nodes) {
      node->changed = false;
      output->records.push_back(PutNode{node->node});
    }
    for (JobEntry* entry : touched) {
      if (entry->changed || !entry->stored) {
        BodyEntry& body = bodies.at(entry->body->sha256);
        if (!body.stored) output->records.push_back(PutBody{body.number, body.body});
        body.stored = true;
        output->records.push_back(PutJob{entry->job});
        entry->stored = true;
        entry->changed = false;
        entry->progressed = false;
        unflushed.erase(entry->job.sequence);
      }
      entry->touched = false;
      output->effects.push_back(UpdateEffect{View(*entry), false});
    }
    for (Event& event : events) {
      // A submission is stored as the job itself.
      if (event.kind != EventKind::kSubmitted) output->records.push_back(PutEvent{event});
      output->effects.push_back(EventEffect{std::move(event)});
    }
    // Numbers are shared with jobs, so this keeps max_events at most; in pieces, so that no batch
    // becomes large.
    if (int64_t below = next_sequence - options.max_events; below > first_event + kTrimEvents) {
      first_event = std::min(below, first_event + 2 * kTrimEvents);
      output->records.push_back(DeleteEvents{first_event});
    }
    for (const PendingReply& reply : pending) {
      if (reply.to == 0) continue;
      const JobEntry* entry = Find(reply.job);
      if (entry == nullptr) {
        Answer(reply.to, NoSuchJob(reply.job));
      } else if (reply.is_submit) {
        Answer(reply.to, OkStatus(), SubmitReply{View(*entry), reply.existed});
      } else {
        Answer(reply.to, OkStatus(), JobReply{View(*entry)});
      }
    }
    ReleaseFiles();
    touched.clear();
    events.clear();
    removals.clear();
    changed_nodes.clear();
    pending.clear();
  }
};

Control::Control(Options options) : state_(std::make_unique<State>(options)) {}
Control::~Control() = default;

void Control::Load(Snapshot snapshot, Now now) {
  State& s = *state_;
  s.now = now;
  s.next_sequence = snapshot.last_event + 1;
  s.first_event = snapshot.first_event;
  std::unordered_map<int64_t, BodyEntry*> by_number;
  for (PutBody& stored : snapshot.bodies) {
    std::string key = stored.body->sha256;
    BodyEntry& body = s.bodies[key];
    body = {stored.number, std::move(stored.body), 0, true, {}};
    by_number[stored.number] = &body;
    s.next_body = std::max(s.next_body, stored.number + 1);
  }
  for (Node& node : snapshot.nodes) {
    NodeEntry& entry = s.nodes[node.id];
    entry.node = std::move(node);
    if (entry.node.quarantined) {
      s.nodes_quarantined++;
      s.ArmProbe(entry);
    }
    s.counters.nodes_known++;
  }
  for (RemovedJob& job : snapshot.removed) {
    s.next_sequence = std::max(s.next_sequence, job.sequence + 1);
    s.removed_by_sequence[job.sequence] = job.id;
    JobId id = job.id;
    s.removed[id] = std::move(job);
  }
  std::vector<JobEntry*> unfinished;
  for (Job& job : snapshot.jobs) {
    auto entry = std::make_unique<JobEntry>();
    entry->job = std::move(job);
    entry->stored = true;
    Job& j = entry->job;
    auto found = by_number.find(j.body);
    Require(found != by_number.end(), "a stored job without its body");
    BodyEntry& body = *found->second;
    body.jobs++;
    entry->body = body.body;
    s.next_sequence = std::max(s.next_sequence, j.sequence + 1);
    s.by_sequence[j.sequence] = entry.get();
    s.index.Insert(j);
    s.counters.jobs_by_state[static_cast<int>(j.state)]++;
    s.CountFiles(j.checkpoint, +1);
    if (j.state == JobState::kAssigned || j.state == JobState::kRunning) {
      NodeEntry* node = s.FindNode(j.node);
      Require(node != nullptr, "a stored attempt without its node");
      node->reserved += j.resources;
      s.shares.Take(j.user, j.resources, now.monotonic);
      node->jobs.insert(j.id);
      entry->accepted = entry->adopted = true;
      entry->last_seen = now.monotonic;
      if (node->lease_end == MonotonicTime::Never()) {
        node->lease_end = now.monotonic + s.options.lease;
        s.Arm(node->lease_end, TimerKind::kLease, node->node.id.value);
      }
    }
    if (!IsFinal(j.state)) unfinished.push_back(entry.get());
    s.jobs.emplace(j.id, std::move(entry));
  }
  for (const auto& [id, node] : s.nodes) s.PutIntoFleet(node);
  // What users had before, from what is known of their jobs.
  for (const auto& [id, entry] : s.jobs) {
    const Job& j = entry->job;
    if (j.started_at.ms == 0) continue;
    Duration until = IsFinal(j.state) ? s.Since(j.ended_at) : Duration::zero();
    if (Duration from = s.Since(j.started_at); from > until && until >= Duration::zero())
      s.shares.Remember(j.user, j.resources, from, until, now.monotonic);
  }
  for (JobEntry* entry : unfinished) {
    s.StartWaiting(*entry);
    s.ArmLimits(*entry);
    if (entry->job.state == JobState::kQueued) s.EnterLine(*entry);
  }
}

void Control::Apply(std::span<Command> batch, Now now, Output* output) {
  State& s = *state_;
  s.now = now;
  s.output = output;
  s.explained.clear();
  for (Command& command : batch) {
    std::visit([&s](auto& c) { s.Apply(c); }, command);
    s.WakeDependents();
  }
  while (!s.timers.empty() && s.timers.begin()->at <= now.monotonic) {
    Timer timer = *s.timers.begin();
    s.timers.erase(s.timers.begin());
    s.Fire(timer);
    s.WakeDependents();
  }
  if (s.reschedule) s.Schedule();
  s.reschedule = false;
  s.explained.clear();
  s.Finish();
  s.output = nullptr;
}

MonotonicTime Control::NextDeadline() const {
  return state_->timers.empty() ? MonotonicTime::Never() : state_->timers.begin()->at;
}

Counters Control::counters() const { return state_->counters; }

std::vector<std::string> Control::checkpoint_files() const {
  std::vector<std::string> files;
  for (const auto& [sha256, uses] : state_->checkpoint_files) files.push_back(sha256);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace cyxwiz::control
