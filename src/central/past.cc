#include "central/past.h"

#include <utility>

#include "history/past.h"

namespace cyxwiz::central {

Past::~Past() {
  if (thread_.joinable()) thread_.join();
}

void Past::Explain(control::ExplainJob question, UnixTime at, OnAnswer on_answer) {
  const UnixTime now = ReadClocks().unix;
  if (at.ms < 0 || at > now) {
    return on_answer(InvalidArgument("at: expected a moment of the past, found " +
                                         history::FormatTime(at) + "; it is " +
                                         history::FormatTime(now),
                                     "leave it out to ask about now"));
  }
  std::unique_lock lock(mutex_);
  if (std::exchange(busy_, true)) {
    lock.unlock();
    return on_answer(ResourceExhausted("another question about the past is being answered",
                                       "try again in a moment"));
  }
  if (thread_.joinable()) thread_.join();  // it has answered
  thread_ =
      std::thread([this, question = std::move(question), at, on_answer = std::move(on_answer)] {
        journal_->Flush();
        auto answer = history::ExplainAt(journal_->folder(), question, at);
        {
          std::lock_guard lock(mutex_);
          busy_ = false;
        }
        on_answer(std::move(answer));
      });
}

}  // namespace cyxwiz::central
