#include "central/event_hub.h"

#include <gtest/gtest.h>

#include <optional>

namespace cyxwiz::central {
namespace {

// Keeps what is read of it waiting until the test answers.
class FakeCore final : public Core {
 public:
  void SetSink(EffectSink*) override {}
  void Post(control::Command, OnReply) override {}
  void ReadEvents(control::EventQuery query, OnEvents on_page) override {
    asked.push_back(query);
    answer = std::move(on_page);
  }
  void BackUp(std::string, std::function<void(Status)>) override {}
  control::Counters counters() const override { return {}; }
  std::vector<std::string> loaded_checkpoint_files() const override { return {}; }
  Status Ready() const override { return OkStatus(); }
  void Stop() override {}

  void Answer(std::vector<int64_t> numbers) {
    std::vector<control::Event> page;
    for (int64_t number : numbers) page.push_back({.number = number, .sequence = 7});
    std::exchange(answer, nullptr)(std::move(page));
  }

  std::vector<control::EventQuery> asked;
  OnEvents answer;
};

struct Follower {
  FakeCore core;
  EventHub hub{2};
  size_t room = SIZE_MAX;
  std::vector<int64_t> taken;
  std::optional<Status> end;
  std::shared_ptr<EventStream> stream = std::make_shared<EventStream>(
      [this](const protocol::Event& event) {
        EXPECT_FALSE(end) << "an event after the end";
        if (room == 0) return false;
        --room;
        taken.push_back(event.number());
        return true;
      },
      [this](Status status) { end = std::move(status); });

  Follower() { EXPECT_TRUE(hub.Add(stream).ok()); }
  ~Follower() { stream->Close(); }
  void Happen(int64_t number, int64_t sequence = 7) {
    hub.Publish({.number = number, .sequence = sequence});
  }
};

using Numbers = std::vector<int64_t>;

TEST(EventStream, TellsWhatIsStoredAndThenWhatHappensWithoutAGap) {
  Follower f;
  f.Happen(5);  // before the reading begins
  f.stream->Start(&f.core, {.after = 1});
  f.Happen(6);  // while the page is read; 5 is in the page
  f.core.Answer({2, 3, 5});
  EXPECT_EQ(f.taken, (Numbers{2, 3, 5, 6}));
  f.Happen(7);
  EXPECT_EQ(f.taken, (Numbers{2, 3, 5, 6, 7}));
  EXPECT_EQ(f.core.asked.size(), 1u);
}

TEST(EventStream, ReadsPageAfterPageAsTheFollowerTakesThem) {
  Follower f;
  f.room = 100;
  f.stream->Start(&f.core, {});
  size_t limit = f.core.asked.at(0).limit;
  Numbers page;
  for (size_t i = 1; i <= limit; ++i) page.push_back(static_cast<int64_t>(i));
  f.core.Answer(page);
  EXPECT_EQ(f.core.asked.size(), 1u) << "the follower has not taken the first page yet";
  f.room = SIZE_MAX;
  f.stream->Resume();
  ASSERT_EQ(f.core.asked.size(), 2u);
  EXPECT_EQ(f.core.asked[1].after, static_cast<int64_t>(limit));
  f.core.Answer({});
  f.Happen(static_cast<int64_t>(limit) + 1);
  EXPECT_EQ(f.taken.size(), limit + 1);
}

TEST(EventStream, TellsOnlyOfTheJobAskedFor) {
  Follower f;
  f.stream->Start(&f.core, {.sequence = 7});
  f.core.Answer({});
  f.Happen(1, 8);
  f.Happen(2, 7);
  EXPECT_EQ(f.taken, (Numbers{2}));
}

TEST(EventStream, ASlowFollowerIsEndedAndToldWhatToDo) {
  Follower f;
  f.stream->Start(&f.core, {});
  f.core.Answer({});
  f.room = 0;
  for (size_t i = 1; i <= EventStream::kMostWaiting + 1; ++i) f.Happen(static_cast<int64_t>(i));
  EXPECT_FALSE(f.end) << "what waits is still told";
  f.room = SIZE_MAX;
  f.stream->Resume();
  ASSERT_TRUE(f.end);
  EXPECT_EQ(f.end->code(), Code::kResourceExhausted);
  EXPECT_EQ(f.taken.size(), EventStream::kMostWaiting);
}

TEST(EventStream, AFailedReadingEndsIt) {
  Follower f;
  f.stream->Start(&f.core, {});
  std::exchange(f.core.answer, nullptr)(Unavailable("the server is stopping"));
  ASSERT_TRUE(f.end);
  EXPECT_EQ(f.end->code(), Code::kUnavailable);
}

TEST(EventHub, HasALimitAndAnEnd) {
  Follower f;
  auto other = std::make_shared<EventStream>([](const auto&) { return true; }, [](Status) {});
  EXPECT_TRUE(f.hub.Add(other).ok());
  EXPECT_EQ(
      f.hub.Add(std::make_shared<EventStream>([](const auto&) { return true; }, [](Status) {}))
          .code(),
      Code::kResourceExhausted);
  f.hub.Remove(other);
  f.hub.CloseAll(Unavailable("the server is stopping"));
  ASSERT_TRUE(f.end);
  EXPECT_EQ(f.hub.Add(other).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace cyxwiz::central
