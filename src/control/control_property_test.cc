// Random histories of clients and nodes, with lost and repeated messages and restarts of the
// server; after every step what must always hold is checked. A failure prints its seed.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "control/control.h"
#include "control/transitions.h"

namespace cyxwiz::control {
namespace {

constexpr int64_t kGiB = 1ll << 30;

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) { Restart(); }

  void Step() {
    switch (Pick(12)) {
      case 0:
      case 1:
        Submit();
        break;
      case 2:
        Cancel();
        break;
      case 3:
        Remove();
        break;
      case 4:
        Register();
        break;
      case 5:
      case 6:
        Beat();
        break;
      case 7:
        Progress();
        break;
      case 8:
        Complete();
        break;
      case 9:
        Outcome();
        break;
      case 10:
        Advance();
        break;
      case 11:
        if (Pick(10) == 0) Restart();
        break;
    }
    if (Pick(3) == 0) return;  // goes into one batch with the next step
    Flush();
    Check();
  }

  // Faults stop, nodes answer: every job must end.
  void Settle() {
    for (int round = 0; round < 400; ++round) {
      for (int n = 0; n < kNodes; ++n) {
        NodeId id{"n" + std::to_string(n)};
        std::vector<AttemptId> active(running_[id].begin(), running_[id].end());
        if (sessions_.count(id) == 0) {
          RegisterAs(id, active);
        } else {
          commands_.emplace_back(
              Heartbeat{.reply_to = 1, .node = id, .session = sessions_[id], .active = active});
          Flush();
          if (refused_) sessions_.erase(id);  // registers in the next round
        }
      }
      Flush();
      for (auto& [attempt, node] : assigned_) {
        commands_.emplace_back(AssignOutcome{.attempt = attempt, .node = node});
        running_[node].insert(attempt);
      }
      assigned_.clear();
      Flush();
      for (auto& [node, attempts] : running_) {
        for (const AttemptId& attempt : attempts) {
          commands_.emplace_back(ReportCompletion{.reply_to = 1, .node = node, .attempt = attempt});
        }
        attempts.clear();
      }
      elapsed_ += std::chrono::seconds(1);
      Flush();
      Check();
    }
    for (auto& [id, job] : jobs_) {
      EXPECT_TRUE(IsFinal(job.state))
          << id << " never ended: " << JobStateName(job.state) << " " << job.message;
    }
  }

 private:
  static constexpr int kNodes = 4;

  int Pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Now now() const {
    return {{elapsed_.count()}, {1'700'000'000'000 + elapsed_.count() / 1'000'000}};
  }
  JobId AnyJob() { return JobId{"j" + std::to_string(Pick(submitted_ + 1))}; }
  NodeId AnyNode() { return NodeId{"n" + std::to_string(Pick(kNodes))}; }
  AttemptId AnyAttempt(const NodeId& node) {
    auto& attempts = running_[node];
    if (!attempts.empty() && Pick(4) > 0)
      return *std::next(attempts.begin(), Pick(static_cast<int>(attempts.size())));
    return {AnyJob(), Pick(4)};  // stale, foreign or made up
  }

