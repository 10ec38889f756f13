#include "data/npy.h"

#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "data/zip.h"

namespace cyxwiz::data {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;

// Reads the header's dict: just what NumPy writes, in any order.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  // False when it is anything else.
  bool Parse() {
    if (!Take('{')) return false;
    while (!Take('}')) {
      auto key = Text();
      if (!key || !Take(':')) return false;
      if (*key == "descr" && !descr) {
        auto value = Text();
        if (!value) return false;
        descr = std::string(*value);
      } else if (*key == "fortran_order" && !fortran_order) {
        fortran_order = TakeWord("True");
        if (!*fortran_order && !TakeWord("False")) return false;
      } else if (*key == "shape" && !shape) {
        if (!ParseShape()) return false;
      } else {
        return false;
      }
      if (!Take(',') && !Peek('}')) return false;
    }
    SkipBlanks();
    return rest_.empty() && descr && fortran_order && shape;
  }

  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;

 private:
  void SkipBlanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
  }
  bool Peek(char c) {
    SkipBlanks();
    return !rest_.empty() && rest_[0] == c;
  }
  bool Take(char c) {
    if (!Peek(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    SkipBlanks();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::optional<std::string_view> Text() {
    if (!Peek('\'') && !Peek('"')) return std::nullopt;
    const size_t end = rest_.find(rest_[0], 1);
    if (end == rest_.npos) return std::nullopt;
    std::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool ParseShape() {
    if (!Take('(')) return false;
    shape.emplace();
    while (!Take(')')) {
      SkipBlanks();
      const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      auto dim = ParseInt(rest_.substr(0, digits));
      if (!dim || shape->size() == kMaxArrayRank) return false;
      shape->push_back(*dim);
      rest_.remove_prefix(digits);
      if (!Take(',') && !Peek(')')) return false;
    }
    return true;
  }

  std::string_view rest_;
};

std::optional<ElementType> TypeOf(std::string_view descr) {
  if (descr == "|u1" || descr == "<u1" || descr == "u1") return ElementType::kUint8;
  if (descr == "<i4") return ElementType::kInt32;
  if (descr == "<i8") return ElementType::kInt64;
  if (descr == "<f4") return ElementType::kFloat32;
  if (descr == "<f8") return ElementType::kFloat64;
  return std::nullopt;
}

Fault CutOffHeader(const ArraySource& array, size_t got) {
  return Wrong(array.place + " ends within its header", "a NumPy header",
               Count(static_cast<int64_t>(got), "byte"), "copy or write the file again");
}

}  // namespace

Fault ReadNpyHeader(ArraySource* array) {
  unsigned char start[12];
  size_t got = 0;
  RETURN_IF_FAULT(array->bytes->Read(start, 10, &got));
  if (got < 8 || std::memcmp(start, "\x93NUMPY", 6) != 0) {
    return Wrong(array->place + " is not a NumPy array", "its first bytes to be \\x93NUMPY",
                 "'" + Shown({reinterpret_cast<char*>(start), std::min<size_t>(got, 6)}) + "'",
                 "write it with numpy.save");
  }
  if (got < 10) return CutOffHeader(*array, got);
  if (start[6] < 1 || start[6] > 3 || start[7] != 0) {
    return Wrong(array->place + " has an unknown version", "1.0, 2.0 or 3.0",
                 std::to_string(start[6]) + "." + std::to_string(start[7]));
  }
  int64_t header_bytes = 10;
  size_t size = start[8] | static_cast<size_t>(start[9]) << 8;
  if (start[6] > 1) {
    RETURN_IF_FAULT(array->bytes->Read(start + 10, 2, &got));
    if (got < 2) return CutOffHeader(*array, 10 + got);
    size |= static_cast<size_t>(start[10]) << 16 | static_cast<size_t>(start[11]) << 24;
    header_bytes = 12;
  }
  if (size > kMaxHeaderBytes) {
    return TooLarge(array->place + " has too large a header",
                    "at most " + std::to_string(kMaxHeaderBytes) + " bytes", std::to_string(size));
  }
  std::string text(size, '\0');
  RETURN_IF_FAULT(array->bytes->Read(text.data(), size, &got));
  header_bytes += static_cast<int64_t>(size);
  if (got < size) return CutOffHeader(*array, got);
  HeaderParser header(text);
  if (!header.Parse()) {
    return Wrong(array->place + " has a header that is not read",
                 "{'descr': ..., 'fortran_order': False, 'shape': (...)} of at most " +
                     std::to_string(kMaxArrayRank) + " dimensions",
                 "'" + Shown(text, 200) + "'", "structured arrays are not read");
  }
  auto type = TypeOf(*header.descr);
  if (!type) {
    return Wrong(array->place + " holds elements of a type that is not read",
                 "u1, i4, i8, f4 or f8, little endian", "'" + Shown(*header.descr) + "'",
                 "convert it: array.astype('<f4')");
  }
  if (*header.fortran_order) {
    return Wrong(array->place + " is in Fortran order", "C order (rows first)", "Fortran order",
                 "convert it: numpy.ascontiguousarray(array)");
  }
  array->type = *type;
  array->shape = *header.shape;
  int64_t values = 0;
  RETURN_IF_FAULT(CountElements(array->place, array->shape, &values));
  const int64_t bytes = values * SizeOf(array->type);
  array->offset += header_bytes;
  if (array->bytes->CanHold(header_bytes + bytes)) return {};
  return Wrong(array->place + " is cut off",
               Count(header_bytes + bytes, "byte") + " as its header declares (" +
                   ShapeText(array->shape) + ")",
               "less", "copy or write the file again");
}

Fault CheckEnd(const ArraySource& array, int64_t end) {
  int64_t values = 0;
  RETURN_IF_FAULT(CountElements(array.place, array.shape, &values));
  const int64_t bytes = values * SizeOf(array.type), found = end - array.offset;
  if (found == bytes) return {};
  return Wrong(array.place + " goes on after its last value",
               Count(bytes, "byte") + " of values (" + ShapeText(array.shape) + ")",
               std::to_string(found));
}

Fault OpenNpy(const std::string& path, ArraySource* array) {
  auto source = std::make_unique<ByteSource>();
  RETURN_IF_FAULT(source->Open(path));
  const int64_t file_bytes = source->file_bytes();
  array->place = "NPY file '" + path + "'";
  if (!source->compressed()) array->file = path;
  array->bytes = std::move(source);
  RETURN_IF_FAULT(ReadNpyHeader(array));
  return array->file.empty() ? Fault() : CheckEnd(*array, file_bytes);
}

Fault OpenNpz(const std::string& path, const std::string& name, ArraySource* array) {
  array->place = "NPZ file '" + path + "', array '" + Shown(name, 100) + "',";
  ZipMember member;
  RETURN_IF_FAULT(OpenZipMember(path, name + ".npy", &member));
  array->bytes = std::move(member.reader);
  if (!member.stored) return ReadNpyHeader(array);
  array->file = path;
  array->offset = member.offset;
  RETURN_IF_FAULT(ReadNpyHeader(array));
  return CheckEnd(*array, member.offset + member.bytes);
}

}  // namespace cyxwiz::data
