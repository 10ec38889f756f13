#include "history/segment.h"

#include <cstring>

#include "control/fields.h"

namespace cyxwiz::history {
namespace {

constexpr std::string_view kHead = "cyxwiz history 1\n";
constexpr size_t kFrameHead = 12;

template <typename T>
T Number(std::string_view text) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value |= static_cast<T>(static_cast<unsigned char>(text[i])) << (8 * i);
  return value;
}
template <typename T>
void AppendNumber(T value, std::string* text) {
  for (size_t i = 0; i < sizeof(T); ++i) text->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

uint64_t Schema() {
  // Of how many fields the values consist that change most often, and the number of this list.
  static const uint64_t kSchema = [] {
    constexpr uint64_t kRevision = 1;
    std::string text;
    BinaryWriter writer(&text);
    writer.Write(kRevision, binary::MemberCount<control::Job>(),
                 binary::MemberCount<control::Terms>(), binary::MemberCount<control::Node>(),
                 binary::MemberCount<control::Options>(), binary::MemberCount<control::Event>(),
                 binary::MemberCount<scheduler::Request>(), std::variant_size_v<control::Command>,
                 std::variant_size_v<control::Record>);
    return control::Hash(text);
  }();
  return kSchema;
}

uint64_t DigestOf(const control::Output& output) {
  static thread_local std::string text;
  text.clear();
  BinaryWriter writer(&text);
  writer.Write(output.records);
  for (const control::Effect& effect : output.effects) {
    if (std::holds_alternative<control::Reply>(effect)) continue;
    writer.Unsigned(effect.index());
    if (auto* assign = std::get_if<control::AssignEffect>(&effect)) {
      writer.Write(assign->attempt, assign->rank, assign->ranks, assign->rendezvous, assign->node,
                   assign->endpoint, assign->gpus);
    } else if (auto* stop = std::get_if<control::StopEffect>(&effect)) {
      writer.Write(stop->attempt, stop->node, stop->endpoint, stop->reason, stop->yield);
    } else if (auto* release = std::get_if<control::ReleaseEffect>(&effect)) {
      writer.Write(release->sha256);
    } else if (auto* update = std::get_if<control::UpdateEffect>(&effect)) {
      writer.Write(update->view->job.sequence, update->removed, update->view->job.message);
    } else if (auto* event = std::get_if<control::EventEffect>(&effect)) {
      writer.Write(event->event.number, event->event.kind);
    }
  }
  return control::Hash(text);
}

std::string_view SegmentHead() { return kHead; }

void AppendFrame(std::string_view value, std::string* segment) {
  AppendNumber(static_cast<uint32_t>(value.size()), segment);
  AppendNumber(control::Hash(value), segment);
  segment->append(value);
}

std::optional<std::string_view> SegmentReader::NextFrame() {
  if (text_.size() < kFrameHead) return std::nullopt;
  const size_t size = Number<uint32_t>(text_);
  if (size > text_.size() - kFrameHead) return std::nullopt;
  const std::string_view value = text_.substr(kFrameHead, size);
  if (Number<uint64_t>(text_.substr(4)) != control::Hash(value)) return std::nullopt;
  text_.remove_prefix(kFrameHead + size);
  return value;
}

Result<SegmentReader> SegmentReader::Open(std::string_view text) {
  if (!text.starts_with(kHead)) return DataLoss("it is no segment of history");
  SegmentReader segment(text.substr(kHead.size()));
  auto frame = segment.NextFrame();
  if (!frame) return DataLoss("the start of the segment is damaged");
  BinaryReader reader(*frame);
  reader.Read(segment.start_.version, segment.start_.schema);
  if (reader.ok() && segment.start_.schema != Schema()) {
    return FailedPrecondition("the segment was written by version " + segment.start_.version +
                                  " in a form that this one does not read",
                              "use the program that wrote it");
  }
  reader.Read(segment.start_.continues, segment.start_.at, segment.start_.state);
  if (!reader.done()) return DataLoss("the start of the segment is damaged");
  return segment;
}

std::optional<Batch> SegmentReader::Next() {
  const std::string_view before = text_;
  auto frame = NextFrame();
  if (!frame) return std::nullopt;
  BinaryReader reader(*frame);
  auto batch = reader.Take<Batch>();
  if (reader.done()) return batch;
  text_ = before;
  return std::nullopt;
}

}  // namespace cyxwiz::history
