#include "central/core.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <filesystem>
#include <future>
#include <map>
#include <thread>

#include "base/logging.h"

namespace cyxwiz::central {
namespace {

using control::AssignOutcome;
using control::CancelJob;
using control::Command;
using control::GetJob;
using control::GetNode;
using control::Heartbeat;
using control::Job;
using control::JobBody;
using control::JobReply;
using control::JobState;
using control::ListJobs;
using control::ListNodes;
using control::Record;
using control::RegisterNode;
using control::RemoveJob;
using control::Reply;
using control::ReportCompletion;
using control::ReportProgress;
using control::SubmitJob;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr int64_t kGiB = 1ll << 30;
constexpr Duration kLease = seconds(5);
// Before a test gives up on the core's thread; only a failure waits so long.
constexpr auto kPatience = seconds(60);

// Moves only when told.
class TestClock final : public CoreClock {
 public:
  Now Read() const override {
    int64_t ns = now_ns_;
    return {{ns}, {1'700'000'000'000 + ns / 1'000'000}};
  }

  void Wait(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
            MonotonicTime deadline, const std::function<bool()>& ready) override {
    {
      std::lock_guard own(mutex_);
      core_mutex_ = lock.mutex();
      wake_ = &wake;
      deadline_ = deadline;
      over_ = [this, deadline, ready] { return ready() || Read().monotonic >= deadline; };
      waiting_ = true;
      ++waits_;
    }
    changed_.notify_all();
    wake.wait(lock, over_);
    std::lock_guard own(mutex_);
    waiting_ = false;
  }

  // Waits until the core has done all that was posted and is due; returns what it waits for then.
  MonotonicTime AwaitIdle() {
    int seen = 0;
    while (true) {
      std::unique_lock own(mutex_);
      if (!changed_.wait_for(own, kPatience, [&] { return waits_ != seen; })) {
        ADD_FAILURE() << "the core is busy";
        return {};
      }
      seen = waits_;
      own.unlock();
      std::lock_guard core(*core_mutex_);
      own.lock();
      if (waiting_ && !over_()) return deadline_;
    }
  }

  // Lets time pass while the core is idle, and waits until it has done what is due.
  void Advance(Duration time) {
    AwaitIdle();
    {
      std::lock_guard core(*core_mutex_);
      Jump(time);
    }
    wake_->notify_all();
    AwaitIdle();
  }

  // Time passes while the core is at work: on its thread.
  void Jump(Duration time) { now_ns_ += time.count(); }

  int waits() const {
    std::lock_guard own(mutex_);
    return waits_;
  }

 private:
  std::atomic<int64_t> now_ns_ = 1'000'000'000'000;
  mutable std::mutex mutex_;  // of what follows; taken after the core's
  std::condition_variable changed_;
  std::mutex* core_mutex_ = nullptr;
  std::condition_variable* wake_ = nullptr;
  MonotonicTime deadline_;
  std::function<bool()> over_;  // with the core's mutex
  bool waiting_ = false;
  int waits_ = 0;
};

// What is durable, and what shall happen to the next commits.
class TestDisk {
 public:
  Status Commit(std::span<const Record> records) {
    std::unique_lock lock(mutex_);
    ++tries_;
    in_commit_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hold_; });
    in_commit_ = false;
    if (on_commit) on_commit();
    if (!results_.empty()) {
      Status result = results_.front();
      results_.pop_front();
      if (!result.ok()) return result;
    }
    commits_.emplace_back(records.begin(), records.end());
    for (const Record& record : records) {
      if (auto* put = std::get_if<control::PutJob>(&record)) jobs_[put->job.id].push_back(put->job);
      if (auto* gone = std::get_if<control::DeleteJob>(&record)) jobs_.erase(gone->id);
    }
    return OkStatus();
  }

  void FailNext(const Status& status, int times = 1) {
    std::lock_guard lock(mutex_);
    for (int i = 0; i < times; ++i) results_.push_back(status);
  }
  void FillUp(int times = 1) { FailNext(ResourceExhausted("no space left"), times); }

  // The next commit does not return before Release.
  void Hold() {
    std::lock_guard lock(mutex_);
    hold_ = true;
  }
  void AwaitCommit() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kPatience, [this] { return in_commit_; }));
  }
  void Release() {
    std::lock_guard lock(mutex_);
    hold_ = false;
    changed_.notify_all();
  }

  // As stored, oldest version first.
  std::vector<Job> Versions(const JobId& id) const {
    std::lock_guard lock(mutex_);
    auto found = jobs_.find(id);
    return found == jobs_.end() ? std::vector<Job>() : found->second;
  }
  bool Has(const std::string& id) const { return !Versions(JobId{id}).empty(); }
  JobState StateOf(const std::string& id) const { return Versions(JobId{id}).back().state; }
  std::vector<std::vector<Record>> commits() const {
    std::lock_guard lock(mutex_);
    return commits_;
  }
  int tries() const {
    std::lock_guard lock(mutex_);
    return tries_;
  }

  std::function<void()> on_commit;  // on the core's thread
  std::atomic<bool> backup_complete = false;
  control::Snapshot loaded;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Status> results_;
  bool hold_ = false, in_commit_ = false;
  int tries_ = 0;
  std::vector<std::vector<Record>> commits_;
  std::map<JobId, std::vector<Job>> jobs_;
};

