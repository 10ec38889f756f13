// A client: does what the plan says, one thing at a time, and asks again while the outcome is not
// known.
#pragma once

#include <deque>
#include <string>

#include "sim/plan.h"
#include "sim/process.h"
#include "sim/server.h"

namespace cyxwiz::sim {

class World;

class Client {
 public:
  Client(World* world, int64_t number);
  Process* process() { return &process_; }
  // Done after all that it was given before.
  void Do(const Action& action);
  bool idle() const { return !busy_ && waiting_.empty(); }

 private:
  void Next();
  void Try(const Action& action, int tries);
  template <typename Content, typename Command>
  void Call(Command command, const Action& action, int tries);
  void Ended(const Action& action, const Status& status, int tries);

  World* const world_;
  Random random_;
  Process process_;
  std::deque<Action> waiting_;
  bool busy_ = false;
};

}  // namespace cyxwiz::sim
