// Answers about the past, from the history that the server writes down. One question at a time,
// each on a thread of its own: going through the history takes seconds.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/status.h"
#include "control/commands.h"
#include "history/journal.h"

namespace cyxwiz::central {

class Past {
 public:
  // The journal outlives this.
  explicit Past(history::FolderJournal* journal) : journal_(journal) {}
  ~Past();  // waits for the answer in work

  // Any thread. on_answer is called once, on a thread of its own but for a refusal at once:
  // INVALID_ARGUMENT for a moment that has not come, RESOURCE_EXHAUSTED while another question is
  // being answered. Further errors as history::ExplainAt.
  using OnAnswer = std::function<void(Result<control::PlanReply>)>;
  void Explain(control::ExplainJob question, UnixTime at, OnAnswer on_answer);

 private:
  history::FolderJournal* const journal_;
  std::mutex mutex_;  // of all below
  bool busy_ = false;
  std::thread thread_;
};

}  // namespace cyxwiz::central
