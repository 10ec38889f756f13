// Calls between processes, as gRPC makes them: a request, perhaps an answer, and a deadline after
// which the caller hears DEADLINE_EXCEEDED whatever became of the request. Requests and answers are
// delayed, lost, overtake each other; a request may arrive twice; a direction of a link may be cut.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/status.h"
#include "sim/process.h"
#include "sim/random.h"

namespace cyxwiz::sim {

struct NetworkOptions {
  Duration least_delay = std::chrono::microseconds(100);
  Duration most_delay = std::chrono::milliseconds(5);
  double loss = 0;   // of a request or an answer
  double twice = 0;  // a request arrives a second time
  double slow = 0;   // a message takes up to slow_delay
  Duration slow_delay = std::chrono::seconds(3);
};

class Network {
 public:
  Network(Loop* loop, uint64_t seed, NetworkOptions options)
      : loop_(loop), random_(seed, "network"), options_(options) {}

  // Runs `handle` at `to` with a function that gives the answer (once; later ones are ignored), and
  // `done` at `from`. Bound to the connection: a process that starts again does not get what was
  // sent to the one before.
  template <typename Answer>
  void Call(Process* from, Process* to, Duration timeout,
            std::function<void(std::function<void(Result<Answer>)>)> handle,
            std::function<void(Result<Answer>)> done) {
    auto waiting = std::make_shared<std::function<void(Result<Answer>)>>(std::move(done));
    auto finish = [this, from, run = from->run(), waiting](Result<Answer> answer) {
      from->Do(run, [waiting, answer = std::move(answer)]() mutable {
        if (!*waiting) return;
        auto done = std::exchange(*waiting, nullptr);
        done(std::move(answer));
      });
    };
    from->After(timeout, [finish] {
      finish(Status(Code::kDeadlineExceeded, "the call's deadline has passed"));
    });
    // The connection is refused or breaks.
    auto broken = [this, from, to, finish](const char* why) {
      if (!IsCut(to, from)) loop_->After(Delay(), [finish, why] { finish(Unavailable(why)); });
    };
    if (IsCut(from, to)) return;
    if (!to->up()) return broken("connection refused");
    int copies = random_.Chance(options_.twice) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      if (random_.Chance(options_.loss)) continue;
      loop_->After(Delay(), [this, from, to, to_run = to->run(), handle, finish, broken] {
        if (IsCut(from, to)) return;
        if (!to->up() || to->run() != to_run) return broken("connection reset");
        uint64_t call = next_call_++;
        open_[to][call] = [broken] { broken("connection reset"); };
        to->Do(to_run, [this, from, to, call, handle, finish] {
          handle([this, from, to, call, finish](Result<Answer> answer) {
            open_[to].erase(call);
            if (IsCut(to, from) || random_.Chance(options_.loss)) return;
            loop_->After(Delay(), [this, from, to, finish, answer = std::move(answer)] {
              if (!IsCut(to, from)) finish(answer);
            });
          });
        });
      });
    }
  }

  // `process` has ended: who waits for an answer of it hears so.
  void Ended(const Process* process) {
    for (auto& [call, broken] : std::exchange(open_[process], {})) broken();
  }

  // Before processes are taken away for good: nobody hears of it.
  void Close() { open_.clear(); }

  // Directions are cut and mended independently; cuts of the same direction add up.
  void Cut(const std::string& from, const std::string& to) { ++cuts_[{from, to}]; }
  void Mend(const std::string& from, const std::string& to) { --cuts_[{from, to}]; }
  void MendAll() { cuts_.clear(); }
  void SetOptions(const NetworkOptions& options) { options_ = options; }

 private:
  bool IsCut(const Process* from, const Process* to) const {
    auto found = cuts_.find({from->name(), to->name()});
    return found != cuts_.end() && found->second > 0;
  }
  Duration Delay() {
    if (random_.Chance(options_.slow))
      return random_.Between(Duration::zero(), options_.slow_delay);
    return random_.Between(options_.least_delay, options_.most_delay);
  }

  Loop* const loop_;
  Random random_;
  NetworkOptions options_;
  std::map<std::pair<std::string, std::string>, int> cuts_;
  uint64_t next_call_ = 0;
  std::map<const Process*, std::map<uint64_t, std::function<void()>>> open_;  // delivered to it
};

}  // namespace cyxwiz::sim