// A copy that is complete when the test says so.
class TestBackup final : public store::Backup {
 public:
  explicit TestBackup(const std::atomic<bool>* complete) : complete_(complete) {}
  Result<bool> Step(int) override { return complete_->load(); }

 private:
  const std::atomic<bool>* const complete_;
};

class TestStore final : public store::JobStore {
 public:
  explicit TestStore(TestDisk* disk) : disk_(disk) {}
  Result<control::Snapshot> Load() override { return disk_->loaded; }
  Result<std::vector<control::Event>> Events(const control::EventQuery&) override {
    return std::vector<control::Event>();
  }
  Status Commit(std::span<const Record> records) override { return disk_->Commit(records); }
  Result<std::unique_ptr<store::Backup>> BeginBackup(const std::string&) override {
    return std::unique_ptr<store::Backup>(std::make_unique<TestBackup>(&disk_->backup_complete));
  }
  Result<std::optional<control::EndedJob>> FindEnded(const JobId&) override {
    return std::optional<control::EndedJob>();
  }
  Result<std::vector<Job>> ListEnded(const control::JobFilter&, int64_t, size_t) override {
    return std::vector<Job>();
  }
  Result<bool> HasPrefix(const std::string&) override { return false; }

 private:
  TestDisk* const disk_;
};

// Whatever is told of a job must be, or have been, on the disk.
void ExpectDurable(const TestDisk& disk, const Job& told) {
  std::vector<Job> versions = disk.Versions(told.id);
  EXPECT_TRUE(std::any_of(versions.begin(), versions.end(),
                          [&](const Job& stored) {
                            return stored.state == told.state && stored.attempt == told.attempt &&
                                   stored.cancel_requested == told.cancel_requested;
                          }))
      << told.id << ", attempt " << told.attempt << ", " << JobStateName(told.state)
      << ": not stored";
}

class TestSink final : public EffectSink {
 public:
  explicit TestSink(const TestDisk* disk) : disk_(disk) {}

  void Assign(control::AssignEffect effect) override {
    ExpectDurable(*disk_, effect.job);
    std::lock_guard lock(mutex_);
    assigned_.push_back(effect.attempt);
  }
  void Stop(control::StopEffect effect) override {
    EXPECT_TRUE(disk_->Versions(effect.attempt.job).back().cancel_requested);
    std::lock_guard lock(mutex_);
    stopped_.push_back(effect.attempt);
  }
  void Tell(const control::Event&) override {}
  void Update(const control::UpdateEffect& effect) override {
    if (!effect.removed) ExpectDurable(*disk_, effect.view->job);
    std::lock_guard lock(mutex_);
    states_.push_back(effect.view->job.id.value + " " +
                      (effect.removed ? "removed" : JobStateName(effect.view->job.state)));
  }

  std::vector<AttemptId> assigned() const {
    std::lock_guard lock(mutex_);
    return assigned_;
  }
  std::vector<AttemptId> stopped() const {
    std::lock_guard lock(mutex_);
    return stopped_;
  }
  std::vector<std::string> states() const {
    std::lock_guard lock(mutex_);
    return states_;
  }

 private:
  const TestDisk* const disk_;
  mutable std::mutex mutex_;
  std::vector<AttemptId> assigned_, stopped_;
  std::vector<std::string> states_;
};

class Bench {
 public:
  explicit Bench(Core::Options options = {}) {
    options.clock = clock_;
    options.control.lease = kLease;
    auto core = Core::Start(std::make_unique<TestStore>(&disk), std::move(options));
    EXPECT_TRUE(core.ok()) << core.status();
    core_ = std::move(*core);
    core_->SetSink(&sink);
  }
  ~Bench() { disk.Release(); }

  std::future<Reply> Post(Command command) {
    auto reply = std::make_shared<std::promise<Reply>>();
    std::future<Reply> future = reply->get_future();
    // A second answer would throw.
    core_->Post(std::move(command), [this, reply](Reply r) {
      if (auto* job = std::get_if<JobReply>(&r.content)) ExpectDurable(disk, job->view.job);
      if (auto* job = std::get_if<control::SubmitReply>(&r.content))
        ExpectDurable(disk, job->view->job);
      reply->set_value(std::move(r));
    });
    return future;
  }
  static Reply Get(std::future<Reply> reply) {
    if (reply.wait_for(kPatience) == std::future_status::ready) return reply.get();
    ADD_FAILURE() << "no answer";
    return {.status = Status(Code::kUnknown, "no answer")};
  }
  Reply Do(Command command) { return Get(Post(std::move(command))); }
  Status StatusOf(Command command) { return Do(std::move(command)).status; }

  static bool IsOpen(const std::future<Reply>& reply) {
    return reply.wait_for(seconds(0)) == std::future_status::timeout;
  }