  void Submit() {
    // Now and then an id that was there before: the same job, another one, or one that was removed.
    JobId id =
        submitted_ > 0 && Pick(4) == 0 ? AnyJob() : JobId{"j" + std::to_string(submitted_++)};
    Job job{.id = id,
            .user = Pick(2) ? "u" : "",
            .priority = Pick(4),
            .resources = {1000 * (1 + Pick(3)), kGiB * (1 + Pick(2)), 0}};
    if (Pick(3) == 0) {  // some of a GPU, or a whole one
      job.resources.gpu_millis = Pick(2) == 0 ? kWholeGpu : Pick(4) * 300;
      if (job.resources.gpu_millis == 0 || Pick(2) == 0)
        job.resources.gpu_memory_bytes = (1 + Pick(8)) * kGiB;
    }
    if (Pick(3) == 0) {
      Terms terms;
      if (Pick(2)) terms.limits.run = std::chrono::seconds(Pick(20));
      if (Pick(2)) terms.limits.queue = std::chrono::seconds(Pick(20));
      if (Pick(4) == 0) terms.limits.deadline = {now().unix.ms + Pick(20000) - 1000};
      for (int i = Pick(3); i > 0; --i) terms.after.push_back({AnyJob(), Pick(2) == 0});
      job.terms = std::make_shared<const Terms>(terms);
    }
    std::string config = "config" + std::to_string(Pick(3));
    commands_.emplace_back(SubmitJob{
        .reply_to = 1, .job = job, .body = std::make_shared<JobBody>(JobBody{config, config})});
  }
  void Cancel() { commands_.emplace_back(CancelJob{.reply_to = 1, .job = AnyJob()}); }
  void Remove() { commands_.emplace_back(RemoveJob{.reply_to = 1, .job = AnyJob()}); }
  void RegisterAs(const NodeId& id, std::vector<AttemptId> active) {
    sessions_[id] = "s" + std::to_string(random_());
    Node node{.id = id,
              .endpoint = id.value,
              .capacity = Resources{4000, 4 * kGiB}.WithGpus(2, 8 * kGiB)};
    commands_.emplace_back(
        RegisterNode{.reply_to = 1, .node = node, .active = active, .session = sessions_[id]});
  }
  void Register() {
    NodeId id = AnyNode();
    if (Pick(2)) running_[id].clear();  // it was restarted
    RegisterAs(id, {running_[id].begin(), running_[id].end()});
  }
  void Beat() {
    NodeId id = AnyNode();
    commands_.emplace_back(Heartbeat{.reply_to = 1,
                                     .node = id,
                                     .session = sessions_[id],
                                     .active = {running_[id].begin(), running_[id].end()}});
  }
  void Progress() {
    NodeId node = AnyNode();
    commands_.emplace_back(
        ReportProgress{.reply_to = 1, .node = node, .attempt = AnyAttempt(node), .progress = 0.5});
  }
  void Complete() {
    NodeId node = AnyNode();
    AttemptId attempt = AnyAttempt(node);
    ReportCompletion report{.reply_to = 1, .node = node, .attempt = attempt};
    report.outcome = static_cast<ReportCompletion::Outcome>(Pick(3));
    report.cause = static_cast<Cause>(Pick(18));
    commands_.emplace_back(report);
    if (Pick(4) == 0) commands_.emplace_back(report);  // sent twice
    running_[node].erase(attempt);
  }
  void Outcome() {
    if (assigned_.empty()) return;
    size_t i = static_cast<size_t>(Pick(static_cast<int>(assigned_.size())));
    AssignOutcome outcome{assigned_[i].first, assigned_[i].second};
    outcome.kind = static_cast<AssignOutcome::Kind>(Pick(3));
    // An unreachable node may have taken the attempt all the same.
    if (outcome.kind != AssignOutcome::Kind::kRejected && Pick(3) > 0) {
      running_[assigned_[i].second].insert(assigned_[i].first);
    }
    commands_.emplace_back(outcome);
    assigned_.erase(assigned_.begin() + static_cast<long>(i));
  }
  void Advance() { elapsed_ += std::chrono::milliseconds(Pick(6000)); }

  void Restart() {
    commands_.clear();
    Snapshot snapshot;
    for (auto& [number, body] : bodies_) snapshot.bodies.push_back({number, body});
    for (auto& [k, job] : jobs_) snapshot.jobs.push_back(job);
    std::sort(snapshot.jobs.begin(), snapshot.jobs.end(),
              [](auto& a, auto& b) { return a.sequence < b.sequence; });
    for (auto& [k, node] : nodes_) snapshot.nodes.push_back(node);
    control_ = std::make_unique<Control>(Options{});
    control_->Load(std::move(snapshot), now());
    sessions_.clear();
    assigned_.clear();
  }

