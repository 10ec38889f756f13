// sim: runs the simulator over seeds.
//
//   sim --seeds N [--first-seed S] [--jobs J]    N seeds from S on, each executed twice
//   sim --seed S [--verbose]                     one seed; a failure is made small and shown
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/logging.h"
#include "sim/plan.h"
#include "sim/reach.h"
#include "sim/world.h"

namespace cyxwiz::sim {
namespace {

struct Failure {
  std::string invariant, message;
};

// Executes the plan here and now. An abort of the code under test ends the process.
std::optional<Failure> Execute(const Plan& plan, std::FILE* trace, uint64_t* hash) {
  World world(plan, trace);
  try {
    world.Run();
    *hash = world.hash();
    return std::nullopt;
  } catch (const Broken& broken) {
    return Failure{broken.invariant, broken.message};
  }
}

std::optional<Failure> ExecuteTwice(const Plan& plan) {
  uint64_t first = 0, second = 0;
  if (auto failure = Execute(plan, nullptr, &first)) return failure;
  if (auto failure = Execute(plan, nullptr, &second)) {
    return Failure{"same seed, same run", "only the second execution failed: " + failure->message};
  }
  if (first != second) return Failure{"same seed, same run", "two executions differ"};
  return std::nullopt;
}

// In a child process, so that an abort is a failure like others.
std::optional<Failure> ExecuteApart(const Plan& plan, std::FILE* trace = nullptr) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  std::fflush(nullptr);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    alarm(60);
    if (trace == nullptr) std::freopen("/dev/null", "w", stderr);
    uint64_t hash = 0;
    auto failure = trace != nullptr ? Execute(plan, trace, &hash) : ExecuteTwice(plan);
    if (trace != nullptr) std::fflush(trace);
    std::string text = failure ? failure->invariant + "\n" + failure->message : "";
    if (write(ends[1], text.data(), text.size()) < 0) _exit(2);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char chunk[4096];
  for (ssize_t n; (n = read(ends[0], chunk, sizeof chunk)) > 0;)
    text.append(chunk, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGALRM) return Failure{"ends", "it did not end within a minute"};
    return Failure{"no abort", "the code under test ended itself by signal " +
                                   std::to_string(WTERMSIG(status))};
  }
  if (text.empty()) return std::nullopt;
  size_t line = text.find('\n');
  return Failure{text.substr(0, line), text.substr(line + 1)};
}

// Leaves out whatever the failure does not need: first whole halves of the list, then less.
Plan Shrink(Plan plan, const std::string& invariant) {
  auto fails = [&invariant](const Plan& smaller) {
    auto failure = ExecuteApart(smaller);
    return failure && failure->invariant == invariant;
  };
  for (double NetworkOptions::*chance :
       {&NetworkOptions::loss, &NetworkOptions::twice, &NetworkOptions::slow}) {
    Plan smaller = plan;
    smaller.network.*chance = 0;
    if (fails(smaller)) plan = smaller;
  }
  for (size_t size = std::max<size_t>(1, plan.actions.size() / 2); size > 0; size /= 2) {
    for (bool smaller_found = true; smaller_found;) {
      smaller_found = false;
      for (size_t at = 0; at < plan.actions.size();) {
        Plan smaller = plan;
        auto first = smaller.actions.begin() + static_cast<long>(at);
        size_t count = std::min(size, plan.actions.size() - at);
        smaller.actions.erase(first, first + static_cast<long>(count));
        if (fails(smaller)) {
          plan = smaller;
          smaller_found = true;
        } else {
          at += size;
        }
      }
    }
  }
  return plan;
}

void Show(uint64_t seed, const Failure& failure) {
  std::printf("seed %llu FAILED: %s\n  %s\n", static_cast<unsigned long long>(seed),
              failure.invariant.c_str(), failure.message.c_str());
  std::fflush(stdout);
}

