#include "history/replay.h"

#include <cstdio>
#include <ctime>
#include <utility>

namespace cyxwiz::history {

std::string FormatTime(UnixTime time) {
  const std::time_t seconds = time.ms / 1000;
  std::tm parts = {};
  gmtime_r(&seconds, &parts);
  char day[32], text[48];
  std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof text, "%s.%03dZ", day, static_cast<int>(time.ms % 1000));
  return text;
}

Result<std::unique_ptr<Replay>> Replay::Open(std::string_view text) {
  auto segment = SegmentReader::Open(text);
  if (!segment.ok()) return segment.status();
  std::unique_ptr<Replay> replay(new Replay(std::move(*segment)));
  auto control = control::Control::Restore(replay->start().state, replay.get());
  if (!control.ok()) return control.status();
  replay->control_ = std::move(*control);
  replay->next_ = replay->segment_.Next();
  return replay;
}

std::optional<Now> Replay::next() const {
  return next_ ? std::optional<Now>(next_->now) : std::nullopt;
}

Status Replay::Step(control::Output* output) {
  Batch batch = std::move(*next_);
  ++batch_;
  answers_ = std::move(batch.answers);
  answered_ = 0;
  control::Output decided;
  control_->Apply(batch.commands, batch.now, &decided);
  const bool same = DigestOf(decided) == batch.digest && answered_ == answers_.size();
  answers_.clear();
  std::move(decided.records.begin(), decided.records.end(), std::back_inserter(output->records));
  std::move(decided.effects.begin(), decided.effects.end(), std::back_inserter(output->effects));
  next_ = segment_.Next();
  if (same) return OkStatus();
  return FailedPrecondition(
      "at " + FormatTime(batch.now.unix) + " (batch " + std::to_string(batch_) +
      ") this program decides otherwise than version " + start().version + " did");
}

Result<Answer> Replay::NextAnswer() {
  if (answered_ >= answers_.size()) {
    answered_ = answers_.size() + 1;  // more were asked for than then
    return NotFound("what the archive would answer is not in the history");
  }
  Answer& answer = answers_[answered_++];
  if (answer.code != Code::kOk) return Status(answer.code, answer.message, answer.hint);
  return std::move(answer);
}

Result<std::optional<control::EndedJob>> Replay::FindEnded(const JobId&) {
  auto answer = NextAnswer();
  if (!answer.ok()) return answer.status();
  return std::move(answer->job);
}

Result<std::vector<control::Job>> Replay::ListEnded(const control::JobFilter&, int64_t, size_t) {
  return std::vector<control::Job>();
}

Result<bool> Replay::HasPrefix(const std::string&) {
  auto answer = NextAnswer();
  if (!answer.ok()) return answer.status();
  return answer->has;
}

}  // namespace cyxwiz::history
