#include "central/hub.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace cyxwiz::central {
namespace {

using control::JobState;
using control::JobView;

JobView View(JobState state, int attempt = 1, double progress = 0, const std::string& id = "j") {
  JobView view;
  view.job.id = {id};
  view.job.state = state;
  view.job.attempt = attempt;
  view.job.progress = progress;
  return view;
}
JobView Running(double progress, int attempt = 1) {
  return View(JobState::kRunning, attempt, progress);
}

// Takes updates while it has room.
struct Follower {
  explicit Follower(size_t room = SIZE_MAX) : room(room) {}

  std::shared_ptr<UpdateStream> stream = std::make_shared<UpdateStream>(
      [this](const protocol::JobUpdateStream& update) {
        EXPECT_FALSE(end) << "an update after the end";
        if (room == 0) return false;
        --room;
        taken.push_back(update);
        return true;
      },
      [this](Status status) {
        EXPECT_FALSE(end) << "ended twice";
        end = std::move(status);
      });

  void Start(const JobView& view) {
    stream->Start(StreamHub::ToUpdate(view), control::IsFinal(view.job.state));
  }
  void Offer(const JobView& view) {
    stream->Offer(StreamHub::ToUpdate(view), control::IsFinal(view.job.state));
  }
  void Read(size_t count) {
    room += count;
    stream->Resume();
  }
  std::vector<double> Progress() const {
    std::vector<double> progress;
    for (const auto& update : taken) progress.push_back(update.status().progress());
    return progress;
  }

