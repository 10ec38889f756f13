#include "data/safetensors_arrays.h"

#include <optional>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/resources.h"
#include "data/file_range.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kSizeBytes = 8;
constexpr int64_t kMaxHeaderBytes = 16 << 20;

std::optional<ElementType> TypeOf(const Json& name) {
  if (name == "U8") return ElementType::kUint8;
  if (name == "I32") return ElementType::kInt32;
  if (name == "I64") return ElementType::kInt64;
  if (name == "F32") return ElementType::kFloat32;
  if (name == "F64") return ElementType::kFloat64;
  return std::nullopt;
}

// Whether it is a whole number, from 0 to what int64_t holds.
bool IsCount(const Json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
}

bool AreCounts(const Json& values, size_t most) {
  if (!values.is_array() || values.size() > most) return false;
  for (const Json& value : values) {
    if (!IsCount(value)) return false;
  }
  return true;
}

std::string Names(const Json& header) {
  std::string names;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    if (names.size() > 200) return names + ", ...";
    names += (names.empty() ? "'" : ", '") + Shown(name) + "'";
  }
  return names.empty() ? "none" : names;
}

Fault ReadHeader(const FileRange& file, const std::string& place, Json* header,
                 int64_t* data_begin) {
  unsigned char size_bytes[kSizeBytes];
  size_t got = 0;
  RETURN_IF_FAULT(file.ReadAt(0, size_bytes, sizeof size_bytes, &got));
  uint64_t size = 0;
  for (size_t i = 0; i < sizeof size_bytes; ++i) size |= uint64_t{size_bytes[i]} << (8 * i);
  if (got < sizeof size_bytes || size > static_cast<uint64_t>(file.size() - kSizeBytes)) {
    return Wrong(place + " is not a safetensors file, or cut off",
                 "8 bytes that say how long its header is, and so much header",
                 Count(file.size(), "byte"), "copy or write the file again");
  }
  if (size > static_cast<uint64_t>(kMaxHeaderBytes)) {
    return TooLarge(place + " has too large a header", "at most " + FormatBytes(kMaxHeaderBytes),
                    FormatBytes(static_cast<int64_t>(size)));
  }
  std::string text(size, '\0');
  RETURN_IF_FAULT(file.ReadAt(kSizeBytes, text.data(), text.size(), &got));
  Result<Json> parsed = ParseJson(std::string_view(text).substr(0, got), "its header");
  if (!parsed.ok() || !parsed->is_object()) {
    return Wrong(place + " has a header that is not read", "a JSON object",
                 parsed.ok() ? "another value" : parsed.status().message());
  }
  *header = *std::move(parsed);
  *data_begin = kSizeBytes + static_cast<int64_t>(size);
  return {};
}

}  // namespace

Fault OpenSafetensor(const std::string& path, const std::string& name, ArraySource* array) {
  const std::string place = "safetensors file '" + path + "'";
  array->place = place + ", tensor '" + Shown(name, 100) + "',";
  auto file = std::make_unique<FileRange>();
  RETURN_IF_FAULT(file->Open(path));
  Json header;
  int64_t data_begin = 0;
  RETURN_IF_FAULT(ReadHeader(*file, place, &header, &data_begin));
  auto found = header.find(name);
  if (found == header.end() || name == "__metadata__") {
    return Wrong(place + " has no tensor '" + Shown(name, 100) + "'", "one of " + Names(header),
                 "none of that name", "name the tensors with features= and labels=");
  }
  const Json& entry = *found;
  const Json type_name = entry.is_object() ? entry.value("dtype", Json()) : Json();
  const Json shape = entry.is_object() ? entry.value("shape", Json()) : Json();
  const Json offsets = entry.is_object() ? entry.value("data_offsets", Json()) : Json();
  if (!type_name.is_string() || !AreCounts(shape, kMaxArrayRank) || !AreCounts(offsets, 2) ||
      offsets.size() != 2) {
    return Wrong(array->place + " has a header that is not read",
                 "dtype, shape of at most " + std::to_string(kMaxArrayRank) +
                     " dimensions, data_offsets of two numbers",
                 "'" + Shown(entry.dump(-1, ' ', true, Json::error_handler_t::replace), 200) + "'");
  }
  auto type = TypeOf(type_name);
  if (!type) {
    return Wrong(array->place + " holds elements of a type that is not read",
                 "U8, I32, I64, F32 or F64", "'" + Shown(type_name.get<std::string>()) + "'",
                 "convert the tensor to float32");
  }
  array->type = *type;
  array->shape = shape.get<std::vector<int64_t>>();
  int64_t values = 0;
  RETURN_IF_FAULT(CountElements(array->place, array->shape, &values));
  const int64_t begin = offsets[0].get<int64_t>(), end = offsets[1].get<int64_t>();
  const int64_t bytes = values * SizeOf(*type);
  if (begin > end || end > file->size() - data_begin || end - begin != bytes) {
    return Wrong(array->place + " does not lie in the file as its header declares",
                 Count(bytes, "byte") + " within the " + Count(file->size() - data_begin, "byte") +
                     " of data",
                 "bytes " + std::to_string(begin) + " to " + std::to_string(end));
  }
  array->file = path;
  array->offset = data_begin + begin;
  file->Narrow(array->offset, bytes);
  array->bytes = std::move(file);
  return {};
}

}  // namespace cyxwiz::data
