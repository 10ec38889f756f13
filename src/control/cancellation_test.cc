// What takes more than one batch: cancelling many jobs, and what follows for those after them.
#include "control/testing.h"

namespace cyxwiz::control {
namespace {

constexpr int64_t kAtOnce = 10;

Options Few() {
  Options options;
  options.cancelled_at_once = kAtOnce;
  return options;
}

class Cancellations : public testing::Test {
 protected:
  explicit Cancellations(Options options = Few()) : bench(options) {}

  void SubmitMany(int jobs, const std::string& prefix = "j") {
    for (int i = 0; i < jobs; ++i) bench.Submit(prefix + std::to_string(i));
  }
  void CancelQueued(ReplyTo reply_to = 1) {
    CancelJobs cancel{.filter = {.states = {JobState::kQueued}}, .reason = "not wanted"};
    cancel.reply_to = reply_to;
    cancel.actor = "client:ann";
    bench.DoBatch({cancel});
  }
  int Count(JobState state) const {
    return static_cast<int>(std::count_if(bench.jobs.begin(), bench.jobs.end(),
                                          [&](const auto& j) { return j.second.state == state; }));
  }
  bool IsDone() const {
    const auto replies = bench.effects<Reply>();
    return std::any_of(replies.begin(), replies.end(), [](const Reply& reply) {
      return std::holds_alternative<CancelJobsReply>(reply.content);
    });
  }
  // Until the cancellation is answered; how many batches that takes.
  int Finish() {
    int batches = 0;
    for (; !IsDone() && batches < 1000; ++batches) bench.GoOn();
    return batches;
  }