  static SubmitJob Submit(const std::string& id) {
    return {.job = {.id = JobId{id}, .resources = {1000, kGiB, 0}},
            .body = std::make_shared<JobBody>(JobBody{"sha-" + id, "config of " + id})};
  }
  static RegisterNode Register(const std::string& id, std::vector<AttemptId> active = {}) {
    return {.node = {.id = NodeId{id},
                     .endpoint = id + ":50052",
                     .capacity = {2000, 8 * kGiB, 0},
                     .devices = {1}},
            .active = std::move(active),
            .session = "session"};
  }
  static AssignOutcome Rejection(const std::string& id) {
    return {.attempt = {JobId{id}, 1},
            .node = NodeId{"n"},
            .kind = AssignOutcome::Kind::kRejected,
            .message = "no"};
  }
  // Until the job runs on node n.
  void Run(const std::string& id) {
    ASSERT_TRUE(StatusOf(Register("n")).ok());
    ASSERT_TRUE(StatusOf(Submit(id)).ok());
    ASSERT_TRUE(StatusOf(Progress(id)).ok());
    ASSERT_EQ(StateOf(id), JobState::kRunning);
  }
  static ReportProgress Progress(const std::string& id) {
    return {.node = NodeId{"n"}, .attempt = {JobId{id}, 1}, .progress = 0.5};
  }
  static ReportCompletion Completion(const std::string& id) {
    return {.node = NodeId{"n"}, .attempt = {JobId{id}, 1}};
  }
  JobState StateOf(const std::string& id) {
    Reply reply = Do(GetJob{.job = JobId{id}});
    EXPECT_TRUE(reply.status.ok()) << reply.status;
    return reply.status.ok() ? std::get<JobReply>(reply.content).view.job.state : JobState();
  }

  MonotonicTime now() const { return clock_->Read().monotonic; }
  Core& core() { return *core_; }
  TestClock& clock() { return *clock_; }

  TestDisk disk;
  TestSink sink{&disk};

 private:
  std::shared_ptr<TestClock> clock_ = std::make_shared<TestClock>();
  std::unique_ptr<Core> core_;
};

// ---- Loading ----

TEST(CoreLoad, AStoreWhoseJobsLackWhatControlNeedsIsRefused) {
  auto start = [](const std::function<void(Job&)>& change, bool with_body) {
    TestDisk disk;
    Job job{.sequence = 1, .id = {"j"}, .body = 1, .state = JobState::kRunning};
    change(job);
    disk.loaded.jobs = {job};
    if (with_body) disk.loaded.bodies = {{1, std::make_shared<JobBody>(JobBody{"sha", "config"})}};
    disk.loaded.nodes = {{.id = {"n"}}};
    return Core::Start(std::make_unique<TestStore>(&disk), {}).status();
  };
  EXPECT_TRUE(start([](Job& job) { job.node = {"n"}; }, true).ok());
  EXPECT_EQ(start([](Job& job) { job.node = {"n"}; }, false).code(), Code::kDataLoss);
  EXPECT_EQ(start([](Job& job) { job.node = {"m"}; }, true).code(), Code::kDataLoss);
  auto array = std::make_shared<control::Array>(control::Array{.size = 2, .started = 2});
  EXPECT_TRUE(start([&](Job& job) { job.array = array; }, true).ok()) << "it is on no node";
}

// ---- Backups ----

