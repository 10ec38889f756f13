// Measures how fairly the control core shares a fleet over a week of simulated time. One line of
// JSON a user and day.
//
//   bench_fairness
//
// 20 nodes of 16 cores. Three users always have jobs waiting: ann and bob with weight 1, eve with
// weight 2. Their jobs differ: ann's take 1 core and half an hour on average, bob's 4 cores and two
// hours, eve's 8 cores and four hours. dan, with weight 1, comes for the fourth and the fifth day.
// "share": the part of the cores' time given out that day which the user had; "fair": the user's
// weight as part of the weights of those who were there.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "control/control.h"

namespace {

using namespace cyxwiz;
using std::chrono::hours;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int kNodes = 20;
constexpr int64_t kCoresPerNode = 16;
constexpr int kDays = 7;
constexpr int kWaiting = 100;  // jobs that each user keeps in the queue

struct User {
  std::string name;
  double weight = 1;
  int64_t cores = 1;
  Duration mean{};
  int first_day = 0, last_day = kDays - 1;

  bool IsThere(Duration at) const {
    return at >= hours(24 * first_day) && at < hours(24 * (last_day + 1));
  }
};

class Week {
 public:
  explicit Week(std::vector<User> users)
      : users_(std::move(users)), bodies_(MakeBodies()), control_(MakeOptions()) {}

  void Run() {
    control_.Load({}, now());
    std::vector<control::Command> nodes;
    for (int i = 0; i < kNodes; ++i) {
      control::RegisterNode command;
      command.node.id.value = "node-" + std::to_string(i);
      command.node.endpoint = "10.0.0.1:50052";
      command.node.capacity = {1000 * kCoresPerNode, 64 * kGiB, 0};
      command.node.devices = {1};
      command.session = "session";
      nodes.push_back(std::move(command));
    }
    Apply(std::move(nodes));
    for (Duration end = hours(24 * kDays); elapsed_ < end;) {
      std::vector<control::Command> batch;
      while (!running_.empty() && running_.top().ends <= elapsed_) {
        const Running& run = running_.top();
        batch.push_back(control::ReportCompletion{.node = run.node, .attempt = run.attempt});
        running_.pop();
      }
      for (size_t i = 0; i < users_.size(); ++i) Refill(i, &batch);
      Apply(std::move(batch));
      // Users come and go at midnight.
      Duration midnight = (std::chrono::floor<std::chrono::days>(elapsed_) + std::chrono::days(1));
      elapsed_ = running_.empty() ? midnight : std::min(midnight, running_.top().ends);
    }
    Print();
  }

 private:
  struct Running {
    Duration ends{};
    AttemptId attempt;
    NodeId node;
    bool operator<(const Running& other) const { return ends > other.ends; }  // the first on top
  };

  std::vector<std::shared_ptr<const control::JobBody>> MakeBodies() const {
    std::vector<std::shared_ptr<const control::JobBody>> bodies;
    for (const User& user : users_)
      bodies.push_back(std::make_shared<control::JobBody>(control::JobBody{user.name, "{}"}));
    return bodies;
  }

  control::Options MakeOptions() const {
    control::Options options;
    options.lease = options.assign_timeout = hours(24 * 365);
    for (const User& user : users_) options.share_weights[user.name] = user.weight;
    return options;
  }

  Now now() const {
    return {{(elapsed_ + hours(1)).count()}, {1'700'000'000'000 + elapsed_.count() / 1'000'000}};
  }

  void Refill(size_t which, std::vector<control::Command>* batch) {
    const User& user = users_[which];
    if (!user.IsThere(elapsed_)) {
      // What still waits when a user goes is withdrawn.
      if (waiting_[which] > 0) {
        control::CancelJobs cancel;
        cancel.filter.user = user.name;
        cancel.filter.states = {control::JobState::kQueued};
        batch->push_back(std::move(cancel));
        waiting_[which] = 0;
      }
      return;
    }
    for (; waiting_[which] < kWaiting; ++waiting_[which]) {
      control::SubmitJob command;
      command.job.id.value = user.name + "-" + std::to_string(++submitted_);
      command.job.user = user.name;
      command.job.resources = {1000 * user.cores, user.cores * kGiB, 0};
      command.body = bodies_[which];
      batch->push_back(std::move(command));
    }
  }

  void Apply(std::vector<control::Command> batch) {
    control::Output output;
    control_.Apply(batch, now(), &output);
    std::vector<control::Command> started;
    for (const control::Effect& effect : output.effects) {
      auto* assign = std::get_if<control::AssignEffect>(&effect);
      if (assign == nullptr) continue;
      size_t which = 0;
      while (users_[which].name != assign->job.user) ++which;
      waiting_[which]--;
      // Exponential, the same on every machine.
      double part = (static_cast<double>(random_()) + 0.5) / 4294967296.0;
      auto took = std::chrono::duration_cast<Duration>(users_[which].mean * -std::log(part));
      Count(which, elapsed_, elapsed_ + took);
      running_.push({elapsed_ + took, assign->attempt, assign->node});
      started.push_back(control::ReportProgress{.node = assign->node, .attempt = assign->attempt});
    }
    if (!started.empty()) Apply(std::move(started));
  }

  // Adds an attempt's cores to the days on which it runs.
  void Count(size_t which, Duration from, Duration to) {
    for (int day = 0; day < kDays; ++day) {
      Duration begin = std::max<Duration>(from, hours(24 * day));
      Duration end = std::min<Duration>(to, hours(24 * (day + 1)));
      if (end <= begin) continue;
      used_[{day, which}] += std::chrono::duration<double, std::ratio<3600>>(end - begin).count() *
                             static_cast<double>(users_[which].cores);
    }
  }

  void Print() {
    for (int day = 0; day < kDays; ++day) {
      double all = 0, weights = 0;
      for (size_t i = 0; i < users_.size(); ++i) {
        all += used_[{day, i}];
        if (users_[i].IsThere(hours(24 * day))) weights += users_[i].weight;
      }
      for (size_t i = 0; i < users_.size(); ++i) {
        const User& user = users_[i];
        double fair = user.IsThere(hours(24 * day)) ? user.weight / weights : 0;
        std::printf(
            "{\"day\": %d, \"user\": \"%s\", \"share\": %.4f, \"fair\": %.4f, \"busy\": %.4f}\n",
            day + 1, user.name.c_str(), used_[{day, i}] / all, fair,
            all / (24.0 * kNodes * kCoresPerNode));
      }
    }
  }

  const std::vector<User> users_;
  const std::vector<std::shared_ptr<const control::JobBody>> bodies_;  // by user
  control::Control control_;
  std::mt19937 random_{1};
  Duration elapsed_{};
  int64_t submitted_ = 0;
  std::map<size_t, int> waiting_;
  std::priority_queue<Running> running_;
  std::map<std::pair<int, size_t>, double> used_;  // core hours by day and user
};

}  // namespace

int main() {
  Week({{.name = "ann", .weight = 1, .cores = 1, .mean = std::chrono::minutes(30)},
        {.name = "bob", .weight = 1, .cores = 4, .mean = hours(2)},
        {.name = "eve", .weight = 2, .cores = 8, .mean = hours(4)},
        {.name = "dan", .weight = 1, .cores = 2, .mean = hours(1), .first_day = 3, .last_day = 4}})
      .Run();
  return 0;
}
