#include "runner/process_group.h"

#include "runner/torch_headers.h"

#ifdef CYXWIZ_GLOO
#include <arpa/inet.h>
#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "base/file.h"
#include "runner/sha256.h"
#endif

namespace cyxwiz::runner {

#ifdef CYXWIZ_GLOO

namespace {

// How often a wait asks whether to stop.
constexpr std::chrono::milliseconds kBetweenQuestions(100);

// A ring of sums takes four times as many messages one after the other as there are ranks, of
// which only the size of large tensors takes the time. Of small ones every rank gets all and adds
// them up, in the order of the ranks.
constexpr size_t kSmallBytes = 64 << 10;

struct Addresses {
  addrinfo* first = nullptr;
  ~Addresses() {
    if (first != nullptr) ::freeaddrinfo(first);
  }
};

Status Resolve(const GangPlace& place, int type, Addresses* found) {
  addrinfo hints{};
  hints.ai_socktype = type;
  const std::string port = std::to_string(place.port);
  int error = ::getaddrinfo(place.host.c_str(), port.c_str(), &hints, &found->first);
  if (error == 0) return OkStatus();
  return Unavailable("cannot resolve '" + place.host +
                     "', where rank 0 listens: " + ::gai_strerror(error));
}

Status SocketError(const char* what, const GangPlace& place) {
  const int error = errno;
  const std::string message = std::string(what) + " " + place.host + ":" +
                              std::to_string(place.port) + ": " + std::strerror(error);
  return error == EADDRINUSE || error == EADDRNOTAVAIL || error == EACCES ? AlreadyExists(message)
                                                                          : Unavailable(message);
}

// The address of this machine under which a rank at place.host reaches it.
Result<std::string> OwnAddress(const GangPlace& place) {
  Addresses rank0;
  RETURN_IF_ERROR(Resolve(place, SOCK_DGRAM, &rank0));
  UniqueFd fd(::socket(rank0.first->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  char text[NI_MAXHOST];
  // Connecting sends nothing: it chooses the way.
  if (!fd || ::connect(fd.get(), rank0.first->ai_addr, rank0.first->ai_addrlen) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) != 0) {
    return SocketError("no way to", place);
  }
  return std::string(text);
}

// A socket at rank 0's address, and nowhere else.
Result<UniqueFd> Bind(const GangPlace& place) {
  Addresses own;
  RETURN_IF_ERROR(Resolve(place, SOCK_STREAM, &own));
  UniqueFd fd(::socket(own.first->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(fd.get(), own.first->ai_addr, own.first->ai_addrlen) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return SocketError("cannot listen on", place);
  }
  return fd;
}

std::string FirstLine(const std::exception& error) {
  const std::string what = error.what();
  return what.substr(0, what.find('\n'));
}

// Proves to those that know the secret, and to nobody else, that this rank does.
std::string ProofOf(const std::string& secret, int rank) {
  return Sha256Of(secret + "/rank/" + std::to_string(rank));
}

}  // namespace

struct ProcessGroup::Connection {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
  std::vector<decltype(std::declval<c10d::ProcessGroupGloo&>().allreduce(
      std::declval<std::vector<at::Tensor>&>()))>
      begun;
  // Those of them that are to be added up.
  std::vector<std::pair<at::Tensor, std::vector<at::Tensor>>> small_sums;
  bool broken = false;

  // Begins what Wait waits for: start(group) gives the work.
  template <typename F>
  void Begin(F start) {
    try {
      begun.push_back(start(*group));
    } catch (const std::exception& error) {
      Lose(error);
    }
  }
  [[noreturn]] void Lose(const std::exception& error) {
    broken = true;
    throw PeerLostError("another rank is lost: " + FirstLine(error));
  }

  void LoseIfOneFailed(const std::function<bool()>& leave_wanted) {
    for (auto& work : begun) {
      if (!work->isCompleted() || work->isSuccess()) continue;
      broken = true;
      if (leave_wanted()) throw StopAskedError();  // the others may only have been faster
      try {
        std::rethrow_exception(work->exception());
      } catch (const std::exception& error) {
        Lose(error);
      }
    }
  }

  static Result<std::shared_ptr<Connection>> Make(const GangPlace& place) {
    try {
      auto connection = std::make_shared<Connection>();
      c10d::TCPStoreOptions store;
      store.port = static_cast<uint16_t>(place.port);
      store.isServer = place.rank == 0;
      store.numWorkers = static_cast<size_t>(place.size);
      store.waitWorkers = false;
      store.timeout = kLongestMeeting;
      UniqueFd listening;
      if (store.isServer) {
        listening.Reset(place.listening);
        if (!listening) {
          ASSIGN_OR_RETURN(listening, Bind(place));
        }
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
        store.masterListenFd = listening.Release();
#else
        listening.Reset(-1);  // it was only to see whether the port is free
#endif
      }
      auto met = c10::make_intrusive<c10d::TCPStore>(place.host, store);
      connection->store =
          c10::make_intrusive<c10d::PrefixStore>(Sha256Of(place.secret + "/store"), std::move(met));
      auto options = c10d::ProcessGroupGloo::Options::create(kLongestWait);
      ASSIGN_OR_RETURN(const std::string own, OwnAddress(place));
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(own));
      options->threads = 2;
      connection->group = c10::make_intrusive<c10d::ProcessGroupGloo>(
          connection->store, place.rank, place.size, std::move(options));
      return connection;
    } catch (const std::exception& error) {
      return Unavailable("rank " + std::to_string(place.rank) + " of " +
                         std::to_string(place.size) + " has not met the others at " + place.host +
                         ":" + std::to_string(place.port) + ": " + FirstLine(error));
    }
  }
};

bool ProcessGroup::Supported() { return true; }

Result<std::unique_ptr<ProcessGroup>> ProcessGroup::Connect(const GangPlace& place,
                                                            std::function<bool()> leave_wanted,
                                                            std::function<bool()> stop_wanted) {
  // Gloo writes to sockets of ranks that may be gone: an error of the write, not this rank's end.
  ::signal(SIGPIPE, SIG_IGN);
  using Made = Result<std::shared_ptr<Connection>>;
  // On a thread of its own, because it cannot be told to end; left behind when it shall.
  auto promise = std::make_shared<std::promise<Made>>();
  std::future<Made> made = promise->get_future();
  std::thread([place, promise] { promise->set_value(Connection::Make(place)); }).detach();
  const auto begin = std::chrono::steady_clock::now();
  while (made.wait_for(kBetweenQuestions) != std::future_status::ready) {
    if (leave_wanted()) return Status(Code::kCancelled, "asked to stop before all ranks had met");
    if (std::chrono::steady_clock::now() - begin > kLongestMeeting) {
      return Unavailable("not all of " + std::to_string(place.size) + " ranks have come to " +
                         place.host + ":" + std::to_string(place.port) + " within 5 minutes");
    }
  }
  ASSIGN_OR_RETURN(std::shared_ptr<Connection> connection, made.get());
  std::unique_ptr<ProcessGroup> group(new ProcessGroup(
      place, std::move(leave_wanted), std::move(stop_wanted), std::move(connection)));
  try {
    RETURN_IF_ERROR(group->CheckSecrets(place.secret));
  } catch (const StopAskedError& error) {
    return Status(Code::kCancelled, error.what());
  } catch (const PeerLostError& error) {
    return Unavailable(error.what());
  }
  return group;
}

ProcessGroup::ProcessGroup(const GangPlace& place, std::function<bool()> leave_wanted,
                           std::function<bool()> stop_wanted,
                           std::shared_ptr<Connection> connection)
    : rank_(place.rank),
      size_(place.size),
      leave_wanted_(std::move(leave_wanted)),
      stop_wanted_(std::move(stop_wanted)),
      connection_(std::move(connection)) {}

ProcessGroup::~ProcessGroup() {
  // The group would wait for what is under way, which may never end. The process ends soon.
  if (connection_->broken || !connection_->begun.empty()) {
    (void)connection_->group.release();
    (void)connection_->store.release();
  }
}

Status ProcessGroup::CheckSecrets(const std::string& secret) {
  const auto length = static_cast<int64_t>(ProofOf(secret, 0).size());
  at::Tensor proofs = at::zeros({size_, length}, at::kByte), expected = at::zeros_like(proofs);
  for (int rank = 0; rank < size_; ++rank) {
    std::memcpy(expected[rank].data_ptr(), ProofOf(secret, rank).data(),
                static_cast<size_t>(length));
  }
  proofs[rank_].copy_(expected[rank_]);
  Sum(proofs);
  if (at::equal(proofs, expected)) return OkStatus();
  connection_->broken = true;
  return Unavailable("a rank has come that does not know the gang's secret");
}

void ProcessGroup::BeginSum(const at::Tensor& tensor) {
  const bool small = tensor.nbytes() <= kSmallBytes;
  std::vector<std::vector<at::Tensor>> parts(1);
  for (int rank = 0; small && rank < size_; ++rank) parts[0].push_back(at::empty_like(tensor));
  connection_->Begin([&](c10d::ProcessGroupGloo& group) {
    std::vector<at::Tensor> tensors{tensor};
    return small ? group.allgather(parts, tensors) : group.allreduce(tensors);
  });
  if (small) connection_->small_sums.emplace_back(tensor, std::move(parts[0]));
}

void ProcessGroup::Wait() {
  for (auto& work : connection_->begun) {
    for (;;) {
      try {
        work->wait(kBetweenQuestions);
        break;
      } catch (const std::exception&) {
        // It has failed, or is not done yet. One that has failed may have left the others waiting
        // for ever: Gloo reads no further from a rank whose message was for it.
        connection_->LoseIfOneFailed(leave_wanted_);
      }
      if (!stop_wanted_()) continue;
      connection_->broken = true;
      throw StopAskedError();
    }
  }
  connection_->begun.clear();
  for (auto& [tensor, parts] : connection_->small_sums) {
    tensor.copy_(parts[0]);
    for (size_t rank = 1; rank < parts.size(); ++rank) tensor.add_(parts[rank]);
  }
  connection_->small_sums.clear();
}

void ProcessGroup::Sum(const at::Tensor& tensor) {
  BeginSum(tensor);
  Wait();
}

void ProcessGroup::BeginBroadcast(const at::Tensor& tensor, int from) {
  connection_->Begin([&](c10d::ProcessGroupGloo& group) {
    std::vector<at::Tensor> tensors{tensor};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    return group.broadcast(tensors, options);
  });
}

void ProcessGroup::Broadcast(const at::Tensor& tensor) {
  BeginBroadcast(tensor, 0);
  Wait();
}

std::vector<at::Tensor> ProcessGroup::Gather(const at::Tensor& tensor) {
  std::vector<std::vector<at::Tensor>> gathered;
  if (leads()) {
    gathered.emplace_back();
    for (int rank = 0; rank < size_; ++rank) gathered[0].push_back(at::empty_like(tensor));
  }
  connection_->Begin([&](c10d::ProcessGroupGloo& group) {
    std::vector<at::Tensor> tensors{tensor};
    c10d::GatherOptions options;
    options.rootRank = 0;
    return group.gather(gathered, tensors, options);
  });
  Wait();
  if (!leads()) return {};
  return gathered[0];
}

#else

struct ProcessGroup::Connection {};

bool ProcessGroup::Supported() { return false; }
Result<std::unique_ptr<ProcessGroup>> ProcessGroup::Connect(const GangPlace&, std::function<bool()>,
                                                            std::function<bool()>) {
  return Unimplemented("this runner was built without Gloo and cannot train over several nodes",
                       "install libgloo-dev and build it again with a libtorch that has Gloo");
}
ProcessGroup::~ProcessGroup() = default;
void ProcessGroup::BeginSum(const at::Tensor&) {}
void ProcessGroup::Wait() {}
void ProcessGroup::Sum(const at::Tensor&) {}
void ProcessGroup::BeginBroadcast(const at::Tensor&, int) {}
void ProcessGroup::Broadcast(const at::Tensor&) {}
std::vector<at::Tensor> ProcessGroup::Gather(const at::Tensor&) { return {}; }

#endif

}  // namespace cyxwiz::runner