TEST(CoreBackup, CommandsAreAnsweredWhileOneIsMadeAndThereIsOneAtATime) {
  Bench b;
  std::promise<Status> first, second;
  b.core().BackUp("copy", [&first](const Status& status) { first.set_value(status); });
  ASSERT_TRUE(b.StatusOf(Bench::Submit("j")).ok());
  ASSERT_TRUE(b.StatusOf(Bench::Submit("k")).ok());
  b.core().BackUp("copy", [&second](const Status& status) { second.set_value(status); });
  EXPECT_EQ(second.get_future().get().code(), Code::kResourceExhausted);
  std::future<Status> done = first.get_future();
  EXPECT_EQ(done.wait_for(seconds(0)), std::future_status::timeout);
  b.disk.backup_complete = true;
  ASSERT_EQ(done.wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(done.get().ok());
  b.clock().AwaitIdle();
}

TEST(CoreBackup, OneThatIsNotCompleteWhenTheServerStopsIsAnswered) {
  Bench b;
  std::promise<Status> done;
  b.core().BackUp("copy", [&done](const Status& status) { done.set_value(status); });
  b.core().Stop();
  EXPECT_EQ(done.get_future().get().code(), Code::kUnavailable);
}

// ---- What it tells of itself ----

class Told final : public CoreObserver {
 public:
  void OnTaken(double seconds) override { Add("taken", seconds); }
  void OnApplied(double seconds) override { Add("applied", seconds); }
  void OnCommitted(double seconds) override { Add("committed", seconds); }

  std::vector<std::string> lines;  // of the core's thread while it works

 private:
  void Add(const char* what, double seconds) {
    lines.push_back(what + (" " + std::to_string(std::lround(1000 * seconds))));
  }
};

TEST(CoreObserver, ItIsToldHowLongCommandsWaitedAndWhatABatchAndItsCommitTook) {
  Told told;
  Bench b({.observer = &told});
  ASSERT_TRUE(b.StatusOf(Bench::Register("n")).ok());
  b.clock().AwaitIdle();
  told.lines.clear();
  b.disk.Hold();
  std::future<Reply> first = b.Post(Bench::Submit("j"));
  b.disk.AwaitCommit();
  std::future<Reply> second = b.Post(Bench::Submit("k"));
  b.disk.on_commit = [&b] { b.clock().Jump(milliseconds(7)); };
  b.disk.Release();
  EXPECT_TRUE(Bench::Get(std::move(first)).status.ok());
  EXPECT_TRUE(Bench::Get(std::move(second)).status.ok());
  b.clock().AwaitIdle();
  EXPECT_EQ(told.lines, (std::vector<std::string>{"taken 0", "applied 0", "committed 7", "taken 7",
                                                  "applied 0", "committed 7"}));
  told.lines.clear();
  EXPECT_TRUE(b.StatusOf(GetJob{.job = JobId{"j"}}).ok());
  b.clock().AwaitIdle();
  EXPECT_EQ(told.lines, (std::vector<std::string>{"taken 0", "applied 0"})) << "nothing to commit";
}

// ---- Commits ----

TEST(CoreCommit, NothingLeavesBeforeTheCommitHasReturned) {
  Bench b;
  ASSERT_TRUE(b.StatusOf(Bench::Register("n")).ok());
  b.disk.Hold();
  std::future<Reply> submitted = b.Post(Bench::Submit("j"));
  b.disk.AwaitCommit();
  EXPECT_TRUE(Bench::IsOpen(submitted));
  EXPECT_TRUE(b.sink.assigned().empty());
  EXPECT_TRUE(b.sink.states().empty());
  EXPECT_EQ(b.core().counters().submitted, 0);
  b.disk.Release();
  Reply reply = Bench::Get(std::move(submitted));
  ASSERT_TRUE(reply.status.ok());
  EXPECT_EQ(std::get<control::SubmitReply>(reply.content).view->job.node.value, "n");
  b.clock().AwaitIdle();
  EXPECT_EQ(b.sink.assigned(), (std::vector<AttemptId>{{JobId{"j"}, 1}}));
  EXPECT_EQ(b.sink.states(), std::vector<std::string>{"j Assigned"});
  EXPECT_EQ(b.core().counters().submitted, 1);
}

TEST(CoreCommit, AStopLeavesOnlyWhenTheCancellationIsDurable) {
  Bench b;
  b.Run("j");
  b.disk.Hold();
  std::future<Reply> cancelled = b.Post(CancelJob{.job = JobId{"j"}});
  b.disk.AwaitCommit();
  EXPECT_TRUE(Bench::IsOpen(cancelled));
  EXPECT_TRUE(b.sink.stopped().empty());
  b.disk.Release();
  EXPECT_TRUE(Bench::Get(std::move(cancelled)).status.ok());
  b.clock().AwaitIdle();
  EXPECT_EQ(b.sink.stopped(), (std::vector<AttemptId>{{JobId{"j"}, 1}}));
}

TEST(CoreCommit, EverythingThatWaitsGoesIntoOneTransaction) {
  Bench b;
  b.disk.Hold();
  std::vector<std::future<Reply>> replies;
  replies.push_back(b.Post(Bench::Submit("first")));
  b.disk.AwaitCommit();
  for (int i = 0; i < 10; ++i) replies.push_back(b.Post(Bench::Submit("j" + std::to_string(i))));
  b.disk.Release();
  for (auto& reply : replies) EXPECT_TRUE(Bench::Get(std::move(reply)).status.ok());
  auto commits = b.disk.commits();
  ASSERT_EQ(commits.size(), 2u);
  EXPECT_EQ(commits[0].size(), 2u) << "a body and its job";
  EXPECT_EQ(commits[1].size(), 20u);
}

TEST(CoreCommit, ReadsNeedNone) {
  Bench b;
  EXPECT_EQ(b.StatusOf(GetJob{.job = JobId{"j"}}).code(), Code::kNotFound);
  EXPECT_TRUE(b.StatusOf(ListJobs{}).ok());
  EXPECT_TRUE(b.StatusOf(ListNodes{}).ok());
  EXPECT_EQ(b.disk.tries(), 0);
}

TEST(CoreCommit, AStoreThatDoesNotLoadIsNotStarted) {
  struct Broken final : store::JobStore {
    Result<control::Snapshot> Load() override { return DataLoss("torn"); }
    Status Commit(std::span<const Record>) override { return OkStatus(); }
    Result<std::vector<control::Event>> Events(const control::EventQuery&) override {
      return Unavailable("not loaded");
    }
    Result<std::optional<control::EndedJob>> FindEnded(const JobId&) override {
      return Unavailable("not loaded");
    }
    Result<std::vector<Job>> ListEnded(const control::JobFilter&, int64_t, size_t) override {
      return Unavailable("not loaded");
    }
    Result<bool> HasPrefix(const std::string&) override { return Unavailable("not loaded"); }
    Result<std::unique_ptr<store::Backup>> BeginBackup(const std::string&) override {
      return Unavailable("not loaded");
    }
  };
  auto core = Core::Start(std::make_unique<Broken>(), {});
  EXPECT_EQ(core.status().code(), Code::kDataLoss);
}

// Ends the process with another code when anything leaves after the failure.
struct DeadSink final : EffectSink {
  void Assign(control::AssignEffect) override { _exit(1); }
  void Stop(control::StopEffect) override { _exit(1); }
  void Update(const control::UpdateEffect&) override { _exit(1); }
  void Tell(const control::Event&) override { _exit(1); }
};

// Commits a submit with these outcomes, `retry_commit` being over at once.
void SubmitWith(std::vector<Status> outcomes) {
  EXPECT_TRUE(SetUpLogging("core_test", "info").ok());
  TestDisk disk;
  for (const Status& outcome : outcomes) disk.FailNext(outcome);
  DeadSink sink;
  Core::Options options;
  options.retry_commit = Duration::zero();
  auto core = Core::Start(std::make_unique<TestStore>(&disk), std::move(options));
  (*core)->SetSink(&sink);
  std::promise<void> answered;
  (*core)->Post(Bench::Submit("j"), [&](Reply) { answered.set_value(); });
  answered.get_future().wait_for(kPatience);
  _exit(2);
}

class CoreDeathTest : public testing::Test {
 protected:
  // The statement runs in a fresh process: this one has threads.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(CoreDeathTest, AFailedCommitEndsTheProcess) {
  EXPECT_EXIT(SubmitWith({Internal("fsync failed")}), testing::ExitedWithCode(70),
              "storing failed.*fsync failed");
}

TEST_F(CoreDeathTest, AFailureOfTheDiskWhileItIsFullEndsTheProcessToo) {
  EXPECT_EXIT(SubmitWith({ResourceExhausted("full"), Internal("fsync failed")}),
              testing::ExitedWithCode(70), "storing failed.*fsync failed");
}

// ---- The queue, and the end ----

TEST(CoreQueue, AFullOneRefusesWithTheReason) {
  Core::Options options;
  options.max_queued_commands = 2;
  Bench b(options);
  b.disk.Hold();
  std::vector<std::future<Reply>> taken;
  taken.push_back(b.Post(Bench::Submit("in-work")));
  b.disk.AwaitCommit();
  taken.push_back(b.Post(Bench::Submit("second")));
  taken.push_back(b.Post(Bench::Submit("third")));
  std::future<Reply> refused = b.Post(Bench::Submit("fourth"));
  ASSERT_FALSE(Bench::IsOpen(refused)) << "a refusal does not wait for the disk";
  Status status = refused.get().status;
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("2 commands wait"), std::string::npos) << status;
  b.disk.Release();
  for (auto& reply : taken) EXPECT_TRUE(Bench::Get(std::move(reply)).status.ok());
  EXPECT_FALSE(b.disk.Has("fourth"));
  EXPECT_TRUE(b.StatusOf(Bench::Submit("fourth")).ok());
}

