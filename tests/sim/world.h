// One run of a plan: the cluster, the clients, the faults, and what must hold after every step.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "sim/checker.h"
#include "sim/disk.h"
#include "sim/loop.h"
#include "sim/network.h"
#include "sim/plan.h"

namespace cyxwiz::sim {

class Server;
class Node;
class Client;

class World {
 public:
  // trace: where every event is written; null for nowhere.
  World(const Plan& plan, std::FILE* trace);
  ~World();

  // Throws Broken. Ends when faults are over and every job has ended.
  void Run();
  uint64_t hash() const { return checker.hash(); }

  bool tracing() const { return trace_ != nullptr; }
  void Trace(const std::string& who, const std::string& what);

  const Plan plan;
  Loop loop;
  Network network;
  Disk disk;
  Checker checker;
  std::unique_ptr<Server> server;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::unique_ptr<Client>> clients;  // those of the plan, and one for UndoHolds

 private:
  void Do(const Action& action);
  void Cut(const Action& action);
  void Heal();
  void CheckAfterStep();
  // Resumes and uncordons, again and again: what clients held up on purpose must end too.
  void UndoHolds();
  bool Settled() const;

  std::FILE* const trace_;
  bool healed_ = false;
};

}  // namespace cyxwiz::sim
