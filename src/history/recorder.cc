#include "history/recorder.h"

#include <algorithm>
#include <utility>

#include "control/fields.h"

namespace cyxwiz::history {
namespace {

using control::Command;

// Whether the command leaves the state as it is, whatever it answers.
bool ChangesNothing(const Command& command) {
  if (auto* list = std::get_if<control::ListJobs>(&command)) return list->filter.array_id.empty();
  return std::holds_alternative<control::FindJobs>(command) ||
         std::holds_alternative<control::GetNode>(command) ||
         std::holds_alternative<control::ListNodes>(command) ||
         std::holds_alternative<control::CountWaiting>(command) ||
         std::holds_alternative<control::Tick>(command);
}

Answer Failed(const Status& status) {
  return {status.code(), status.message(), status.hint(), {}, false};
}

}  // namespace

control::Options Recorder::WithArchive(control::Options options, control::Archive* archive) {
  if (options.archive != nullptr) options.archive = archive;
  return options;
}

Recorder::Recorder(control::Options options, Journal* journal, std::string version)
    : archive_(options.archive),
      journal_(journal),
      version_(std::move(version)),
      control_(WithArchive(std::move(options), this)) {}

void Recorder::Begin(Now now) {
  Start start{version_, Schema(), recording_, now, {}};
  control_.Save(&start.state);
  batch_.clear();
  BinaryWriter(&batch_).Write(start);
  std::string segment(SegmentHead());
  segment.reserve(segment.size() + batch_.size() + 16);
  AppendFrame(batch_, &segment);
  journal_->Begin(std::move(segment));
  recording_ = true;
  batch_ = {};
}

void Recorder::Apply(std::span<Command> batch, Now now, control::Output* output) {
  if (journal_ == nullptr) return control_.Apply(batch, now, output);
  if (journal_->WantsStart(now)) Begin(now);
  if (!recording_) return control_.Apply(batch, now, output);
  batch_.clear();
  answers_.clear();
  BinaryWriter writer(&batch_);
  writer.Write(now);
  const auto skipped = std::count_if(batch.begin(), batch.end(), ChangesNothing);
  writer.Unsigned(batch.size() - static_cast<size_t>(skipped));
  for (const Command& command : batch) {
    if (!ChangesNothing(command)) writer.Write(command);
  }
  control_.Apply(batch, now, output);
  writer.Write(answers_, DigestOf(*output));
  frame_.clear();
  AppendFrame(batch_, &frame_);
  recording_ = journal_->Append(frame_);
}

Result<std::optional<control::EndedJob>> Recorder::FindEnded(const JobId& id) {
  auto found = archive_->FindEnded(id);
  if (recording_) answers_.push_back(found.ok() ? Answer{.job = *found} : Failed(found.status()));
  return found;
}

// What it answers goes to who asks and nowhere else.
Result<std::vector<control::Job>> Recorder::ListEnded(const control::JobFilter& filter,
                                                      int64_t before, size_t most) {
  return archive_->ListEnded(filter, before, most);
}

Result<bool> Recorder::HasPrefix(const std::string& prefix) {
  auto found = archive_->HasPrefix(prefix);
  if (recording_) answers_.push_back(found.ok() ? Answer{.has = *found} : Failed(found.status()));
  return found;
}

}  // namespace cyxwiz::history