int RunOne(uint64_t seed, bool verbose, bool shrink) {
  Plan plan = MakePlan(seed);
  auto failure = ExecuteApart(plan);
  if (!failure) {
    if (verbose) ExecuteApart(plan, stdout);
    std::printf("seed %llu ok\n", static_cast<unsigned long long>(seed));
    return 0;
  }
  if (shrink) plan = Shrink(plan, failure->invariant);
  std::printf("---- what it takes:\n");
  for (const Action& action : plan.actions) std::printf("  %s\n", action.ToString().c_str());
  std::printf("---- what happens:\n");
  auto again = ExecuteApart(plan, stdout);
  Show(seed, again ? *again : *failure);
  return 1;
}

// Shared by the processes that work through the seeds.
struct Board {
  std::atomic<uint64_t> next;
  std::atomic<uint64_t> done, failed;
  std::atomic<uint64_t> seeds[64];  // in work, one a process
  std::atomic<uint64_t> reached[static_cast<int>(Place::kCount)];
};

int RunMany(uint64_t first, uint64_t count, int workers, uint64_t most_failures, bool everywhere) {
  auto begin = std::chrono::steady_clock::now();
  void* memory =
      mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Board* board = new (memory) Board{};
  board->next = first;
  reached = board->reached;
  auto start = [&](int slot) {
    std::fflush(nullptr);
    pid_t child = fork();
    if (child != 0) return child;
    for (;;) {
      uint64_t seed = board->next++;
      if (seed >= first + count || board->failed >= most_failures) _exit(0);
      board->seeds[slot] = seed;
      alarm(60);
      auto failure = ExecuteTwice(MakePlan(seed));
      ++board->done;
      if (failure) {
        ++board->failed;
        Show(seed, *failure);
      }
    }
  };
  std::vector<pid_t> children;
  for (int i = 0; i < workers; ++i) children.push_back(start(i));
  for (int alive = workers; alive > 0;) {
    int status = 0;
    pid_t ended = waitpid(-1, &status, 0);
    if (ended < 0) break;
    for (int i = 0; i < workers; ++i) {
      if (children[static_cast<size_t>(i)] != ended) continue;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        --alive;
        continue;
      }
      ++board->failed;
      ++board->done;
      Show(board->seeds[i],
           {WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "ends" : "no abort",
            "the process ended by itself"});
      children[static_cast<size_t>(i)] = start(i);
    }
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("sim: %llu seeds from %llu, %llu failed, %.1f s\n",
              static_cast<unsigned long long>(board->done.load()),
              static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(board->failed.load()), seconds);
  if (board->failed > 0) {
    std::printf("sim: 'make sim SEED=x' replays one and shows what it takes\n");
    return 1;
  }
  bool missed = false;
  for (int i = 0; everywhere && i < static_cast<int>(Place::kCount); ++i) {
    uint64_t times = board->reached[i];
    std::printf("  %9llu  %s\n", static_cast<unsigned long long>(times), kPlaceNames[i]);
    missed |= times == 0;
  }
  if (missed) std::printf("sim: FAILED: these seeds do not go everywhere\n");
  return missed ? 1 : 0;
}

}  // namespace
}  // namespace cyxwiz::sim

int main(int argc, char** argv) {
  CLI::App app{"Runs the cluster on simulated time, network and disk; see tests/sim/README.md"};
  uint64_t seed = 0, seeds = 100, first = 1, most_failures = 10;
  int jobs = 2;
  bool verbose = false, as_it_is = false, everywhere = false;
  auto* one = app.add_option("--seed", seed, "run this seed alone");
  app.add_option("--seeds", seeds, "how many seeds")->capture_default_str();
  app.add_option("--first-seed", first, "the first of them")->capture_default_str();
  app.add_option("--jobs", jobs, "processes")->capture_default_str()->check(CLI::Range(1, 64));
  app.add_option("--most-failures", most_failures, "stop after so many")->capture_default_str();
  app.add_flag("--verbose", verbose, "with --seed: show what happens in a run without failure too");
  app.add_flag("--as-it-is", as_it_is, "with --seed: do not make a failure small first");
  app.add_flag("--everywhere", everywhere, "fail when the seeds miss one of the rare places");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::off);
  if (*one) return cyxwiz::sim::RunOne(seed, verbose, !as_it_is);
  return cyxwiz::sim::RunMany(first, seeds, jobs, most_failures, everywhere);
}
