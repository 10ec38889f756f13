#include "data/npy_rows.h"

#include <algorithm>
#include <cstring>

#include "data/npy.h"
#include "spec/count.h"

namespace cyxwiz::data {
namespace {

class TextReader : public ByteReader {
 public:
  explicit TextReader(std::string_view text) : rest_(text), bytes_(text.size()) {}
  Fault Read(void* buffer, size_t size, size_t* got) override {
    *got = std::min(size, rest_.size());
    std::memcpy(buffer, rest_.data(), *got);
    rest_.remove_prefix(*got);
    return {};
  }
  bool CanHold(int64_t bytes) const override { return static_cast<int64_t>(bytes_) >= bytes; }

 private:
  std::string_view rest_;
  const size_t bytes_;
};

const char* NameOf(ElementType type) {
  switch (type) {
    case ElementType::kUint8:
      return "u1";
    case ElementType::kInt32:
      return "i4";
    case ElementType::kInt64:
      return "i8";
    case ElementType::kFloat32:
      return "f4";
    case ElementType::kFloat64:
      return "f8";
  }
  return "";
}

}  // namespace

Fault InspectNpy(std::string_view content, const std::string& name, NpyContent* array) {
  ArraySource source;
  source.place = "array '" + name + "'";
  source.bytes = std::make_unique<TextReader>(content);
  RETURN_IF_FAULT(ReadNpyHeader(&source));
  RETURN_IF_FAULT(CheckEnd(source, static_cast<int64_t>(content.size())));
  *array = {source.type, std::move(source.shape), static_cast<size_t>(source.offset)};
  return {};
}

Fault NpyRows::Decode(std::string_view content, const std::string& name, uint8_t* out) const {
  NpyContent array;
  RETURN_IF_FAULT(InspectNpy(content, name, &array));
  if (array.type != type_ || array.shape != shape_) {
    return Wrong("array '" + name + "' is not as the first",
                 std::string(NameOf(type_)) + " of " + ShapeText(shape_),
                 std::string(NameOf(array.type)) + " of " + ShapeText(array.shape),
                 "write all samples with one type and shape");
  }
  const char* values = content.data() + array.values;
  const int64_t count = spec::ElementCount(shape_);
  if (type_ == ElementType::kUint8) {
    std::memcpy(out, values, static_cast<size_t>(count));
    return {};
  }
  return ToFloats("array '" + name + "'", type_, values, count, 0, count,
                  reinterpret_cast<float*>(out));
}

}  // namespace cyxwiz::data