  Bench bench;
};

TEST_F(Cancellations, FewJobsAreCancelledWithinTheBatch) {
  SubmitMany(kAtOnce);
  bench.GoOn();
  CancelQueued();
  EXPECT_EQ(bench.reply<CancelJobsReply>().cancelled, kAtOnce);
  EXPECT_EQ(Count(JobState::kCancelled), kAtOnce);
  EXPECT_TRUE(bench.cancellations.empty());
  EXPECT_GT(bench.control().NextDeadline(), bench.now().monotonic + Duration(1));
}

TEST_F(Cancellations, ManyAreCancelledSomeABatchAndAnsweredWhenAllAre) {
  SubmitMany(35);
  bench.GoOn();
  CancelQueued();
  EXPECT_FALSE(bench.answered());
  EXPECT_EQ(Count(JobState::kCancelled), kAtOnce);
  EXPECT_EQ(bench.cancellations.size(), 1u) << "stored with the first of them";
  for (int batch = 2; batch <= 3; ++batch) {
    EXPECT_EQ(bench.control().NextDeadline(), bench.now().monotonic + Duration(1));
    bench.GoOn();
    EXPECT_EQ(Count(JobState::kCancelled), batch * kAtOnce);
    EXPECT_LE(bench.records(), 2 * kAtOnce + 1) << "a row and an event each";
    EXPECT_FALSE(bench.answered());
  }
  bench.GoOn();
  EXPECT_EQ(bench.reply<CancelJobsReply>().cancelled, 35);
  EXPECT_EQ(Count(JobState::kCancelled), 35);
  EXPECT_TRUE(bench.cancellations.empty());
  for (const auto& [id, job] : bench.jobs) {
    EXPECT_EQ(job.cause, Cause::kCancelled);
    EXPECT_EQ(*job.cancel_reason, "not wanted");
  }
  for (const auto& [number, event] : bench.events) {
    if (event.to == JobState::kCancelled) {
      EXPECT_EQ(event.actor, "client:ann");
    }
  }
}

TEST_F(Cancellations, HeartbeatsAndSubmitsGoOnInBetween) {
  bench.Register("n", 1);
  SubmitMany(35);
  CancelQueued();
  ASSERT_FALSE(bench.answered());
  bench.Beat("n", {{JobId{"j0"}, 1}});
  EXPECT_TRUE(bench.reply().status.ok());
  bench.Submit("later");
  Finish();
  EXPECT_EQ(bench.StateOf("later"), "Queued") << "it came after the cancellation";
  EXPECT_EQ(bench.StateOf("j0"), "Assigned") << "it did not wait";
}

TEST_F(Cancellations, NoneOfTheJobsStartsOnceItIsStored) {
  SubmitMany(35);
  bench.GoOn();
  CancelQueued();
  bench.Register("n", 100);
  EXPECT_TRUE(bench.effects<AssignEffect>().empty());
  EXPECT_EQ(Count(JobState::kAssigned), 0);
  bench.Submit("later");
  EXPECT_EQ(bench.effects<AssignEffect>().size(), 1u);
  int batches = Finish();
  EXPECT_GT(batches, 1);
  EXPECT_EQ(Count(JobState::kAssigned), 1);
}

TEST_F(Cancellations, OneThatWaitsSaysThatItIsBeingCancelled) {
  SubmitMany(35);
  bench.GoOn();
  CancelQueued();
  bench.Do(GetJob{.job = JobId{"j34"}});
  const JobView view = bench.reply<JobReply>().view;
  ASSERT_FALSE(view.reasons.empty());
  EXPECT_EQ(view.reasons[0].code, "CANCELLING");
  bench.Do(PauseJob{.job = JobId{"j34"}});
  EXPECT_EQ(bench.reply().status.code(), Code::kFailedPrecondition);
}

TEST_F(Cancellations, ARestartGoesOnWithTheRest) {
  SubmitMany(35);
  bench.Submit("before");
  bench.Do(CancelJob{.job = JobId{"before"}});
  bench.GoOn();
  CancelQueued();
  ASSERT_FALSE(bench.answered());
  const int done = Count(JobState::kCancelled);
  bench.Restart();
  bench.Register("n", 100);
  EXPECT_EQ(Count(JobState::kAssigned), 0);
  for (int i = 0; i < 10; ++i) bench.GoOn();
  EXPECT_GT(36, done);
  EXPECT_EQ(Count(JobState::kCancelled), 36);
  EXPECT_TRUE(bench.cancellations.empty());
  bench.Submit("after");
  EXPECT_EQ(bench.StateOf("after"), "Assigned");
}

Options Fewer() {
  Options options;
  options.cancelled_at_once = 3;
  return options;
}
class RunningOnes : public Cancellations {
 protected:
  RunningOnes() : Cancellations(Fewer()) {}
};

TEST_F(RunningOnes, OneIsCancelledThoughItsNodeIsLostBeforeItsTurn) {
  bench.Register("n", 8);
  SubmitMany(8);
  std::vector<AttemptId> others;
  for (int i = 0; i < 8; ++i) {
    const std::string id = "j" + std::to_string(i);
    bench.Progress(id, 1, "n");
    if (i < 7) others.push_back({JobId{id}, 1});
  }
  bench.GoOn();
  bench.Do(CancelJobs{.filter = {.states = {JobState::kRunning}}});
  ASSERT_FALSE(bench.answered());
  EXPECT_FALSE(bench.jobs["j7"].cancel_requested);
  // The node has come back without it: it is queued again, and must not be given away.
  bench.Register("n", 8, others);
  EXPECT_TRUE(bench.effects<AssignEffect>().empty());
  Finish();
  EXPECT_EQ(bench.reply<CancelJobsReply>().cancelled, 1);
  EXPECT_EQ(bench.reply<CancelJobsReply>().cancelling, 7);
  EXPECT_EQ(bench.StateOf("j7"), "Cancelled");
  EXPECT_EQ(bench.jobs["j7"].attempt, 1);
}

TEST_F(Cancellations, OneThatDidNotRunYetIsSparedThoughItWaitsLater) {
  bench.Register("n", 1);
  SubmitMany(35);  // j0 has the node
  bench.Accepted("j0", 1, "n");
  bench.Progress("j0", 1, "n");
  CancelQueued();
  bench.Register("n", 1);  // without j0
  Finish();
  for (int i = 0; i < 5; ++i) bench.GoOn();
  EXPECT_EQ(bench.Get("j0").attempt, 2) << "it ran when the others were cancelled";
}

TEST_F(Cancellations, ASecondOneIsAnsweredAfterTheFirst) {
  SubmitMany(35);
  bench.GoOn();
  CancelQueued(1);
  CancelQueued(2);
  EXPECT_FALSE(bench.answered());
  Finish();
  EXPECT_EQ(bench.reply().to, 1u);
  EXPECT_EQ(bench.effects<Reply>().size(), 2u);
  EXPECT_EQ(std::get<CancelJobsReply>(bench.effects<Reply>()[1].content).cancelled, 0)
      << "nothing was left";
}

TEST_F(Cancellations, SeveralAreBounded) {
  SubmitMany(12);
  bench.GoOn();
  CancelQueued();
  for (int i = 0; i < 15; ++i) {
    CancelQueued();
    ASSERT_FALSE(bench.answered()) << i << ": " << bench.reply().status;
  }
  CancelQueued();
  EXPECT_EQ(bench.reply().status.code(), Code::kResourceExhausted);
  bench.GoOn();
  CancelQueued();
  EXPECT_TRUE(bench.reply().status.ok());
}

TEST_F(Cancellations, OneThatIsCancelledByItselfMeanwhileEndsOnce) {
  SubmitMany(35);
  bench.GoOn();
  CancelQueued();
  bench.Do(CancelJob{.job = JobId{"j34"}, .reason = "that one first"});
  EXPECT_EQ(bench.StateOf("j34"), "Cancelled");
  bench.Do(RemoveJob{.job = JobId{"j33"}});
  EXPECT_EQ(bench.reply().status.code(), Code::kFailedPrecondition);
  bench.Do(RemoveJob{.job = JobId{"j34"}});
  Finish();
  EXPECT_EQ(bench.reply<CancelJobsReply>().cancelled, 34);
  EXPECT_EQ(Count(JobState::kCancelled), 34);
}

TEST_F(Cancellations, ArraysThatHaveNotBegunAreDoomedLikeJobs) {
  SubmitMany(20);
  SubmitJob array = Bench::SubmitCommand("array");
  Array many;
  many.size = 100;
  array.job.array = std::make_shared<const Array>(many);
  bench.Do(array);
  bench.GoOn();
  CancelQueued();
  bench.Register("n", 100);
  EXPECT_TRUE(bench.effects<AssignEffect>().empty());
  Finish();
  EXPECT_EQ(bench.StateOf("array"), "Cancelled");
  EXPECT_EQ(bench.Get("array").array->started, 0);
}

TEST_F(Cancellations, SavedAndRestoredInBetweenItGoesOnAlike) {
  SubmitMany(35);
  bench.GoOn();
  CancelQueued();
  std::string state, again;
  bench.control().Save(&state);
  auto restored = Control::Restore(state, &bench);
  ASSERT_TRUE(restored.ok()) << restored.status();
  (*restored)->Save(&again);
  EXPECT_EQ(state, again);
  bench.GoOn();
  Output output;
  std::vector<Command> none;
  (*restored)->Apply(none, bench.now(), &output);
  state.clear();
  again.clear();
  bench.control().Save(&state);
  (*restored)->Save(&again);
  EXPECT_EQ(state, again);
}

class Dependents : public Cancellations {
 protected:
  void SubmitAfter(const std::string& id, const std::string& after, bool any_end = false) {
    Terms terms;
    terms.after.push_back({JobId{after}, any_end});
    bench.SubmitWith(id, terms);
  }
};

TEST_F(Dependents, ManyAreCancelledSomeABatchAndNoneStarts) {
  bench.Submit("first");
  for (int i = 0; i < 35; ++i) SubmitAfter("j" + std::to_string(i), "first");
  bench.GoOn();
  bench.Do(CancelJob{.job = JobId{"first"}});
  EXPECT_EQ(Count(JobState::kCancelled), 1 + kAtOnce);
  EXPECT_EQ(bench.cancellations.size(), 1u);
  bench.Register("n", 100);
  EXPECT_TRUE(bench.effects<AssignEffect>().empty());
  bench.Restart();
  bench.Register("n", 100);
  EXPECT_TRUE(bench.effects<AssignEffect>().empty()) << "what they came after has failed";
  for (int i = 0; i < 5; ++i) bench.GoOn();
  EXPECT_EQ(Count(JobState::kCancelled), 36);
  EXPECT_EQ(bench.jobs["j34"].cause, Cause::kDependencyFailed);
  EXPECT_TRUE(bench.cancellations.empty());
  for (const auto& [number, event] : bench.events) {
    if (event.to == JobState::kCancelled && event.job.value != "first") {
      EXPECT_EQ(event.actor, "server:dependencies");
    }
  }
}

TEST_F(Dependents, AChainIsCancelledLinkByLink) {
  bench.Submit("j0");
  for (int i = 1; i < 35; ++i) SubmitAfter("j" + std::to_string(i), "j" + std::to_string(i - 1));
  bench.GoOn();
  bench.Do(CancelJob{.job = JobId{"j0"}});
  EXPECT_LE(bench.records(), 2 * kAtOnce + 3);
  bench.Restart();
  bench.Register("n", 100);
  EXPECT_EQ(Count(JobState::kAssigned), 0);
  for (int i = 0; i < 5; ++i) bench.GoOn();
  EXPECT_EQ(Count(JobState::kCancelled), 35);
}

TEST_F(Dependents, ManyThatMayStartLeaveTheirWaitSomeABatch) {
  bench.Submit("first");
  for (int i = 0; i < 35; ++i) SubmitAfter("j" + std::to_string(i), "first", true);
  bench.GoOn();
  bench.Do(CancelJob{.job = JobId{"first"}});
  EXPECT_EQ(bench.effects<UpdateEffect>().size(), 1 + kAtOnce);
  for (int i = 0; i < 5; ++i) bench.GoOn();
  bench.Register("n", 100);
  EXPECT_EQ(Count(JobState::kAssigned), 8) << "as many as it has memory for";
  bench.Do(GetJob{.job = JobId{"j34"}});
  EXPECT_NE(bench.reply<JobReply>().view.reasons.at(0).code, "DEPENDENCY");
}

TEST_F(Dependents, OneNamedTwiceNeedsSuccessWhenEitherDoes) {
  bench.Submit("first");
  Terms terms;
  terms.after = {{JobId{"first"}, true}, {JobId{"first"}, false}};
  bench.SubmitWith("second", terms);
  bench.GoOn();
  bench.Do(CancelJob{.job = JobId{"first"}});
  EXPECT_EQ(bench.StateOf("second"), "Cancelled");
}

}  // namespace
}  // namespace cyxwiz::control
