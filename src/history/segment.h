// The file of a piece of history: the state of the control core at one moment, and everything that
// it was given from then on.
//
//   segment := "cyxwiz history 1\n" frame*        the first frame is a Start, the others Batches
//   frame   := length (4, little-endian) | checksum (8) | so many bytes: a value (base/binary.h)
//
// Frames are appended without a sync. Where a frame is not whole, or its checksum is another one,
// the segment ends: that is where the server was when it ended, or what the disk has lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "control/commands.h"
#include "control/control.h"

namespace cyxwiz::history {

struct Start {
  std::string version;     // of the program
  uint64_t schema = 0;     // of the values: what has another one cannot be read
  bool continues = false;  // nothing was missed since the last batch of the segment before
  Now at;                  // of the first batch
  std::string state;       // control::Control::Save
  auto Fields() { return std::tie(version, schema, continues, at, state); }
};

// What the archive answered while the batch was applied.
struct Answer {
  Code code = Code::kOk;
  std::string message, hint;
  std::optional<control::EndedJob> job;  // of FindEnded
  bool has = false;                      // of HasPrefix
  auto Fields() { return std::tie(code, message, hint, job, has); }
};

struct Batch {
  Now now;
  std::vector<control::Command> commands;  // those that may change the state
  std::vector<Answer> answers;
  uint64_t digest = 0;  // of what was decided
  auto Fields() { return std::tie(now, commands, answers, digest); }
};

// Of this build.
uint64_t Schema();

// Of all that a batch decided: records, assignments, stops and what followers are told; not of what
// was answered.
uint64_t DigestOf(const control::Output& output);

std::string_view SegmentHead();
// Appends a frame around the value's bytes.
void AppendFrame(std::string_view value, std::string* segment);

// Reads a segment that was read whole. `text` outlives it.
class SegmentReader {
 public:
  // DATA_LOSS: it is no segment, or its start is damaged. FAILED_PRECONDITION: of another schema.
  static Result<SegmentReader> Open(std::string_view text);

  const Start& start() const { return start_; }
  // nullopt: there are no more.
  std::optional<Batch> Next();
  // After the last one: how many bytes follow that are no batch.
  size_t left() const { return text_.size(); }

 private:
  explicit SegmentReader(std::string_view text) : text_(text) {}
  std::optional<std::string_view> NextFrame();

  std::string_view text_;
  Start start_;
};

}  // namespace cyxwiz::history
