#include "runner/interruption.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdio>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "runner/attempt_parts.h"

namespace cyxwiz::runner {

Interruption::Interruption(Channel* channel, std::function<Directive()> asked)
    : channel_(channel), asked_(std::move(asked)), over_(::eventfd(0, EFD_CLOEXEC)) {
  if (!over_) return;
  try {
    thread_ = std::thread([this] { Listen(); });
  } catch (const std::system_error&) {
    // Without it the attempt ends when it next looks.
  }
}

Interruption::~Interruption() {
  if (!thread_.joinable()) return;
  ::eventfd_write(over_.get(), 1);
  thread_.join();
}

void Interruption::Listen() {
  pollfd waits[] = {{channel_->fd(), POLLIN, 0}, {over_.get(), POLLIN, 0}};
  for (;;) {
    const Directive asked = asked_();
    if (asked != Directive::kGoOn) {
      const bool yields = asked == Directive::kYield;
      try {
        LogLine(std::string(yields ? "yielded" : "stopped") + " while the data was made ready");
        std::fflush(nullptr);
        (void)channel_->Send(yields ? YieldedLine(std::nullopt, OkStatus()) : StoppedLine());
      } catch (const std::bad_alloc&) {
        // Its end says enough.
      }
      // Other threads are in the middle of things, which no destructor may find.
      ::_exit(0);
    }
    if (::poll(waits, std::size(waits), -1) > 0 && waits[1].revents != 0) return;
  }
}

}  // namespace cyxwiz::runner
