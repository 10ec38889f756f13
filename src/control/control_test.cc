#include "control/control.h"

#include <gtest/gtest.h>

#include "control/transitions.h"

namespace cyxwiz::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kGiB = 1ll << 30;

// Drives a Control by hand: one command at a time, on a clock that moves only when told.
class Bench {
 public:
  explicit Bench(Options options = {})
      : options_(options), control_(std::make_unique<Control>(options)) {
    control_->Load({}, now());
  }

  Now now() const {
    return {{elapsed_.count()}, {1'700'000'000'000 + elapsed_.count() / 1'000'000}};
  }

  // Applies one command; what came of it stands in the members below.
  template <typename C>
  void Do(C command) {
    if constexpr (requires { command.reply_to; }) command.reply_to = 1;
    DoBatch({std::move(command)});
  }
  void DoBatch(std::vector<Command> batch) {
    output_ = {};
    control_->Apply(batch, now(), &output_);
    for (const Record& record : output_.records) Store(record);
  }
  void Pass(Duration time) {
    elapsed_ += time;
    Do(Tick{});
  }
  // As after kill -9: only what was stored remains.
  void Restart() {
    Snapshot snapshot;
    for (auto& [number, body] : bodies) snapshot.bodies.push_back({number, body});
    std::vector<Job> sorted;
    for (auto& [k, j] : jobs) sorted.push_back(j);
    std::sort(sorted.begin(), sorted.end(),
              [](auto& a, auto& b) { return a.sequence < b.sequence; });
    snapshot.jobs = sorted;
    for (auto& [k, n] : nodes) snapshot.nodes.push_back(n);
    control_ = std::make_unique<Control>(options_);
    control_->Load(std::move(snapshot), now());
    Do(Tick{});
  }

  static SubmitJob SubmitCommand(const std::string& id, int64_t cores = 1, int32_t priority = 1,
                                 const std::string& config = "config") {
    Job job{.id = JobId{id},
            .priority = priority,
            .resources = {cores * 1000, kGiB, 0},
            .total_epochs = 5};
    return {.job = job, .body = std::make_shared<JobBody>(JobBody{"sha-" + config, config})};
  }
  void Submit(const std::string& id, int64_t cores = 1, int32_t priority = 1,
              const std::string& config = "config") {
    Do(SubmitCommand(id, cores, priority, config));
  }
  void Register(const std::string& id, int64_t cores = 2, std::vector<AttemptId> active = {}) {
    Node node{.id = NodeId{id},
              .endpoint = id + ":50052",
              .capacity = {cores * 1000, 8 * kGiB, 0},
              .devices = {1}};
    Do(RegisterNode{.node = node, .active = active, .session = "session-" + id});
  }
  void Beat(const std::string& id, std::vector<AttemptId> active = {}) {
    Do(Heartbeat{.node = NodeId{id}, .session = "session-" + id, .active = active});
  }
  void Accepted(const std::string& job, int attempt, const std::string& node) {
    Do(AssignOutcome{.attempt = {JobId{job}, attempt}, .node = NodeId{node}});
  }
  void Progress(const std::string& job, int attempt, const std::string& node,
                double progress = 0.5) {
    Do(ReportProgress{.node = NodeId{node},
                      .attempt = {JobId{job}, attempt},
                      .progress = progress,
                      .epoch = 1,
                      .metrics = {{"train_loss", progress}}});
  }
  void Complete(const std::string& job, int attempt, const std::string& node,
                ReportCompletion::Outcome outcome = ReportCompletion::Outcome::kSucceeded,
                Cause cause = Cause::kNone, const std::string& message = "") {
    Do(ReportCompletion{.node = NodeId{node},
                        .attempt = {JobId{job}, attempt},
                        .outcome = outcome,
                        .cause = cause,
                        .error = {2, message, ""}});
  }
  Job Get(const std::string& id) {
    Do(GetJob{.job = JobId{id}});
    return reply<JobReply>().view.job;
  }
  std::string StateOf(const std::string& id) { return JobStateName(Get(id).state); }

  const Reply& reply() const {
    for (const Effect& effect : output_.effects) {
      if (const Reply* r = std::get_if<Reply>(&effect)) return *r;
    }
    ADD_FAILURE() << "no reply";
    static const Reply kNone;
    return kNone;
  }
  template <typename T>
  const T& reply() const {
    return std::get<T>(reply().content);
  }
  template <typename T>
  std::vector<T> effects() const {
    std::vector<T> found;
    for (const Effect& effect : output_.effects) {
      if (const T* e = std::get_if<T>(&effect)) found.push_back(*e);
    }
    return found;
  }
  Control& control() { return *control_; }

  std::map<std::string, Job> jobs;  // as stored
  std::map<int64_t, std::shared_ptr<const JobBody>> bodies;
  std::map<std::string, Node> nodes;