TEST(CoreQueue, AFullOneTakesWhatNobodyWouldSendAgain) {
  Core::Options options;
  options.max_queued_commands = 1;
  Bench b(options);
  ASSERT_TRUE(b.StatusOf(Bench::Register("n")).ok());
  ASSERT_TRUE(b.StatusOf(Bench::Submit("j")).ok());
  b.disk.Hold();
  std::future<Reply> in_work = b.Post(Bench::Submit("in-work"));
  b.disk.AwaitCommit();
  std::future<Reply> waiting = b.Post(ListNodes{});
  EXPECT_FALSE(Bench::IsOpen(b.Post(ListNodes{})));
  b.core().Post(Bench::Rejection("j"), nullptr);
  b.disk.Release();
  EXPECT_TRUE(Bench::Get(std::move(in_work)).status.ok());
  EXPECT_TRUE(Bench::Get(std::move(waiting)).status.ok());
  EXPECT_EQ(b.StateOf("j"), JobState::kQueued);
}

TEST(CoreStop, AnswersAllThatWaitsAndFinishesTheBatchInWork) {
  Bench b;
  b.disk.Hold();
  std::future<Reply> in_work = b.Post(Bench::Submit("in-work"));
  b.disk.AwaitCommit();
  std::vector<std::future<Reply>> waiting;
  waiting.push_back(b.Post(Bench::Submit("waits")));
  std::thread stopping([&b] { b.core().Stop(); });
  // Whatever is posted before Stop has begun waits; the first that is refused ends the loop.
  do {
    waiting.push_back(b.Post(GetJob{.job = JobId{"in-work"}}));
    std::this_thread::yield();
  } while (Bench::IsOpen(waiting.back()));
  EXPECT_TRUE(Bench::IsOpen(in_work));
  b.disk.Release();
  stopping.join();
  EXPECT_TRUE(Bench::Get(std::move(in_work)).status.ok());
  for (auto& reply : waiting)
    EXPECT_EQ(Bench::Get(std::move(reply)).status.code(), Code::kUnavailable);
  EXPECT_FALSE(b.disk.Has("waits"));
  EXPECT_EQ(b.StatusOf(Bench::Submit("late")).code(), Code::kUnavailable);
  EXPECT_EQ(b.core().Ready().code(), Code::kUnavailable);
  b.core().Stop();
}

TEST(CoreStop, AnswersThoseWhoWaitForAFullDisk) {
  Bench b;
  b.disk.FillUp(2);
  std::future<Reply> submitted = b.Post(Bench::Submit("j"));
  b.clock().AwaitIdle();
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::IsOpen(submitted));
  b.core().Stop();
  EXPECT_EQ(Bench::Get(std::move(submitted)).status.code(), Code::kUnavailable);
}

