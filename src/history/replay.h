// A segment of history, gone through again: the control core gets the state and the input that are
// written there, and decides anew.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/archive.h"
#include "control/control.h"
#include "history/segment.h"

namespace cyxwiz::history {

class Replay final : control::Archive {
 public:
  // `text`: of the whole segment; outlives it. Errors as SegmentReader::Open, and DATA_LOSS for a
  // state that is none.
  static Result<std::unique_ptr<Replay>> Open(std::string_view text);

  const Start& start() const { return segment_.start(); }
  // The time of the next batch; nullopt: there is none.
  std::optional<Now> next() const;
  // Applies it and appends to `output`. FAILED_PRECONDITION: what it decides is not what was
  // decided then. Only while there is one.
  Status Step(control::Output* output);
  // The number of the batch applied last, from 1.
  int64_t batch() const { return batch_; }
  // Bytes after the last batch that are none.
  size_t left() const { return segment_.left(); }

  // As it is after the batch applied last. What is asked of it changes what comes after.
  control::Control& control() { return *control_; }

 private:
  explicit Replay(SegmentReader segment) : segment_(std::move(segment)) {}
  Result<std::optional<control::EndedJob>> FindEnded(const JobId& id) override;
  Result<std::vector<control::Job>> ListEnded(const control::JobFilter& filter, int64_t before,
                                              size_t most) override;
  Result<bool> HasPrefix(const std::string& prefix) override;
  // The next one that is written; an error when there is none.
  Result<Answer> NextAnswer();

  SegmentReader segment_;
  std::unique_ptr<control::Control> control_;
  std::optional<Batch> next_;
  std::vector<Answer> answers_;  // of the batch in work
  size_t answered_ = 0;
  int64_t batch_ = 0;
};

// "2026-11-30T01:02:03.004Z"
std::string FormatTime(UnixTime time);

}  // namespace cyxwiz::history
