#include "base/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <set>

#include "base/file.h"
#include "base/json.h"

namespace cyxwiz {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  DataType type;
  const char* name;
  size_t bytes;
};
constexpr TypeName kTypes[] = {
    {DataType::kFloat32, "F32", 4}, {DataType::kInt64, "I64", 8}, {DataType::kUint8, "U8", 1}};

const TypeName& Find(DataType type) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes),
                       [&](const TypeName& t) { return t.type == type; });
}
size_t BytesOf(DataType type) { return Find(type).bytes; }
const char* NameOf(DataType type) { return Find(type).name; }

Result<std::string> EncodeHeader(const std::vector<TensorView>& tensors,
                                 const std::map<std::string, std::string>& metadata) {
  // Ordered, so that the header lists the tensors in the order of their data.
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  int64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    if (tensor.name.empty() || header.contains(tensor.name) || tensor.name == kMetadataKey) {
      return InvalidArgument("tensor name '" + tensor.name +
                             "' is empty, reserved or used twice: each tensor needs its own name");
    }
    header[tensor.name] = {{"dtype", NameOf(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((8 + text.size() + 63) / 64 * 64 - 8, ' ');
  uint64_t size = text.size();
  std::string encoded(8, '\0');
  std::memcpy(encoded.data(), &size, 8);
  return encoded + text;
}

Status WriteParts(const std::string& path, const std::string& header,
                  const std::vector<TensorView>& tensors) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return ErrnoStatus("cannot create '" + path + "'", errno);
  RETURN_IF_ERROR(WriteAll(fd.get(), header));
  for (const TensorView& tensor : tensors) {
    RETURN_IF_ERROR(WriteAll(
        fd.get(), {static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes())}));
  }
  if (::fsync(fd.get()) != 0) return ErrnoStatus("cannot fsync '" + path + "'", errno);
  return OkStatus();
}

Status Broken(const std::string& path, const std::string& what) {
  return DataLoss("'" + path + "' is not a safetensors file: " + what);
}

// One entry of the header; its offsets are checked against the data by the caller.
Result<SafetensorsFile::Entry> ParseEntry(const std::string& path, const std::string& name,
                                          const Json& json) {
  const std::string of = " of tensor '" + name + "'";
  if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string() ||
      !json.contains("shape") || !json["shape"].is_array() || !json.contains("data_offsets") ||
      !json["data_offsets"].is_array() || json["data_offsets"].size() != 2) {
    return Broken(path, "entry '" + name + "' needs dtype, shape and two data_offsets");
  }
  SafetensorsFile::Entry entry;
  std::string type = json["dtype"].get<std::string>();
  const TypeName* known = std::find_if(std::begin(kTypes), std::end(kTypes),
                                       [&](const TypeName& t) { return t.name == type; });
  if (known == std::end(kTypes)) {
    return Unimplemented("'" + path + "': dtype '" + type + "'" + of + ": expected F32, I64 or U8");
  }
  entry.type = known->type;
  uint64_t bytes = BytesOf(entry.type);
  for (const Json& dimension : json["shape"]) {
    if (!dimension.is_number_unsigned())
      return Broken(path, "shape" + of + " is not whole numbers");
    uint64_t n = dimension.get<uint64_t>();
    if (n > INT64_MAX || __builtin_mul_overflow(bytes, n, &bytes)) {
      return Broken(path, "shape" + of + " is too large");
    }
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  const Json& offsets = json["data_offsets"];
  if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    return Broken(path, "data_offsets" + of + " are not whole numbers");
  }
  uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (end < begin || end - begin != bytes) {
    return Broken(path, "data_offsets" + of + " are " + std::to_string(begin) + " to " +
                            std::to_string(end) + ", its shape needs " + std::to_string(bytes) +
                            " bytes");
  }
  entry.begin = begin;
  entry.end = end;
  return entry;
}

}  // namespace

int64_t TensorView::bytes() const {
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  return count * static_cast<int64_t>(BytesOf(type));
}

Status WriteSafetensors(const std::string& path, const std::vector<TensorView>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  ASSIGN_OR_RETURN(std::string header, EncodeHeader(tensors, metadata));
  std::string temporary = path + ".new." + std::to_string(::getpid());
  Status written = WriteParts(temporary, header, tensors);
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = ErrnoStatus("cannot rename to '" + path + "'", errno);
  }
  if (!written.ok()) {
    ::unlink(temporary.c_str());
    return written;
  }
  std::string folder = std::filesystem::path(path).parent_path().string();
  UniqueFd dir(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0) return ErrnoStatus("cannot fsync '" + folder + "'", errno);
  return OkStatus();
}

Result<SafetensorsFile> ReadSafetensors(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(std::string content, ReadFile(path, max_bytes));
  if (content.size() < 8) return Broken(path, "it ends within its first 8 bytes");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), 8);
  if (header_bytes > kMaxSafetensorsHeaderBytes || header_bytes > content.size() - 8) {
    return Broken(path, "its header claims " + std::to_string(header_bytes) +
                            " bytes, the file has " + std::to_string(content.size() - 8));
  }
  std::string_view text(content.data() + 8, header_bytes);
  if (text.empty() || text.front() != '{')
    return Broken(path, "its header does not begin with '{'");
  Result<Json> header = ParseJson(text, "header");
  if (!header.ok()) return Broken(path, header.status().message());

  SafetensorsFile file;
  std::vector<std::pair<size_t, size_t>> ranges;
  for (const auto& [name, json] : header->items()) {
    if (name == kMetadataKey) {
      if (!json.is_object()) return Broken(path, "__metadata__ is not an object");
      for (const auto& [key, value] : json.items()) {
        if (!value.is_string()) return Broken(path, "__metadata__ '" + key + "' is not text");
        file.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    ASSIGN_OR_RETURN(SafetensorsFile::Entry entry, ParseEntry(path, name, json));
    ranges.emplace_back(entry.begin, entry.end);
    file.entries[name] = std::move(entry);
  }
  content.erase(0, 8 + header_bytes);
  std::sort(ranges.begin(), ranges.end());
  size_t covered = 0;
  for (auto [begin, end] : ranges) {
    if (begin != covered) return Broken(path, "its tensors overlap or leave a gap");
    covered = end;
  }
  if (covered != content.size()) {
    return Broken(path, "its tensors fill " + std::to_string(covered) + " bytes, the file has " +
                            std::to_string(content.size()));
  }
  file.data = std::move(content);
  return file;
}

}  // namespace cyxwiz