// ---- Time ----

TEST(CoreTime, WithNothingDueTheCoreSleepsUntilACommand) {
  Bench b;
  EXPECT_EQ(b.clock().AwaitIdle(), MonotonicTime::Never());
  ASSERT_TRUE(b.StatusOf(Bench::Submit("j")).ok());
  EXPECT_EQ(b.clock().AwaitIdle(), MonotonicTime::Never());
  int waits = b.clock().waits();
  b.clock().Advance(std::chrono::hours(24));
  EXPECT_EQ(b.clock().waits(), waits);
}

TEST(CoreTime, TheNextDeadlineWakesIt) {
  Bench b;
  b.Run("j");
  MonotonicTime lease_end = b.now() + kLease;
  EXPECT_EQ(b.clock().AwaitIdle(), b.now() + seconds(1)) << "progress is to be stored";
  b.clock().Advance(seconds(1));
  EXPECT_EQ(b.clock().AwaitIdle(), lease_end);
  int waits = b.clock().waits();
  b.clock().Advance(lease_end - b.now() - nanoseconds(1));
  EXPECT_EQ(b.clock().waits(), waits);
  b.clock().Advance(nanoseconds(1));
  EXPECT_EQ(b.sink.states().back(), "j Queued");
  EXPECT_EQ(b.disk.StateOf("j"), JobState::kQueued);
}

// ---- A disk that is low: the reserve was given up ----

class CoreLowDisk : public testing::Test {
 protected:
  CoreLowDisk() {
    std::string pattern = testing::TempDir() + "cyxwiz-core-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CoreLowDisk() override { std::filesystem::remove_all(folder_); }

  Core::Options WithReserve() const {
    Core::Options options;
    options.reserve_path = reserve();
    options.reserve_bytes = 1 << 20;
    return options;
  }
  std::string reserve() const { return folder_ + "/reserve"; }
  uintmax_t ReserveBytes() const {
    return std::filesystem::exists(reserve()) ? std::filesystem::file_size(reserve()) : 0;
  }
  // Without its folder the reserve cannot be made.
  void TakeSpaceAway() { std::filesystem::remove_all(folder_); }
  void GiveSpaceBack() { std::filesystem::create_directory(folder_); }

  std::string folder_;
};

TEST_F(CoreLowDisk, TheReserveMakesRoomForWhatIsInWork) {
  Bench b(WithReserve());
  EXPECT_EQ(ReserveBytes(), 1u << 20);
  EXPECT_TRUE(b.core().Ready().ok());
  b.disk.FillUp();
  EXPECT_TRUE(b.StatusOf(Bench::Submit("j")).ok());
  EXPECT_EQ(b.disk.tries(), 2);
  EXPECT_EQ(ReserveBytes(), 0u);
  EXPECT_EQ(b.core().Ready().code(), Code::kResourceExhausted);
}

TEST_F(CoreLowDisk, NewJobsAreRefusedAndRunningOnesEnd) {
  Bench b(WithReserve());
  b.Run("j");
  b.disk.FillUp();
  ASSERT_TRUE(b.StatusOf(Bench::Submit("waits")).ok());
  Status refused = b.StatusOf(Bench::Submit("new"));
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  EXPECT_NE(refused.message().find("disk"), std::string::npos) << refused;
  EXPECT_FALSE(b.disk.Has("new"));
  EXPECT_TRUE(b.StatusOf(CancelJob{.job = JobId{"waits"}}).ok());
  EXPECT_TRUE(b.StatusOf(Bench::Completion("j")).ok());
  EXPECT_EQ(b.StateOf("j"), JobState::kSucceeded);
  EXPECT_TRUE(b.StatusOf(ListJobs{}).ok());
}

TEST_F(CoreLowDisk, GoesOnWhenTheReserveCanBeMadeAgain) {
  Bench b(WithReserve());
  b.disk.FillUp();
  ASSERT_TRUE(b.StatusOf(Bench::Submit("j")).ok());
  TakeSpaceAway();
  b.clock().Advance(seconds(1));
  EXPECT_EQ(b.StatusOf(Bench::Submit("new")).code(), Code::kResourceExhausted);
  EXPECT_EQ(b.clock().AwaitIdle(), b.now() + seconds(1));
  GiveSpaceBack();
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(b.core().Ready().ok());
  EXPECT_EQ(ReserveBytes(), 1u << 20);
  EXPECT_TRUE(b.StatusOf(Bench::Submit("new")).ok());
  EXPECT_EQ(b.clock().AwaitIdle(), MonotonicTime::Never());
}

TEST_F(CoreLowDisk, MayBeSoFromTheStart) {
  TakeSpaceAway();
  Bench b(WithReserve());
  EXPECT_EQ(b.core().Ready().code(), Code::kResourceExhausted);
  EXPECT_EQ(b.StatusOf(Bench::Submit("j")).code(), Code::kResourceExhausted);
  GiveSpaceBack();
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(b.core().Ready().ok());
  EXPECT_EQ(ReserveBytes(), 1u << 20) << "the whole reserve, however little space there was";
  EXPECT_TRUE(b.StatusOf(Bench::Submit("j")).ok());
}

// ---- A full disk: the core is frozen ----

TEST_F(CoreLowDisk, WhenTheReserveIsNotEnoughTheCoreFreezes) {
  Bench b(WithReserve());
  b.disk.FillUp(2);
  std::future<Reply> submitted = b.Post(Bench::Submit("j"));
  b.clock().AwaitIdle();
  EXPECT_EQ(b.StatusOf(CancelJob{.job = JobId{"j"}}).code(), Code::kResourceExhausted);
  EXPECT_TRUE(Bench::IsOpen(submitted));
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::Get(std::move(submitted)).status.ok());
  EXPECT_TRUE(b.core().Ready().ok());
  EXPECT_EQ(ReserveBytes(), 1u << 20);
}

