#include "data/text.h"

#include <utility>
#include <vector>

#include "base/resources.h"
#include "data/byte_source.h"

namespace cyxwiz::data {
namespace {

// *text may be null: then only how long it is counts.
Fault ReadAll(ByteSource* source, std::vector<uint8_t>* text) {
  constexpr size_t kChunkBytes = 1 << 20;
  std::vector<uint8_t> chunk(kChunkBytes);
  if (text != nullptr && !source->compressed()) {
    text->reserve(static_cast<size_t>(source->file_bytes()));
  }
  for (size_t got = kChunkBytes; got == kChunkBytes;) {
    RETURN_IF_FAULT(source->Read(chunk.data(), kChunkBytes, &got));
    if (source->bytes_read() > kMaxTextBytes) break;
    if (text != nullptr) {
      text->insert(text->end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(got));
    }
  }
  return {};
}

}  // namespace

Fault ReadText(const std::string& path, int64_t sequence_length, Raw* raw) {
  Dataset* dataset = raw->dataset;
  ByteSource source;
  RETURN_IF_FAULT(source.Open(path));
  std::vector<uint8_t> text;
  int64_t bytes = source.file_bytes();
  if (bytes <= kMaxTextBytes && (dataset != nullptr || source.compressed())) {
    RETURN_IF_FAULT(ReadAll(&source, dataset != nullptr ? &text : nullptr));
    bytes = source.bytes_read();
  }
  if (bytes > kMaxTextBytes) {
    return TooLarge("text file '" + path + "' is too large to be kept in memory",
                    "at most " + FormatBytes(kMaxTextBytes) + " of text",
                    source.compressed() ? "more" : FormatBytes(bytes));
  }
  // The last byte of the last window has a label too.
  const int64_t windows = (bytes - 1) / sequence_length;
  if (bytes == 0 || windows == 0) {
    return Wrong("text file '" + path + "' is too short",
                 Count(sequence_length + 1, "byte") + " for one sequence", Count(bytes, "byte"),
                 "use a smaller sequence_length");
  }
  spec::DatasetInfo& info = raw->info;
  info.sample_shape = info.label_shape = {sequence_length};
  info.train_samples = windows;
  info.classes = kTextClasses;
  raw->format = "text, sequences of " + Count(sequence_length, "byte");
  raw->value_bytes = raw->label_bytes = 1;
  if (dataset == nullptr) return {};
  const std::ptrdiff_t used = static_cast<std::ptrdiff_t>(windows * sequence_length);
  Split& split = dataset->train;
  split.samples = windows;
  split.scale.divisor = 1;
  split.labels = std::vector<uint8_t>(text.begin() + 1, text.begin() + 1 + used);
  text.resize(static_cast<size_t>(used));
  split.features = std::move(text);
  return {};
}

}  // namespace cyxwiz::data
