#include "data/idx.h"

#include <algorithm>
#include <cstdio>

#include "base/resources.h"
#include "data/array_rows.h"
#include "data/raw.h"

namespace cyxwiz::data {
namespace {

struct Header {
  std::vector<int64_t> dims;
  int64_t values = 0;
  int64_t header_bytes = 0;

  int64_t total_bytes() const { return header_bytes + values; }
};

std::string Hex(const unsigned char* bytes, size_t count) {
  std::string text;
  char digits[4];
  for (size_t i = 0; i < count; ++i) {
    std::snprintf(digits, sizeof digits, i == 0 ? "%02x" : " %02x", bytes[i]);
    text += digits;
  }
  return count == 0 ? "an empty file" : text;
}

std::string TypeName(unsigned char type) {
  switch (type) {
    case 0x09:
      return "signed bytes (0x09)";
    case 0x0B:
      return "16-bit integers (0x0b)";
    case 0x0C:
      return "32-bit integers (0x0c)";
    case 0x0D:
      return "32-bit floats (0x0d)";
    case 0x0E:
      return "64-bit floats (0x0e)";
    default:
      return "type 0x" + Hex(&type, 1);
  }
}

// Reads and checks the header, and the file's size against it.
Fault ReadHeader(ByteSource* source, bool labels, Header* header) {
  const std::string file = "'" + source->path() + "'";
  unsigned char magic[4];
  size_t got = 0;
  RETURN_IF_FAULT(source->Read(magic, sizeof magic, &got));
  if (got < sizeof magic || magic[0] != 0 || magic[1] != 0) {
    return Wrong(file + " is not an IDX file", "its first bytes to be 00 00 08", Hex(magic, got));
  }
  if (magic[2] != 0x08) {
    return Wrong("IDX file " + file + " holds values of a type that is not read",
                 "unsigned bytes (0x08)", TypeName(magic[2]));
  }
  int rank = magic[3];
  if (labels ? rank != 1 : rank < 2 || rank > 4) {
    return Wrong("IDX file " + file + " has the wrong number of dimensions for " +
                     (labels ? "labels" : "images"),
                 labels ? "1" : "2, 3 or 4", std::to_string(rank),
                 labels == (rank == 1) ? "" : "are images and labels swapped?");
  }
  unsigned char sizes[16];
  size_t size_bytes = static_cast<size_t>(rank) * 4;
  RETURN_IF_FAULT(source->Read(sizes, size_bytes, &got));
  if (got < size_bytes) {
    return Wrong("IDX file " + file + " ends within its header",
                 std::to_string(4 + size_bytes) + " bytes of header",
                 Count(4 + static_cast<int64_t>(got), "byte"));
  }
  header->header_bytes = static_cast<int64_t>(4 + size_bytes);
  header->values = 1;
  const int64_t most = labels || source->compressed() ? kMaxIdxBytes : kMaxIdxValues;
  bool too_large = false;
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    const unsigned char* at = sizes + i * 4;
    int64_t dim =
        int64_t{at[0]} << 24 | int64_t{at[1]} << 16 | int64_t{at[2]} << 8 | int64_t{at[3]};
    header->dims.push_back(dim);
    // Divided, not multiplied: the product of two 32-bit numbers may not fit.
    too_large = too_large || (dim > 0 && header->values > most / dim);
    if (!too_large) header->values *= dim;
  }
  for (size_t i = 0; i < header->dims.size(); ++i) {
    if (header->dims[i] == 0) {
      return Wrong("IDX file " + file + " holds nothing", "every dimension to be at least 1",
                   ShapeText(header->dims));
    }
  }
  if (too_large) {
    return TooLarge("IDX file " + file + " is too large",
                    "at most " + FormatBytes(most) + " of values" +
                        (source->compressed() ? " that are compressed" : ""),
                    ShapeText(header->dims) + " values",
                    source->compressed() ? "unpack it with gunzip" : "");
  }
  if (!source->CanHold(header->total_bytes())) {
    return Wrong("IDX file " + file + " is cut off",
                 Count(header->total_bytes(), "byte") + " as its header declares (" +
                     ShapeText(header->dims) + ")",
                 Count(source->file_bytes(), source->compressed() ? "compressed byte" : "byte"),
                 "copy or download the file again");
  }
  if (!source->compressed() && source->file_bytes() > header->total_bytes()) {
    return Wrong("IDX file " + file + " goes on after its last value",
                 Count(header->total_bytes(), "byte") + " as its header declares (" +
                     ShapeText(header->dims) + ")",
                 Count(source->file_bytes(), "byte"));
  }
  return {};
}

// Reads the values in pieces of up to `chunk` bytes, each to where room(size) says, and checks that
// there are exactly as many as the header declares.
template <typename Room>
Fault ReadValues(ByteSource* source, const Header& header, size_t chunk, Room room) {
  int64_t left = header.values;
  while (left > 0) {
    size_t want = static_cast<size_t>(std::min<int64_t>(left, static_cast<int64_t>(chunk)));
    size_t got = 0;
    Fault fault = source->Read(room(want), want, &got);
    left -= static_cast<int64_t>(got);
    if (fault.ok() && got == want) continue;
    int64_t found = header.total_bytes() - left;
    if (fault.ok()) {
      fault = Wrong("IDX file '" + source->path() + "' is cut off", "", "",
                    "copy or download the file again");
    }
    if (fault.code != Code::kInvalidArgument) return fault;
    fault.expected = Count(header.total_bytes(), "byte") + " as its header declares (" +
                     ShapeText(header.dims) + ")";
    fault.found = Count(found, "byte") + (fault.found.empty() ? "" : ", then " + fault.found);
    return fault;
  }
  unsigned char beyond;
  size_t got = 0;
  RETURN_IF_FAULT(source->Read(&beyond, 1, &got));
  if (got == 0) return {};
  return Wrong("IDX file '" + source->path() + "' goes on after its last value",
               Count(header.total_bytes(), "byte") + " as its header declares (" +
                   ShapeText(header.dims) + ")",
               "at least one more");
}

Fault ReadAll(ByteSource* source, const Header& header, std::vector<uint8_t>* values) {
  // Memory is reserved at once but touched only as the values arrive.
  values->reserve(static_cast<size_t>(header.values));
  return ReadValues(source, header, 1 << 20, [&](size_t size) {
    values->resize(values->size() + size);
    return values->data() + values->size() - size;
  });
}

Fault CheckLength(ByteSource* source, const Header& header) {
  if (!source->compressed() || source->TrailerSays(header.total_bytes())) return {};
  std::vector<uint8_t> buffer(256 << 10);
  return ReadValues(source, header, buffer.size(), [&](size_t) { return buffer.data(); });
}

// Everything but the values of the images; `images` stands at their first one.
Fault ReadPart(const IdxFiles& files, ByteSource* images, Header* image_header, IdxPart* part,
               std::vector<uint8_t>* labels) {
  RETURN_IF_FAULT(images->Open(files.images));
  RETURN_IF_FAULT(ReadHeader(images, false, image_header));
  ByteSource label_source;
  Header label_header;
  RETURN_IF_FAULT(label_source.Open(files.labels));
  RETURN_IF_FAULT(ReadHeader(&label_source, true, &label_header));
  if (label_header.dims[0] != image_header->dims[0]) {
    return Wrong("'" + files.images + "' and '" + files.labels + "' do not belong together",
                 "one label for each of the " + Count(image_header->dims[0], "image"),
                 Count(label_header.dims[0], "label"));
  }
  RETURN_IF_FAULT(ReadAll(&label_source, label_header, labels));
  part->samples = image_header->dims[0];
  part->sample_shape.assign(image_header->dims.begin() + 1, image_header->dims.end());
  if (part->sample_shape.size() == 2) part->sample_shape.insert(part->sample_shape.begin(), 1);
  part->stays = !images->compressed();
  part->classes = int64_t{*std::max_element(labels->begin(), labels->end())} + 1;
  return {};
}

}  // namespace

Fault InspectIdx(const IdxFiles& files, IdxPart* part) {
  ByteSource images;
  Header header;
  std::vector<uint8_t> labels;
  RETURN_IF_FAULT(ReadPart(files, &images, &header, part, &labels));
  return CheckLength(&images, header);
}

Fault LoadIdx(const IdxFiles& files, IdxPart* part, Split* split) {
  ByteSource images;
  Header header;
  std::vector<uint8_t> labels;
  RETURN_IF_FAULT(ReadPart(files, &images, &header, part, &labels));
  split->samples = part->samples;
  split->labels = std::vector<int64_t>(labels.begin(), labels.end());
  if (!part->stays) {
    std::vector<uint8_t> pixels;
    RETURN_IF_FAULT(ReadAll(&images, header, &pixels));
    split->features = std::move(pixels);
    return {};
  }
  ArraySource array;
  array.place = "IDX file '" + files.images + "'";
  array.type = ElementType::kUint8;
  array.shape = header.dims;
  array.file = files.images;
  array.offset = header.header_bytes;
  return LeaveInFile(array, split);
}

}  // namespace cyxwiz::data