// A job runs on node n, another one was submitted and does not fit onto the disk.
class CoreFullDisk : public testing::Test {
 protected:
  CoreFullDisk() {
    b.Run("old");
    b.clock().Advance(seconds(1));  // its progress is stored, so nothing of it waits
    lease_end_ = b.now() + kLease - seconds(1);
  }
  void Freeze(int retries = 0) {
    b.disk.FillUp(1 + retries);
    submitted = b.Post(Bench::Submit("new"));
    b.clock().AwaitIdle();
  }
  Bench b;
  std::future<Reply> submitted;
  MonotonicTime lease_end_;
};

TEST_F(CoreFullDisk, WhatNeedsARecordIsRefused) {
  Freeze();
  EXPECT_EQ(b.core().Ready().code(), Code::kResourceExhausted);
  for (Command command : std::initializer_list<Command>{
           Bench::Submit("more"), CancelJob{.job = JobId{"old"}}, RemoveJob{.job = JobId{"old"}}}) {
    EXPECT_EQ(b.StatusOf(command).code(), Code::kResourceExhausted) << command.index();
  }
  // Nodes try again whatever is unavailable.
  EXPECT_EQ(b.StatusOf(Bench::Register("m")).code(), Code::kUnavailable);
  EXPECT_EQ(b.StatusOf(Bench::Completion("old")).code(), Code::kUnavailable);
  EXPECT_TRUE(Bench::IsOpen(submitted));
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::Get(std::move(submitted)).status.ok());
  EXPECT_TRUE(b.core().Ready().ok());
  EXPECT_FALSE(b.disk.Has("more"));
  EXPECT_EQ(b.StateOf("old"), JobState::kRunning) << "what was refused was not applied";
  EXPECT_TRUE(b.StatusOf(Bench::Completion("old")).ok());
  EXPECT_EQ(b.StateOf("old"), JobState::kSucceeded);
}

TEST_F(CoreFullDisk, NodesAreToldToGoOn) {
  Freeze();
  Reply beat = b.Do(Heartbeat{.node = NodeId{"n"}, .session = "session"});
  ASSERT_TRUE(beat.status.ok());
  EXPECT_TRUE(std::get<control::HeartbeatReply>(beat.content).stop.empty());
  Reply report = b.Do(Bench::Progress("old"));
  ASSERT_TRUE(report.status.ok());
  EXPECT_TRUE(std::get<control::ReportReply>(report.content).continue_job);
}

TEST_F(CoreFullDisk, ANodeWhoseSessionHasEndedIsNotToldToGoOn) {
  Freeze();
  EXPECT_EQ(b.StatusOf(Heartbeat{.node = NodeId{"n"}, .session = "older"}).code(),
            Code::kUnauthenticated);
  EXPECT_EQ(b.StatusOf(Heartbeat{.node = NodeId{"m"}, .session = "session"}).code(),
            Code::kNotFound);
}

TEST_F(CoreFullDisk, ReadsAreAnsweredUnlessTheyRestOnWhatIsNotStored) {
  Freeze();
  EXPECT_EQ(b.StateOf("old"), JobState::kRunning);
  EXPECT_EQ(b.StatusOf(GetJob{.job = JobId{"new"}}).code(), Code::kUnavailable);
  EXPECT_EQ(b.StatusOf(ListJobs{}).code(), Code::kUnavailable);
  EXPECT_EQ(b.StatusOf(GetNode{.node = NodeId{"n"}}).code(), Code::kUnavailable)
      << "the new job was placed there";
  EXPECT_EQ(b.StatusOf(ListNodes{}).code(), Code::kUnavailable);
  EXPECT_EQ(b.StatusOf(GetNode{.node = NodeId{"m"}}).code(), Code::kNotFound);
  b.clock().Advance(seconds(1));
  EXPECT_EQ(b.StateOf("new"), JobState::kAssigned);
  EXPECT_TRUE(b.StatusOf(ListJobs{}).ok());
  EXPECT_TRUE(b.StatusOf(ListNodes{}).ok());
}

TEST_F(CoreFullDisk, AJobWhoseDeletionIsNotStoredIsNotCalledGone) {
  ASSERT_TRUE(b.StatusOf(Bench::Completion("old")).ok());
  b.disk.FillUp();
  std::future<Reply> removed = b.Post(RemoveJob{.job = JobId{"old"}});
  b.clock().AwaitIdle();
  EXPECT_EQ(b.StatusOf(GetJob{.job = JobId{"old"}}).code(), Code::kUnavailable);
  EXPECT_EQ(b.StatusOf(ListJobs{}).code(), Code::kUnavailable);
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::Get(std::move(removed)).status.ok());
  EXPECT_EQ(b.StatusOf(GetJob{.job = JobId{"old"}}).code(), Code::kNotFound);
}