  size_t room;
  std::vector<protocol::JobUpdateStream> taken;
  std::optional<Status> end;
};

// ---- One stream ----

TEST(UpdateStream, BeginsWithThePresentState) {
  Follower f;
  f.Offer(Running(0.1));
  EXPECT_TRUE(f.taken.empty()) << "older than the present state, which is on its way";
  f.Start(Running(0.2));
  f.Offer(Running(0.3));
  EXPECT_EQ(f.Progress(), (std::vector<double>{0.2, 0.3}));
  EXPECT_EQ(f.taken[0].job_id(), "j");
  EXPECT_EQ(f.taken[0].status().state(), protocol::JOB_STATE_RUNNING);
  EXPECT_FALSE(f.end);
}

TEST(UpdateStream, AFinalStateEndsIt) {
  Follower f;
  f.Start(Running(0.5));
  f.Offer(View(JobState::kSucceeded, 1, 1));
  ASSERT_TRUE(f.end);
  EXPECT_TRUE(f.end->ok());
  EXPECT_EQ(f.taken.back().status().state(), protocol::JOB_STATE_SUCCEEDED);
  f.Offer(Running(0.9));
  EXPECT_EQ(f.taken.size(), 2u);
}

TEST(UpdateStream, OfAnEndedJobIsOneUpdateAndTheEnd) {
  Follower f;
  f.Start(View(JobState::kFailed));
  EXPECT_EQ(f.taken.size(), 1u);
  ASSERT_TRUE(f.end);
  EXPECT_TRUE(f.end->ok());
}

TEST(UpdateStream, ASlowFollowerSkipsProgressAndNoChangeOfState) {
  Follower f(0);
  f.Start(View(JobState::kQueued, 0));
  f.Offer(View(JobState::kAssigned));
  for (double progress : {0.1, 0.2, 0.3}) f.Offer(Running(progress));
  f.Offer(View(JobState::kQueued));
  f.Offer(View(JobState::kAssigned, 2));
  for (double progress : {0.4, 0.5}) f.Offer(Running(progress, 2));
  f.Offer(View(JobState::kCancelled, 2, 0.5));
  EXPECT_TRUE(f.taken.empty());
  EXPECT_FALSE(f.end) << "the end comes after what waits";
  f.Read(3);
  EXPECT_EQ(f.Progress(), (std::vector<double>{0, 0, 0.3})) << "the newest progress of its attempt";
  EXPECT_FALSE(f.end);
  f.Read(10);
  ASSERT_EQ(f.taken.size(), 7u);
  EXPECT_EQ(f.taken[5].status().progress(), 0.5);
  EXPECT_EQ(f.taken[5].status().attempt(), 2);
  EXPECT_EQ(f.taken[6].status().state(), protocol::JOB_STATE_CANCELLED);
  ASSERT_TRUE(f.end);
  EXPECT_TRUE(f.end->ok());
}

TEST(UpdateStream, OneThatNeverReadsIsBounded) {
  Follower f(0);
  f.Start(Running(0, 0));
  for (int attempt = 1; attempt < 3000; ++attempt) f.Offer(Running(0, attempt));
  f.Read(SIZE_MAX / 2);
  EXPECT_EQ(f.taken.size(), UpdateStream::kMostWaiting);
  ASSERT_TRUE(f.end);
  EXPECT_EQ(f.end->code(), Code::kResourceExhausted);
  EXPECT_NE(f.end->message().find("too slow"), std::string::npos) << *f.end;
}

TEST(UpdateStream, ProgressAloneNeverEndsASlowOne) {
  Follower f(0);
  f.Start(Running(0));
  for (int i = 1; i <= 3000; ++i) f.Offer(Running(i / 3000.0));
  f.Read(1);
  EXPECT_EQ(f.Progress(), std::vector<double>{1});
  EXPECT_FALSE(f.end);
}

TEST(UpdateStream, EndLetsWhatWaitsGoFirst) {
  Follower f(0);
  f.Start(Running(0.1));
  f.stream->End(Unavailable("the server is stopping"));
  f.stream->End(NotFound("later"));
  EXPECT_FALSE(f.end);
  f.Offer(Running(0.2));
  f.Read(5);
  EXPECT_EQ(f.Progress(), std::vector<double>{0.1});
  ASSERT_TRUE(f.end);
  EXPECT_EQ(f.end->code(), Code::kUnavailable);
}

TEST(UpdateStream, EndsBeforeItBegan) {
  Follower f;
  f.stream->End(NotFound("there is no job 'j'"));
  ASSERT_TRUE(f.end);
  f.Start(Running(0.1));
  EXPECT_TRUE(f.taken.empty());
}

TEST(UpdateStream, AfterCloseNothingIsCalled) {
  Follower f(0);
  f.Start(Running(0.1));
  f.stream->Close();
  f.Offer(Running(0.2, 2));
  f.Read(5);
  f.stream->End(OkStatus());
  EXPECT_TRUE(f.taken.empty());
  EXPECT_FALSE(f.end);
}

TEST(UpdateStream, MayBeClosedAndResumedFromWithinItsCallback) {
  std::shared_ptr<UpdateStream> stream;
  int updates = 0;
  stream = std::make_shared<UpdateStream>(
      [&](const protocol::JobUpdateStream&) {
        if (++updates == 1) stream->Resume();
        if (updates == 2) stream->Close();
        return true;
      },
      [](Status) { FAIL() << "closed before the end"; });
  stream->Start(StreamHub::ToUpdate(Running(0.1)), false);
  EXPECT_EQ(updates, 1);
  stream->Offer(StreamHub::ToUpdate(Running(0.2)), false);
  stream->Offer(StreamHub::ToUpdate(View(JobState::kSucceeded)), true);
  EXPECT_EQ(updates, 2);
}

TEST(UpdateStream, WhatIsOfferedFromWithinItsCallbackIsNotLost) {
  std::shared_ptr<UpdateStream> stream;
  std::vector<double> progress;
  stream = std::make_shared<UpdateStream>(
      [&](const protocol::JobUpdateStream& update) {
        progress.push_back(update.status().progress());
        if (progress.size() == 1) stream->Offer(StreamHub::ToUpdate(Running(0.2)), false);
        return true;
      },
      [](Status) {});
  stream->Start(StreamHub::ToUpdate(Running(0.1)), false);
  EXPECT_EQ(progress, (std::vector<double>{0.1, 0.2}));
}

// ---- The hub ----

void Publish(StreamHub& hub, JobView view, bool removed = false) {
  hub.Publish({.view = std::make_shared<const JobView>(std::move(view)), .removed = removed});
}

TEST(StreamHub, EachFollowerGetsItsJobsUpdates) {
  StreamHub hub(10);
  Follower a, b, other;
  ASSERT_TRUE(hub.Add("j", a.stream).ok());
  ASSERT_TRUE(hub.Add("j", b.stream).ok());
  ASSERT_TRUE(hub.Add("other", other.stream).ok());
  a.Start(Running(0));
  b.Start(Running(0));
  other.Start(View(JobState::kQueued, 0, 0, "other"));
  Publish(hub, Running(0.5));
  EXPECT_EQ(a.Progress(), (std::vector<double>{0, 0.5}));
  EXPECT_EQ(b.Progress(), (std::vector<double>{0, 0.5}));
  EXPECT_EQ(other.taken.size(), 1u);
  hub.Remove("j", a.stream);
  Publish(hub, Running(0.7));
  EXPECT_EQ(a.taken.size(), 2u);
  EXPECT_EQ(b.taken.size(), 3u);
}

TEST(StreamHub, ASlowFollowerHoldsNobodyUp) {
  StreamHub hub(10);
  Follower slow(0), fast;
  ASSERT_TRUE(hub.Add("j", slow.stream).ok());
  ASSERT_TRUE(hub.Add("j", fast.stream).ok());
  slow.Start(Running(0));
  fast.Start(Running(0));
  for (int i = 1; i <= 10; ++i) Publish(hub, Running(i / 10.0));
  EXPECT_EQ(fast.taken.size(), 11u);
  slow.Read(5);
  EXPECT_EQ(slow.Progress(), std::vector<double>{1});
}

TEST(StreamHub, HasALimitAndForgetsWhoLeft) {
  StreamHub hub(2);
  Follower a, b, c;
  ASSERT_TRUE(hub.Add("j", a.stream).ok());
  ASSERT_TRUE(hub.Add("k", b.stream).ok());
  Status refused = hub.Add("j", c.stream);
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  EXPECT_NE(refused.message().find("at most 2"), std::string::npos) << refused;
  hub.Remove("j", c.stream);
  hub.Remove("nobody's", c.stream);
  EXPECT_EQ(hub.size(), 2u) << "one that was refused takes no place away";
  hub.Remove("j", a.stream);
  hub.Remove("j", a.stream);
  EXPECT_EQ(hub.size(), 1u);
  EXPECT_TRUE(hub.Add("j", c.stream).ok());
}

TEST(StreamHub, ADeletedJobEndsItsStreams) {
  StreamHub hub(10);
  Follower f;
  ASSERT_TRUE(hub.Add("j", f.stream).ok());
  f.Start(Running(0));
  Publish(hub, Running(0), /*removed=*/true);
  ASSERT_TRUE(f.end);
  EXPECT_EQ(f.end->code(), Code::kNotFound);
}

TEST(StreamHub, CloseAllEndsEveryStreamAndThoseThatComeLater) {
  StreamHub hub(10);
  Follower a, b, late;
  ASSERT_TRUE(hub.Add("j", a.stream).ok());
  ASSERT_TRUE(hub.Add("k", b.stream).ok());
  a.Start(Running(0));
  hub.CloseAll(Unavailable("the server is stopping"));
  ASSERT_TRUE(a.end && b.end);
  EXPECT_EQ(a.end->code(), Code::kUnavailable);
  EXPECT_EQ(hub.Add("j", late.stream).code(), Code::kUnavailable);
}

// The core publishes while followers come, read at their own pace and leave.
TEST(StreamHub, FollowersComeAndGoWhileTheCorePublishes) {
  constexpr int kFollowers = 3, kRounds = 50, kUpdates = 2000;
  StreamHub hub(kFollowers);
  std::atomic<int> version = 0;
  std::vector<std::thread> followers;
  for (int i = 0; i < kFollowers; ++i) {
    followers.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        std::atomic<int> last = -1;
        std::atomic<bool> busy = false;
        auto stream = std::make_shared<UpdateStream>(
            [&](const protocol::JobUpdateStream& update) {
              if (busy.exchange(true)) return false;
              EXPECT_GT(update.status().attempt(), last);
              last = update.status().attempt();
              return true;
            },
            [](Status) {});
        ASSERT_TRUE(hub.Add("j", stream).ok());
        stream->Start(StreamHub::ToUpdate(Running(0, version)), false);
        for (int read = 0; read < 20; ++read) {
          busy = false;
          stream->Resume();
          std::this_thread::yield();
        }
        stream->Close();
        hub.Remove("j", stream);
      }
    });
  }
  for (int i = 1; i <= kUpdates; ++i) {
    Publish(hub, Running(0, i));
    version = i;
  }
  for (std::thread& follower : followers) follower.join();
  EXPECT_EQ(hub.size(), 0u);
}

}  // namespace
}  // namespace cyxwiz::central
