// Jobs that have ended leave memory and are read from where they are stored.
#include "control/archive.h"

#include <gtest/gtest.h>

#include "control/testing.h"

namespace cyxwiz::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// A bench on which `ids` have succeeded, and left memory.
void EndAndForget(Bench& b, const std::vector<std::string>& ids) {
  b.Register("n", 64);
  for (const std::string& id : ids) {
    b.Submit(id, 1, 1, "config-" + id);
    b.Complete(id, 1, "n");
  }
  for (int i = 0; i < 8; ++i) {
    b.Pass(seconds(9));
    b.Beat("n");
  }
  b.lookups = 0;
}

std::vector<std::string> Listed(Bench& b, ListJobs list = {}) {
  b.Do(list);
  std::vector<std::string> ids;
  for (const JobView& view : b.reply<ListReply>().jobs) ids.push_back(view.job.id.value);
  return ids;
}

using Ids = std::vector<std::string>;

TEST(Archive, AJobStaysForAMomentThenIsReadFromTheStore) {
  Bench b;
  b.Register("n", 4);
  b.Submit("j");
  b.Complete("j", 1, "n");
  b.lookups = 0;
  EXPECT_EQ(b.StateOf("j"), "Succeeded");
  EXPECT_EQ(b.lookups, 0);
  for (int i = 0; i < 8; ++i) {
    b.Pass(seconds(9));
    b.Beat("n");
  }
  EXPECT_EQ(b.StateOf("j"), "Succeeded");
  EXPECT_EQ(b.lookups, 1);
  EXPECT_EQ(b.StateOf("j"), "Succeeded");
  EXPECT_EQ(b.lookups, 1) << "it stays for a second";
  EXPECT_EQ(b.control().counters().jobs_by_state[static_cast<int>(JobState::kSucceeded)], 1);
}

TEST(Archive, AListGoesOverBoth) {
  Bench b;
  EndAndForget(b, {"a", "b", "c"});
  b.Submit("d");
  b.Submit("e");
  b.Complete("e", 1, "n");
  EXPECT_EQ(Listed(b), (Ids{"e", "d", "c", "b", "a"}));
  EXPECT_EQ(b.reply<ListReply>().total, 5);
  EXPECT_EQ(Listed(b, {.page_size = 3}), (Ids{"e", "d", "c"}));
  int64_t next = b.reply<ListReply>().next_after_sequence;
  ASSERT_NE(next, 0);
  EXPECT_EQ(Listed(b, {.page_size = 2, .after_sequence = next}), (Ids{"b", "a"}));
  EXPECT_EQ(b.reply<ListReply>().next_after_sequence, 0);
  b.Get("b");  // in memory and stored
  EXPECT_EQ(Listed(b), (Ids{"e", "d", "c", "b", "a"}));
  EXPECT_EQ(Listed(b, {.filter = {.states = {JobState::kSucceeded}}}), (Ids{"e", "c", "b", "a"}));
}

TEST(Archive, ItCanBeRemovedRetriedAndAskedForAgain) {
  Bench b;
  EndAndForget(b, {"a", "b"});
  b.Submit("a", 1, 1, "config-a");
  EXPECT_TRUE(b.reply<SubmitReply>().existed) << "the same job under the same id";
  b.Submit("b", 1, 1, "another");
  EXPECT_EQ(b.reply().status.code(), Code::kAlreadyExists);
  b.Do(RetryJob{.job = {"a"}, .new_job = {"again"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition) << "it has succeeded";
  b.Do(CancelJob{.job = {"a"}});
  EXPECT_EQ(b.reply().status.code(), Code::kFailedPrecondition);

  b.DoBatch({RemoveJob{.reply_to = 1, .job = {"a"}}, GetJob{.reply_to = 2, .job = {"a"}},
             ListJobs{.reply_to = 3}});
  EXPECT_EQ(b.jobs.count("a"), 0u);
  EXPECT_EQ(b.bodies.size(), 1u);
  Ids listed;
  for (const Reply& reply : b.effects<Reply>()) {
    if (reply.to == 2) {
      EXPECT_EQ(reply.status.code(), Code::kNotFound);
    }
    if (reply.to != 3) continue;
    for (const JobView& view : std::get<ListReply>(reply.content).jobs)
      listed.push_back(view.job.id.value);
  }
  EXPECT_EQ(listed, Ids{"b"}) << "though it is still stored while the batch is in work";
}

TEST(Archive, ABodyGoesWithTheLastJobThatIsStored) {
  Bench b;
  b.Register("n", 64);
  for (const char* id : {"a", "b"}) {
    b.Submit(id);
    b.Complete(id, 1, "n");
  }
  for (int i = 0; i < 8; ++i) {
    b.Pass(seconds(9));
    b.Beat("n");
  }
  ASSERT_EQ(b.bodies.size(), 1u);
  b.Do(RemoveJob{.job = {"a"}});
  EXPECT_EQ(b.bodies.size(), 1u);
  EXPECT_EQ(b.StateOf("b"), "Succeeded");
  b.Do(RemoveJob{.job = {"b"}});
  EXPECT_EQ(b.bodies.size(), 0u);
}

TEST(Archive, AJobMayComeAfterOneThatHasLeft) {
  Bench b;
  EndAndForget(b, {"first"});
  b.SubmitWith("second", {.after = {{{"first"}}}});
  EXPECT_EQ(b.StateOf("second"), "Assigned");
  b.SubmitWith("third", {.after = {{{"never"}}}});
  EXPECT_EQ(b.reply().status.code(), Code::kNotFound);
}

TEST(Archive, AnErrorOfTheStoreIsToldAndChangesNothing) {
  Bench b;
  EndAndForget(b, {"a"});
  b.archive_error = Internal("disk");
  b.Do(GetJob{.job = {"a"}});
  EXPECT_EQ(b.reply().status.code(), Code::kInternal);
  b.Do(ListJobs{});
  EXPECT_EQ(b.reply().status.code(), Code::kInternal);
  b.Submit("new");
  EXPECT_EQ(b.reply().status.code(), Code::kInternal) << "who knows whether it is new";
  EXPECT_EQ(b.jobs.count("new"), 0u);
  SubmitJob fresh = Bench::SubmitCommand("fresh");
  fresh.fresh_id = true;
  b.Do(std::move(fresh));
  EXPECT_TRUE(b.reply().status.ok());
  b.archive_error = {};
  EXPECT_EQ(b.StateOf("a"), "Succeeded");
}

TEST(Archive, CountsSurviveARestart) {
  Bench b;
  EndAndForget(b, {"a", "b"});
  b.Submit("c");
  b.Restart();
  EXPECT_EQ(b.control().counters().jobs_by_state[static_cast<int>(JobState::kSucceeded)], 2);
  EXPECT_EQ(Listed(b), (Ids{"c", "b", "a"}));
  b.Submit("d");
  EXPECT_GT(b.jobs.at("d").sequence, b.jobs.at("c").sequence);
  EXPECT_NE(b.jobs.at("d").body, b.jobs.at("a").body);
}

TEST(Archive, ALateReportOfAJobThatHasLeftChangesNothing) {
  Bench b;
  EndAndForget(b, {"a"});
  b.Complete("a", 1, "n", ReportCompletion::Outcome::kFailed, Cause::kInternal);
  EXPECT_FALSE(b.reply<ReportReply>().continue_job);
  EXPECT_EQ(b.StateOf("a"), "Succeeded");
}

}  // namespace
}  // namespace cyxwiz::control