TEST_F(CoreFullDisk, AnAttemptWhoseEndIsNotStoredIsNotCalledGoneFromItsNode) {
  b.disk.FillUp();
  std::future<Reply> reported = b.Post(Bench::Completion("old"));
  b.clock().AwaitIdle();
  EXPECT_EQ(b.StatusOf(GetNode{.node = NodeId{"n"}}).code(), Code::kUnavailable);
  EXPECT_EQ(b.StatusOf(ListNodes{}).code(), Code::kUnavailable);
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::Get(std::move(reported)).status.ok());
  EXPECT_TRUE(b.StatusOf(ListNodes{}).ok());
}

TEST_F(CoreFullDisk, ANodeThatIsNotStoredIsNotListed) {
  b.disk.FillUp();
  std::future<Reply> registered = b.Post(Bench::Register("m"));
  b.clock().AwaitIdle();
  EXPECT_EQ(b.StateOf("old"), JobState::kRunning);
  EXPECT_EQ(b.StatusOf(ListNodes{}).code(), Code::kUnavailable);
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::Get(std::move(registered)).status.ok());
  EXPECT_TRUE(b.StatusOf(GetNode{.node = NodeId{"m"}}).ok());
}

TEST_F(CoreFullDisk, ADeadlineThatCameDuringTheCommitWaitsToo) {
  b.clock().Advance(lease_end_ - b.now() - milliseconds(1));
  b.disk.on_commit = [this] { b.clock().Jump(milliseconds(2)); };
  Freeze();
  EXPECT_EQ(b.StateOf("old"), JobState::kRunning);
  EXPECT_EQ(b.disk.StateOf("old"), JobState::kRunning);
  b.clock().Advance(seconds(1));
  b.clock().Advance(milliseconds(1));
  EXPECT_EQ(b.StateOf("old"), JobState::kQueued);
}

TEST_F(CoreFullDisk, NothingOfTheBatchLeavesBeforeItIsStored) {
  Freeze(/*retries=*/2);
  size_t assigned = b.sink.assigned().size(), told = b.sink.states().size();
  b.clock().Advance(seconds(1));
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::IsOpen(submitted));
  EXPECT_EQ(b.sink.assigned().size(), assigned);
  EXPECT_EQ(b.sink.states().size(), told);
  b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::Get(std::move(submitted)).status.ok());
  EXPECT_EQ(b.sink.assigned().size(), assigned + 1);
  EXPECT_EQ(b.sink.states().back(), "new Assigned");
}

TEST_F(CoreFullDisk, AfterFiveSecondsTheOutcomeIsCalledOpen) {
  Freeze(/*retries=*/6);
  for (int i = 0; i < 4; ++i) b.clock().Advance(seconds(1));
  EXPECT_TRUE(Bench::IsOpen(submitted));
  b.clock().Advance(seconds(1));
  Status open = Bench::Get(std::move(submitted)).status;
  EXPECT_EQ(open.code(), Code::kUnavailable);
  EXPECT_NE(open.message().find("when space returns"), std::string::npos) << open;
  b.clock().Advance(seconds(1));
  EXPECT_FALSE(b.disk.Has("new"));
  b.clock().Advance(seconds(1));
  EXPECT_EQ(b.StateOf("new"), JobState::kAssigned) << "stored once there is space";
  EXPECT_TRUE(b.StatusOf(Bench::Submit("new")).ok()) << "asking again is safe";
}

TEST_F(CoreFullDisk, LeasesStandStill) {
  Duration left = lease_end_ - b.now();
  Freeze(/*retries=*/20);
  for (int i = 0; i < 20; ++i) {
    b.clock().Advance(seconds(1));
    ASSERT_FALSE(b.core().Ready().ok());
  }
  b.clock().Advance(seconds(1));
  ASSERT_TRUE(b.core().Ready().ok());
  EXPECT_EQ(b.StateOf("old"), JobState::kRunning);
  EXPECT_EQ(b.clock().AwaitIdle(), b.now() + left);
  b.clock().Advance(left - milliseconds(1));
  EXPECT_EQ(b.StateOf("old"), JobState::kRunning);
  b.clock().Advance(milliseconds(1));
  EXPECT_EQ(b.StateOf("old"), JobState::kQueued);
}

TEST_F(CoreFullDisk, OutcomesOfAssignmentsAreKeptForLater) {
  ASSERT_TRUE(b.StatusOf(Bench::Submit("second")).ok());
  ASSERT_EQ(b.StateOf("second"), JobState::kAssigned);
  Freeze();
  b.core().Post(Bench::Rejection("second"), nullptr);
  b.clock().AwaitIdle();
  EXPECT_EQ(b.StateOf("second"), JobState::kAssigned);
  b.clock().Advance(seconds(1));
  EXPECT_EQ(b.StateOf("second"), JobState::kQueued);
}

}  // namespace
}  // namespace cyxwiz::central
