#include "history/past.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/file.h"
#include "control/fields.h"

namespace cyxwiz::history {
namespace {

// Of a segment that a program looks at as a whole.
constexpr size_t kMostBytes = size_t{4} << 30;
constexpr size_t kFrameHead = 12;

Status In(const std::string& path, const Status& status) {
  return Status(status.code(), "'" + path + "': " + status.message(), status.hint());
}

int64_t MillisecondsOf(UnixTime a, UnixTime b) { return b.ms - a.ms; }

}  // namespace

Result<UnixTime> StartOf(const SegmentFile& segment) {
  UniqueFd file(::open(segment.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return ErrnoStatus("cannot read '" + segment.path + "'", errno);
  // The time stands before the state.
  std::string head(1024, '\0');
  const ssize_t size = ::read(file.get(), head.data(), head.size());
  if (size < 0) return ErrnoStatus("cannot read '" + segment.path + "'", errno);
  head.resize(static_cast<size_t>(size));
  if (!head.starts_with(SegmentHead()) || head.size() < SegmentHead().size() + kFrameHead)
    return DataLoss("'" + segment.path + "' is no segment of history");
  BinaryReader reader(std::string_view(head).substr(SegmentHead().size() + kFrameHead));
  Start start;
  reader.Read(start.version, start.schema, start.continues, start.at);
  if (!reader.ok()) return DataLoss("'" + segment.path + "' is no segment of history");
  return start.at.unix;
}

Result<control::PlanReply> ExplainAt(const std::string& folder, const control::ExplainJob& question,
                                     UnixTime at, const PastLimits& limits) {
  const auto begun = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(auto segments, ListSegments(folder));
  const SegmentFile* segment = nullptr;
  std::optional<UnixTime> oldest,
      after;  // starts of the first one, and of the one that follows
  for (const SegmentFile& one : segments) {
    auto start = StartOf(one);
    if (!start.ok()) continue;  // gone since, or not yet written
    if (!oldest) oldest = *start;
    if (*start <= at) {
      segment = &one;
      after.reset();
    } else if (!after) {
      after = *start;
    }
  }
  if (segment == nullptr) {
    return Status(
        Code::kOutOfRange,
        oldest ? "the history begins at " + FormatTime(*oldest) + ", later than " + FormatTime(at)
               : "there is no history yet",
        "history.max_mb and history.max_days of the server say how "
        "much of it is kept");
  }
  if (segment->bytes > limits.most_bytes) {
    return ResourceExhausted("the history of that time takes " +
                                 std::to_string(segment->bytes >> 20) +
                                 " MiB, more than the server goes through for one question",
                             "export it, and ask 'cyxwiz-central-server replay'");
  }
  ASSIGN_OR_RETURN(std::string text,
                   ReadFile(segment->path, static_cast<size_t>(limits.most_bytes) * 2));
  auto replay = Replay::Open(text);
  if (!replay.ok()) return In(segment->path, replay.status());
  Now last = (*replay)->start().at;
  while (auto next = (*replay)->next()) {
    if (next->unix > at) break;
    control::Output output;
    RETURN_IF_ERROR((*replay)->Step(&output));
    last = *next;
    if (std::chrono::steady_clock::now() - begun > limits.most_time) {
      return ResourceExhausted("going through the history of that time takes longer than " +
                                   std::to_string(limits.most_time / std::chrono::seconds(1)) +
                                   " s",
                               "export it, and ask 'cyxwiz-central-server replay'");
    }
  }
  if (!(*replay)->next() && after) {
    // Until the next segment nothing happened, or nothing is known.
    auto following = std::find_if(segments.begin(), segments.end(), [&](const SegmentFile& one) {
      return one.number > segment->number;
    });
    std::string head;
    auto start = following == segments.end() ? Result<std::string>(head)
                                             : ReadFile(following->path, kMostBytes);
    if (!start.ok()) return start.status();
    auto opened = SegmentReader::Open(*start);
    if (!opened.ok() || !opened->start().continues) {
      return Status(Code::kOutOfRange,
                    "the history has a gap from " + FormatTime(last.unix) + " to " +
                        FormatTime(*after) + ": the server did not run, or could not write it",
                    "ask about a moment before or after it");
    }
  }
  Now now{last.monotonic +
              std::chrono::milliseconds(std::max<int64_t>(0, MillisecondsOf(last.unix, at))),
          at};
  control::ExplainJob asked = question;
  asked.reply_to = 1;
  control::Command command = std::move(asked);
  control::Output output;
  (*replay)->control().Apply({&command, 1}, now, &output);
  for (control::Effect& effect : output.effects) {
    auto* reply = std::get_if<control::Reply>(&effect);
    if (reply == nullptr || reply->to != 1) continue;
    if (reply->status.ok()) return std::move(std::get<control::PlanReply>(reply->content));
    if (reply->status.code() != Code::kNotFound) return reply->status;
  }
  return NotFound("at " + FormatTime(at) + " there was no job '" + question.job.value +
                      "' that waited or ran: it was submitted later, or had ended before",
                  "see what happened to it with 'cyxwiz events " + question.job.value + "'");
}

Replayed ReplayAll(const std::vector<SegmentFile>& segments,
                   const std::function<Status(const control::Output&, Now)>& take) {
  Replayed done;
  std::optional<uint64_t> reached;  // hash of the state that the segment before has led to
  for (const SegmentFile& segment : segments) {
    auto replay = [&]() -> Status {
      ASSIGN_OR_RETURN(std::string text, ReadFile(segment.path, kMostBytes));
      ASSIGN_OR_RETURN(auto replay, Replay::Open(text));
      if (replay->start().continues && reached && *reached != control::Hash(replay->start().state))
        return FailedPrecondition("it begins with another state than the segment before leads to");
      while (auto now = replay->next()) {
        control::Output output;
        RETURN_IF_ERROR(replay->Step(&output));
        ++done.batches;
        RETURN_IF_ERROR(take(output, *now));
      }
      reached.reset();
      if (replay->left() > 0) {  // what follows is not known
        done.torn.push_back(segment.path);
        return OkStatus();
      }
      std::string state;
      replay->control().Save(&state);
      reached = control::Hash(state);
      return OkStatus();
    };
    done.status = replay();
    if (!done.status.ok()) {
      done.status = In(segment.path, done.status);
      return done;
    }
    ++done.segments;
  }
  return done;
}

}  // namespace cyxwiz::history