 private:
  void Store(const Record& record) {
    if (auto* r = std::get_if<PutJob>(&record)) jobs[r->job.id.value] = r->job;
    if (auto* r = std::get_if<PutBody>(&record)) bodies[r->number] = r->body;
    if (auto* r = std::get_if<PutNode>(&record)) nodes[r->node.id.value] = r->node;
    if (auto* r = std::get_if<DeleteJob>(&record)) jobs.erase(r->id.value);
    if (auto* r = std::get_if<DeleteBody>(&record)) bodies.erase(r->number);
  }

  Options options_;
  std::unique_ptr<Control> control_;
  Duration elapsed_ = seconds(100);
  Output output_;
};

using Outcome = ReportCompletion::Outcome;

TEST(JobLifecycle, AFreeNodeIsNamedInTheReplyToSubmit) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  const Job& job = b.reply<SubmitReply>().view.job;
  EXPECT_EQ(job.state, JobState::kAssigned);
  EXPECT_EQ(job.node.value, "n");
  EXPECT_EQ(job.attempt, 1);
  ASSERT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].endpoint, "n:50052");
  EXPECT_EQ(b.jobs.at("j").state, JobState::kAssigned)
      << "what is assigned is stored with the same batch";
}

TEST(JobLifecycle, WithoutANodeAJobWaitsAndSaysSo) {
  Bench b;
  b.Submit("j");
  const JobView& view = b.reply<SubmitReply>().view;
  EXPECT_EQ(view.job.state, JobState::kQueued);
  ASSERT_EQ(view.reasons.size(), 1u);
  EXPECT_EQ(view.reasons[0].code, "NO_NODES");
  EXPECT_NE(view.job.message.find("no Server Node"), std::string::npos);
  b.Register("n");
  EXPECT_EQ(b.effects<AssignEffect>().size(), 1u) << "a node that comes is used at once";
}

TEST(JobLifecycle, RunsThenSucceeds) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Accepted("j", 1, "n");
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  b.Progress("j", 1, "n");
  EXPECT_TRUE(b.reply<ReportReply>().continue_job);
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kRunning);
  EXPECT_EQ(job.metrics.at("train_loss"), 0.5);
  EXPECT_NE(job.started_at.ms, 0);
  b.Complete("j", 1, "n");
  job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_EQ(job.progress, 1);
  EXPECT_EQ(b.nodes.at("n").jobs_completed, 1);
  b.Complete("j", 1, "n");
  EXPECT_TRUE(b.reply().status.ok()) << "a completion that is sent again is acknowledged again";
  EXPECT_EQ(b.nodes.at("n").jobs_completed, 1);
}

TEST(JobLifecycle, ReportFromAnOldAttemptChangesNothing) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Register("n");  // restarted without the attempt
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(b.Get("j").attempt, 2);
  b.Progress("j", 1, "n", 0.9);
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  b.Complete("j", 1, "n");
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_EQ(b.StateOf("j"), "Assigned");
  EXPECT_EQ(b.Get("j").retries, 0) << "losing a node is not the job's failure";
}

TEST(JobLifecycle, ReportFromAForeignNodeChangesNothing) {
  Bench b;
  b.Register("n");
  b.Register("m");
  b.Submit("j");
  std::string other = b.Get("j").node.value == "n" ? "m" : "n";
  b.Complete("j", 1, other);
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_EQ(b.StateOf("j"), "Assigned");
}

TEST(JobLifecycle, TheUsersOwnErrorIsNeverRetried) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Complete("j", 1, "n", Outcome::kFailed, Cause::kUserError, "label 7 of 5 classes");
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.attempt, 1);
  EXPECT_EQ(job.error.message, "label 7 of 5 classes");
}

TEST(JobLifecycle, ACrashIsRetriedWithBackoffUpToTheLimit) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  for (int attempt = 1; attempt <= 2; ++attempt) {
    b.Complete("j", attempt, "n", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
    b.Do(GetJob{.job = JobId{"j"}});
    const JobView& view = b.reply<JobReply>().view;
    EXPECT_EQ(view.job.state, JobState::kQueued);
    EXPECT_EQ(view.reasons[0].code, "BACKOFF");
    EXPECT_NE(view.job.message.find("signal 11"), std::string::npos);
    b.Pass(milliseconds(900) * attempt);
    EXPECT_TRUE(b.effects<AssignEffect>().empty());
    b.Pass(milliseconds(200) * attempt);
    EXPECT_EQ(b.effects<AssignEffect>().size(), 1u);
    EXPECT_EQ(b.Get("j").attempt, attempt + 1);
    b.Beat("n", {{JobId{"j"}, attempt + 1}});
  }
  b.Complete("j", 3, "n", Outcome::kFailed, Cause::kRunnerCrashed, "signal 11");
  EXPECT_EQ(b.StateOf("j"), "Failed");
  EXPECT_EQ(b.Get("j").cause, Cause::kRunnerCrashed);
}

