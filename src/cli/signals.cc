#include "cli/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace cyxwiz::cli {
namespace {

std::atomic<int> write_fd = -1;

void OnSignal(int number) {
  int saved = errno;
  auto byte = static_cast<unsigned char>(number);
  // A full pipe means that signals wait already; nothing is lost that matters.
  if (::write(write_fd.load(), &byte, 1) < 0) errno = saved;
  errno = saved;
}

}  // namespace

struct SignalQueue::Restore {
  int number;
  struct sigaction action;
};

SignalQueue::SignalQueue(std::initializer_list<int> signals) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return;  // out of descriptors: signals keep their default action
  read_.Reset(ends[0]);
  write_.Reset(ends[1]);
  write_fd = ends[1];
  for (int number : signals) {
    struct sigaction action {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_RESTART;
    Restore restore{number, {}};
    if (::sigaction(number, &action, &restore.action) == 0) restore_.push_back(restore);
  }
}

SignalQueue::~SignalQueue() {
  for (const Restore& restore : restore_) ::sigaction(restore.number, &restore.action, nullptr);
  write_fd = -1;
}

std::vector<int> SignalQueue::Take() {
  std::vector<int> taken;
  unsigned char bytes[64];
  ssize_t n;
  while ((n = ::read(read_.get(), bytes, sizeof bytes)) > 0)
    taken.insert(taken.end(), bytes, bytes + n);
  return taken;
}

}  // namespace cyxwiz::cli
