// The control core, with everything that it is given written down, so that what it decided can be
// worked out again later: the same state and the same input give the same decisions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/archive.h"
#include "control/control.h"
#include "history/segment.h"

namespace cyxwiz::history {

// Takes segments frame by frame (segment.h). Called by the core's thread; must not block.
class Journal {
 public:
  virtual ~Journal() = default;
  // Whether a new segment shall begin with the next batch.
  virtual bool WantsStart(Now now) = 0;
  // Ends the present segment and begins one: its head, and the frame of its start.
  virtual void Begin(std::string start) = 0;
  // Frames. False: they are not taken; the segment has ended.
  virtual bool Append(std::string_view frames) = 0;
};

// Used as the control core, which it owns.
class Recorder final : control::Archive {
 public:
  // journal: outlives the recorder; nullptr: nothing is written down. version: of the program.
  Recorder(control::Options options, Journal* journal, std::string version);

  void Load(control::Snapshot snapshot, Now now) { control_.Load(std::move(snapshot), now); }
  void Apply(std::span<control::Command> batch, Now now, control::Output* output);
  const control::Control& control() const { return control_; }

 private:
  Result<std::optional<control::EndedJob>> FindEnded(const JobId& id) override;
  Result<std::vector<control::Job>> ListEnded(const control::JobFilter& filter, int64_t before,
                                              size_t most) override;
  Result<bool> HasPrefix(const std::string& prefix) override;
  static control::Options WithArchive(control::Options options, control::Archive* archive);
  void Begin(Now now);

  control::Archive* const archive_;
  Journal* const journal_;
  const std::string version_;
  control::Control control_;
  bool recording_ = false;
  std::string batch_, frame_;
  std::vector<Answer> answers_;
};

}  // namespace cyxwiz::history