TEST(JobLifecycle, TheTransitionTableKeepsFinalStatesFinal) {
  for (JobState from : {JobState::kSucceeded, JobState::kFailed, JobState::kCancelled}) {
    for (int to = 1; to <= 7; ++to) EXPECT_FALSE(IsLegal(from, static_cast<JobState>(to)));
  }
  EXPECT_FALSE(IsLegal(JobState::kQueued, JobState::kRunning));
}

TEST(Submit, SameIdAndBodyIsTheSameJobAnotherBodyIsRefused) {
  Bench b;
  b.Submit("j", 1, 1, "one");
  int64_t sequence = b.reply<SubmitReply>().view.job.sequence;
  b.Submit("j", 1, 1, "one");
  EXPECT_TRUE(b.reply<SubmitReply>().existed);
  EXPECT_EQ(b.reply<SubmitReply>().view.job.sequence, sequence);
  b.Submit("j", 1, 1, "two");
  EXPECT_EQ(b.reply().status.code(), Code::kAlreadyExists);
  EXPECT_EQ(b.control().counters().submitted, 1);
}

TEST(Submit, AJobThatNoNodeCouldEverHoldIsRefusedWithTheNumbers) {
  Bench b;
  b.Register("n", 2);
  b.Submit("j", 64);
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  EXPECT_NE(b.reply().status.message().find("64 cores"), std::string::npos);
  EXPECT_TRUE(b.jobs.empty());
}

TEST(Submit, AFullQueueRefuses) {
  Bench b({.max_queued = 2});
  b.Submit("1");
  b.Submit("2");
  b.Submit("3");
  EXPECT_EQ(b.reply().status.code(), Code::kResourceExhausted);
}

TEST(Cancel, AQueuedJobEndsAtOnce) {
  Bench b;
  b.Submit("j");
  b.Do(CancelJob{.job = JobId{"j"}, .reason = "typo"});
  EXPECT_EQ(b.reply<JobReply>().view.job.state, JobState::kCancelled);
  EXPECT_EQ(b.reply<JobReply>().view.job.message, "cancelled: typo");
  b.Register("n");
  EXPECT_TRUE(b.effects<AssignEffect>().empty());
}

TEST(Cancel, ARunningJobEndsOnlyWhenItsNodeSaysSo) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Do(CancelJob{.job = JobId{"j"}});
  EXPECT_EQ(b.effects<StopEffect>().size(), 1u);
  EXPECT_TRUE(b.jobs.at("j").cancel_requested) << "the intent is durable";
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u)
      << "a lost stop is repeated by the heartbeat";
  b.Progress("j", 1, "n");
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("j"), "Cancelled");
}

TEST(Cancel, SurvivesARestartOfTheServer) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Do(CancelJob{.job = JobId{"j"}});
  b.Restart();
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<RegisterReply>().stop.size(), 1u);
  b.Complete("j", 1, "n", Outcome::kCancelled);
  EXPECT_EQ(b.StateOf("j"), "Cancelled");
}

TEST(Cancel, AnEndedJobCannotBeCancelled) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Complete("j", 1, "n");
  b.Do(CancelJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
}

TEST(Lease, WhenItRunsOutTheJobGoesToAnotherNode) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Pass(seconds(9));
  b.Beat("n", {{JobId{"j"}, 1}});
  b.Register("m");
  b.Pass(seconds(9));
  b.Beat("m");
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Pass(seconds(1));
  Job job = b.Get("j");
  EXPECT_EQ(job.state, JobState::kAssigned);
  EXPECT_EQ(job.node.value, "m");
  EXPECT_EQ(job.attempt, 2);
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply<HeartbeatReply>().stop.size(), 1u)
      << "the old node stops what is no longer its own";
}

TEST(Lease, AnAttemptThatItsNodeNoLongerListsIsLost) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  for (int i = 0; i < 4; ++i) {
    b.Pass(seconds(3));
    b.Beat("n");
  }
  EXPECT_EQ(b.Get("j").attempt, 2);
}

TEST(Restart, RunningAttemptsAreAdopted) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Restart();
  b.Beat("n", {{JobId{"j"}, 1}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound)
      << "a node of before the restart registers again";
  b.Register("n", 2, {{JobId{"j"}, 1}});
  EXPECT_TRUE(b.reply<RegisterReply>().stop.empty());
  EXPECT_EQ(b.StateOf("j"), "Running");
  EXPECT_EQ(b.Get("j").attempt, 1);
  b.Complete("j", 1, "n");
  EXPECT_EQ(b.StateOf("j"), "Succeeded");
}

