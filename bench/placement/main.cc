// Measures the control core alone: how long a decision takes as the fleet and the queue grow, how
// much memory a queued job takes, and how much more while all of them are cancelled at once, and
// how long a heartbeat waits meanwhile at most (but for commits). One line of JSON a case.
//
//   bench_placement [--quick]
//
// A decision: an attempt ends, its room is given to the next job that fits, and everything that
// must be stored and told is made; storing and telling are not part of it.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "control/control.h"

namespace {

using namespace cyxwiz;
using Clock = std::chrono::steady_clock;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kDistinctRequests = 200;
constexpr int64_t kSlotsPerNode = 4;

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * 4096;
}

// The most memory that Work takes beside what is there.
template <typename Work>
int64_t PeakBytes(Work work) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // forgets the peak so far
  const int64_t before = ResidentBytes();
  work();
  std::ifstream status("/proc/self/status");
  std::string word;
  int64_t peak_kib = 0;
  while (status >> word) {
    if (word == "VmHWM:") status >> peak_kib;
  }
  return peak_kib * 1024 - before;
}

class Case {
 public:
  Case(int64_t nodes, int64_t jobs) : nodes_(nodes), jobs_(jobs) {}

  void Run(int64_t decisions) {
    control_.Load({}, now());
    body_ = std::make_shared<control::JobBody>(
        control::JobBody{"0123456789abcdef0123456789abcdef", std::string(500, '.')});
    for (int64_t i = 0; i < nodes_; ++i) {
      control::RegisterNode command;
      command.node.id.value = "node-" + std::to_string(i);
      command.node.endpoint = "10.0.0.1:50052";
      command.node.capacity = {4000 * kSlotsPerNode, 4 * kGiB * kSlotsPerNode, 0};
      command.node.devices = {1};
      command.session = "session";
      Add(std::move(command));
    }
    Flush();
    malloc_trim(0);
    int64_t before = ResidentBytes();
    auto begin = Clock::now();
    // Enough to fill the fleet, and the queue beside.
    for (int64_t i = 0; i < nodes_ * kSlotsPerNode + jobs_; ++i) {
      control::SubmitJob command;
      command.job.id.value = "job-" + std::to_string(i);
      command.job.priority = static_cast<int32_t>(i % 4);
      command.job.resources = {2500 + 5 * (i % kDistinctRequests),
                               2 * kGiB + (i % kDistinctRequests) * (4 << 20), 0};
      command.body = body_;
      Add(std::move(command));
    }
    Flush();
    double submit_us = std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
                       static_cast<double>(nodes_ * kSlotsPerNode + jobs_);
    malloc_trim(0);
    int64_t bytes = ResidentBytes() - before;

    std::vector<double> took;
    for (int64_t i = 0; i < decisions && !running_.empty(); ++i) {
      size_t which = static_cast<size_t>(i * 7919) % running_.size();
      std::swap(running_[which], running_.back());
      auto [attempt, node] = running_.back();
      running_.pop_back();
      std::vector<control::Command> batch;
      batch.push_back(control::ReportCompletion{.node = node, .attempt = attempt});
      elapsed_ += std::chrono::microseconds(100);
      control::Output output;
      auto start = Clock::now();
      control_.Apply(batch, now(), &output);
      took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
      Take(output);
    }
    const int64_t waiting = control_.counters().jobs_by_state[1];
    double beat_us = 0;
    const int64_t cancel_bytes = PeakBytes([this, &beat_us] { beat_us = CancelAll(); });
    std::sort(took.begin(), took.end());
    auto at = [&took](double part) {
      return took[std::min(took.size() - 1,
                           static_cast<size_t>(part * static_cast<double>(took.size())))];
    };
    int64_t held = nodes_ * kSlotsPerNode + jobs_;
    std::printf(
        "{\"nodes\": %lld, \"queued\": %lld, \"decisions\": %zu, \"p50_us\": %.2f, \"p99_us\": "
        "%.2f, "
        "\"most_us\": %.2f, \"submit_us\": %.2f, \"bytes_per_job\": %lld, "
        "\"bytes_per_job_cancelled\": %lld, \"beat_waits_us\": %.0f}\n",
        static_cast<long long>(nodes_), static_cast<long long>(jobs_), took.size(), at(0.5),
        at(0.99), took.back(), submit_us, static_cast<long long>(bytes / held),
        static_cast<long long>(cancel_bytes / std::max<int64_t>(1, waiting)), beat_us);
    std::fflush(stdout);
  }

 private:
  Now now() const {
    return {{elapsed_.count()}, {1'700'000'000'000 + elapsed_.count() / 1'000'000}};
  }

  // All that wait, in one request, with a heartbeat in each batch until it is answered. The longest
  // batch, in microseconds.
  double CancelAll() {
    control::CancelJobs cancel{.filter = {.states = {control::JobState::kQueued}}};
    cancel.reply_to = 1;
    std::vector<control::Command> batch = {std::move(cancel)};
    double longest = 0;
    for (bool answered = false; !answered;) {
      batch.push_back(control::Heartbeat{.node = {"node-0"}, .session = "session"});
      elapsed_ += std::chrono::microseconds(100);
      control::Output output;
      const auto start = Clock::now();
      control_.Apply(batch, now(), &output);
      longest = std::max(longest,
                         std::chrono::duration<double, std::micro>(Clock::now() - start).count());
      batch.clear();
      Take(output);
      for (const control::Effect& effect : output.effects) {
        auto* reply = std::get_if<control::Reply>(&effect);
        answered |= reply != nullptr && reply->to == 1;
      }
    }
    return longest;
  }

  template <typename Command>
  void Add(Command command) {
    batch_.push_back(std::move(command));
    if (batch_.size() == 1000) Flush();
  }
  void Flush() {
    control::Output output;
    // Nobody's lease ends here.
    control_.Apply(batch_, now(), &output);
    batch_.clear();
    Take(output);
  }
  void Take(const control::Output& output) {
    for (const control::Effect& effect : output.effects) {
      if (auto* assign = std::get_if<control::AssignEffect>(&effect))
        running_.emplace_back(assign->attempt, assign->node);
    }
  }

  static control::Options MakeOptions() {
    control::Options options;
    options.lease = std::chrono::hours(1);
    options.assign_timeout = std::chrono::hours(1);
    options.max_queued = 10'000'000;
    return options;
  }

  int64_t nodes_, jobs_;
  control::Control control_{MakeOptions()};
  std::shared_ptr<const control::JobBody> body_;
  std::vector<control::Command> batch_;
  std::vector<std::pair<AttemptId, NodeId>> running_;
  Duration elapsed_ = std::chrono::seconds(100);
};

}  // namespace

int main(int argc, char** argv) {
  bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  auto run = [quick](int64_t nodes, int64_t jobs) { Case(nodes, jobs).Run(quick ? 2000 : 20000); };
  for (int64_t nodes : {10, 100, 1000}) run(nodes, 100'000);
  run(10'000, 100'000);
  for (int64_t jobs : {1000, 10'000}) run(1000, jobs);
  run(1000, 1'000'000);
  return 0;
}