  void Flush() {
    size_t replies = 0;
    for (Command& command : commands_) {
      std::visit(
          [&](auto& c) {
            if constexpr (requires { c.reply_to; }) ++replies;
          },
          command);
    }
    Output output;
    control_->Apply(commands_, now(), &output);
    commands_.clear();
    for (Record& record : output.records) {
      if (auto* r = std::get_if<PutBody>(&record)) bodies_[r->number] = r->body;
      if (auto* r = std::get_if<PutNode>(&record)) nodes_[r->node.id.value] = r->node;
      if (auto* r = std::get_if<PutJob>(&record)) {
        auto old = jobs_.find(r->job.id.value);
        if (old != jobs_.end()) {
          EXPECT_EQ(old->second.sequence, r->job.sequence) << "a job was replaced by another one";
        }
        if (old != jobs_.end() && IsFinal(old->second.state)) {
          EXPECT_EQ(old->second.state, r->job.state) << "a final state changed";
        }
        if (old != jobs_.end()) {
          EXPECT_GE(r->job.attempt, old->second.attempt);
        }
        EXPECT_EQ(bodies_.count(r->job.body), 1u) << "a job was stored before its body";
        jobs_[r->job.id.value] = r->job;
      }
      if (auto* r = std::get_if<DeleteBody>(&record)) bodies_.erase(r->number);
      if (auto* r = std::get_if<DeleteJob>(&record)) {
        ASSERT_EQ(jobs_.count(r->id.value), 1u);
        jobs_.erase(r->id.value);
      }
    }
    std::set<int64_t> used;
    for (auto& [id, job] : jobs_) used.insert(job.body);
    std::set<int64_t> kept;
    for (auto& [number, body] : bodies_) kept.insert(number);
    EXPECT_EQ(used, kept) << "a body is kept as long as a job has it, and no longer";
    for (Effect& effect : output.effects) {
      if (auto* reply = std::get_if<Reply>(&effect)) {
        --replies;
        refused_ = !reply->status.ok();
      }
      if (auto* e = std::get_if<AssignEffect>(&effect)) {
        EXPECT_TRUE(seen_.insert({e->job.sequence, e->attempt.attempt}).second)
            << "one attempt was handed out twice";
        assigned_.emplace_back(e->attempt, e->node);
      }
    }
    EXPECT_EQ(replies, 0u) << "each command is answered once";
  }

  void Check() {
    std::map<NodeId, Resources> used;
    Counters counters = control_->counters();
    int64_t total = 0;
    for (int s = 1; s <= 7; ++s) {
      EXPECT_GE(counters.jobs_by_state[s], 0);
      total += counters.jobs_by_state[s];
    }
    EXPECT_EQ(total, static_cast<int64_t>(jobs_.size()))
        << "every accepted job is stored, and no other";
    int64_t by_state[8] = {};
    for (auto& [id, job] : jobs_) {
      by_state[static_cast<int>(job.state)]++;
      if (job.state == JobState::kAssigned || job.state == JobState::kRunning) {
        used[job.node] += HeldOn(job, job.node);
        if (job.terms == nullptr) continue;
        for (const Dependency& one : job.terms->after) {
          auto other = jobs_.find(one.job.value);
          // One that is not there, or came later, was deleted, so it had ended.
          if (other == jobs_.end() || other->second.sequence > job.sequence) continue;
          EXPECT_TRUE(IsFinal(other->second.state))
              << id << " started before " << one.job << " ended";
        }
      }
    }
    for (int s = 1; s <= 7; ++s)
      EXPECT_EQ(by_state[s], counters.jobs_by_state[s]) << JobStateName(JobState(s));
    for (auto& [id, resources] : used) {
      EXPECT_TRUE(nodes_.at(id.value).capacity.Holds(resources)) << id << " is oversold";
    }
  }

  std::mt19937_64 random_;
  Duration elapsed_ = std::chrono::seconds(1000);
  std::unique_ptr<Control> control_;
  std::vector<Command> commands_;
  bool refused_ = false;  // the last command that was answered
  int submitted_ = 0;
  std::map<std::string, Job> jobs_;  // as stored
  std::map<int64_t, std::shared_ptr<const JobBody>> bodies_;
  std::map<std::string, Node> nodes_;
  std::map<NodeId, std::string> sessions_;
  std::map<NodeId, std::set<AttemptId>> running_;  // what each node believes to run
  std::vector<std::pair<AttemptId, NodeId>> assigned_;
  std::set<std::pair<int64_t, int>> seen_;  // sequence and attempt
};

TEST(ControlProperties, HoldInRandomHistories) {
  for (uint64_t seed = 1; seed <= 200 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    for (int step = 0; step < 300 && !testing::Test::HasFailure(); ++step) world.Step();
    if (!testing::Test::HasFailure()) world.Settle();
  }
}

}  // namespace
}  // namespace cyxwiz::control
