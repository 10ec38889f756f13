// The ranks of a gang as one: sums and copies over all of them, by libtorch's c10d and Gloo.
//
// The only unit that includes c10d; needs no header of libtorch to be included. Ranks meet at the
// port of rank 0 under keys that follow from the gang's secret, then connect each with each. Each
// shows in the first exchange that it has the secret, so that whoever got in without it ends the
// group. What is exchanged is not encrypted.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/status.h"

namespace at {
class Tensor;
}

namespace cyxwiz::runner {

// Which rank of a gang a runner is.
struct GangPlace {
  int rank = 0, size = 1;
  std::string host;  // where rank 0 listens
  int port = 0;
  std::string secret;
  int listening = -1;  // the socket of rank 0 there, which it takes over; -1: it makes one
};

// Another rank is gone, or does not answer.
struct PeerLostError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The wait was given up because the attempt shall stop.
struct StopAskedError : std::runtime_error {
  StopAskedError() : std::runtime_error("asked to stop while waiting for other ranks") {}
};

// One thread. All ranks call the same functions, with tensors of the same size and type, in the
// same order. Each waits until all have, however long one of them evaluates: at most kLongestWait;
// meanwhile it asks stop_wanted. One that shall only leave goes on, so that all can agree where to;
// but it leaves while they meet, and when another one is gone: leave_wanted. After an error nothing
// more can be done with it.
class ProcessGroup {
 public:
  static constexpr std::chrono::minutes kLongestWait{60}, kLongestMeeting{5};

  // Whether this libtorch has what it takes.
  static bool Supported();

  // Meets the others. ALREADY_EXISTS: rank 0 cannot listen at the port; UNAVAILABLE: not all have
  // come within kLongestMeeting, or one without the secret; CANCELLED: leave_wanted;
  // UNIMPLEMENTED: not Supported. From then on the process ignores SIGPIPE.
  static Result<std::unique_ptr<ProcessGroup>> Connect(const GangPlace& place,
                                                       std::function<bool()> leave_wanted,
                                                       std::function<bool()> stop_wanted);
  ~ProcessGroup();

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool leads() const { return rank_ == 0; }

  // Sums a contiguous tensor in host memory over all ranks, in place: every rank gets the same
  // bits. Makes one that of a rank. It belongs to the group until Wait, which waits for all that
  // was begun. These throw PeerLostError and StopAskedError.
  void BeginSum(const at::Tensor& tensor);
  void BeginBroadcast(const at::Tensor& tensor, int from);
  void Wait();
  // Begin one and wait; Broadcast from rank 0.
  void Sum(const at::Tensor& tensor);
  void Broadcast(const at::Tensor& tensor);
  // On rank 0 the contiguous tensors of all ranks, in their order; elsewhere none.
  std::vector<at::Tensor> Gather(const at::Tensor& tensor);

 private:
  struct Connection;
  ProcessGroup(const GangPlace& place, std::function<bool()> leave_wanted,
               std::function<bool()> stop_wanted, std::shared_ptr<Connection> connection);
  Status CheckSecrets(const std::string& secret);

  const int rank_, size_;
  const std::function<bool()> leave_wanted_, stop_wanted_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace cyxwiz::runner
