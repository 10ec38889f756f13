// The Central Server: the real committer, control, scheduler and store, with the gRPC front ends
// and the dispatcher reduced to what they do to commands.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "central/committer.h"
#include "sim/disk.h"
#include "sim/process.h"

namespace cyxwiz::sim {

class World;

struct Registered {
  NodeId id;
  std::string session;
  Duration heartbeat, lease;
};
struct Assignment {
  AttemptId attempt;
  int32_t rank = 0;
  NodeId node;
  std::string session;
  std::vector<GpuPart> gpus;
  control::Job job;
  UnixTime token_expires;

  // What it is given there.
  Resources resources() const {
    Resources held = job.resources;
    held.gpus = gpus;
    return held;
  }
};

class Server {
 public:
  explicit Server(World* world);
  ~Server();

  Process* process() { return &process_; }
  // Ready a while later, or fails to start and tries again.
  void Start();
  void Kill();
  // Ends in order, and starts again.
  void StopInOrder();
  void FreezeFor(Duration length);

  // What its RPCs do. Called in the process; `done` gets the answer once its batch is durable.
  template <typename Content>
  void Ask(control::Command command, std::function<void(Result<Content>)> done) {
    Post(std::move(command), [done = std::move(done)](const control::Reply& reply) {
      if (!reply.status.ok()) return done(reply.status);
      done(std::get<Content>(reply.content));
    });
  }
  void RegisterNode(control::RegisterNode command, std::function<void(Result<Registered>)> done);

 private:
  class CheckedStore;
  class History;
  class Sink;
  void Boot();
  // Replays all that control was given in this run: it must decide the same and end in the same
  // state.
  void CheckHistory();
  void End();
  void StartAgain(const char* why);
  void Post(control::Command command, central::Committer::OnReply on_reply);
  // Takes what waits as soon as the commit before is through.
  void Wake(Duration wait);
  void Work();
  void Assign(control::AssignEffect effect);
  void Stop(control::StopEffect effect);

  World* const world_;
  Random random_;
  Process process_;
  // Of the present run:
  std::unique_ptr<store::JobStore> store_;
  std::unique_ptr<SimReserve> reserve_;
  std::unique_ptr<Sink> sink_;
  std::unique_ptr<History> history_;
  std::unique_ptr<central::Committer> committer_;
  std::vector<central::Committer::Item> queue_;
  std::vector<Loop::Action> outbox_;  // effects of the commit in work
  MonotonicTime busy_until_;
  MonotonicTime full_since_;                 // while the disk is
  Duration stood_still_ = Duration::zero();  // control's clock, for full disks before
  Timer timer_;
  bool batch_is_alone_ = false, committed_ = false;  // of the batch in work
  uint64_t sessions_ = 0;
};

}  // namespace cyxwiz::sim