TEST(Restart, AnAttemptWhoseNodeDoesNotComeBackIsQueuedAgainAfterOneLease) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n");
  b.Restart();
  b.Pass(seconds(9));
  EXPECT_EQ(b.StateOf("j"), "Running");
  b.Pass(seconds(1));
  EXPECT_EQ(b.StateOf("j"), "Queued");
}

TEST(Assign, ARefusalTriesAgainAfterAMoment) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Do(AssignOutcome{{JobId{"j"}, 1}, NodeId{"n"}, AssignOutcome::Kind::kRejected, "disk is full"});
  EXPECT_TRUE(b.effects<AssignEffect>().empty());
  b.Do(GetJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply<JobReply>().view.reasons[0].code, "NODES_HELD");
  EXPECT_NE(b.Get("j").message.find("disk is full"), std::string::npos);
  b.Pass(seconds(1));
  EXPECT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.Get("j").retries, 0);
}

TEST(Assign, NoOutcomeIsGivenUpInTime) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Pass(seconds(5));
  b.Beat("n");
  b.Pass(seconds(5));
  EXPECT_EQ(b.StateOf("j"), "Queued");
  b.Pass(seconds(1));
  EXPECT_EQ(b.Get("j").attempt, 2);
}

TEST(Assign, NodesAreNeverOversold) {
  Bench b;
  b.Register("n", 2);
  for (int i = 0; i < 5; ++i) b.Submit("j" + std::to_string(i));
  EXPECT_EQ(b.control().counters().jobs_by_state[static_cast<int>(JobState::kAssigned)], 2);
  b.Complete("j0", 1, "n");
  EXPECT_EQ(b.effects<AssignEffect>().size(), 1u);
  EXPECT_EQ(b.effects<AssignEffect>()[0].job.id.value, "j2");
}

TEST(Progress, ReachesTheStoreWithinASecondNotAtOnce) {
  Bench b;
  b.Register("n");
  b.Submit("j");
  b.Progress("j", 1, "n", 0.1);
  b.Progress("j", 1, "n", 0.2);
  EXPECT_EQ(b.jobs.at("j").progress, 0.1)
      << "the change to Running was stored, the progress after it not yet";
  b.Pass(seconds(1));
  EXPECT_EQ(b.jobs.at("j").progress, 0.2);
}

TEST(Nodes, AWrongSessionIsRefused) {
  Bench b;
  b.Register("n");
  b.Do(Heartbeat{.node = NodeId{"n"}, .session = "stale"});
  EXPECT_EQ(b.reply().status.code(), Code::kUnauthenticated);
  b.Do(Heartbeat{.node = NodeId{"x"}, .session = ""});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
}

TEST(List, PagesNewestFirstAndFilters) {
  Bench b;
  for (int i = 1; i <= 5; ++i) b.Submit("j" + std::to_string(i));
  b.Do(CancelJob{.job = JobId{"j3"}});
  b.Do(ListJobs{.page_size = 2});
  ListReply page = b.reply<ListReply>();
  EXPECT_EQ(page.total, 5);
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.jobs[0].job.id.value, "j5");
  b.Do(ListJobs{
      .page_size = 2, .after_sequence = page.next_after_sequence, .states = {JobState::kQueued}});
  page = b.reply<ListReply>();
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.jobs[0].job.id.value, "j2");
  EXPECT_EQ(page.total, 4);
  EXPECT_EQ(page.next_after_sequence, 0);
  b.Do(ListJobs{.user = "nobody"});
  EXPECT_EQ(b.reply<ListReply>().total, 0);
}

TEST(Remove, OnlyEndedJobs) {
  Bench b;
  b.Submit("j");
  b.Do(RemoveJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);
  b.Do(CancelJob{.job = JobId{"j"}});
  b.Do(RemoveJob{.job = JobId{"j"}});
  EXPECT_TRUE(b.reply().status.ok());
  EXPECT_TRUE(b.jobs.empty());
  EXPECT_TRUE(b.bodies.empty());
  b.Do(GetJob{.job = JobId{"j"}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
  b.Submit("j");
  EXPECT_EQ(b.bodies.size(), 1u) << "the body is stored again for the new job";
}

TEST(Remove, AnIdSubmittedAgainInTheSameBatchIsStored) {
  Bench b;
  b.Submit("j");
  b.Do(CancelJob{.job = JobId{"j"}});
  b.DoBatch({RemoveJob{.job = JobId{"j"}}, Bench::SubmitCommand("j")});
  ASSERT_TRUE(b.jobs.contains("j"));
  EXPECT_EQ(b.jobs.at("j").state, JobState::kQueued);
  EXPECT_TRUE(b.bodies.contains(b.jobs.at("j").body));
  b.Restart();
  EXPECT_EQ(b.StateOf("j"), "Queued");
}

}  // namespace
}  // namespace cyxwiz::control
