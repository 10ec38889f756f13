#include "data/arrays.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/resources.h"
#include "data/array_rows.h"
#include "data/fault.h"

namespace cyxwiz::data {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int64_t kMostWhole = 1 << 24;  // whole numbers up to it are exact in 32-bit floats
constexpr size_t kChunkBytes = 1 << 20;

Fault CutOff(const ArraySource& array, int64_t expected, int64_t found) {
  return Wrong(array.place + " is cut off",
               Count(expected, "byte") + " of values (" + ShapeText(array.shape) + ")",
               Count(found, "byte"), "copy or write the file again");
}

// Reads the first `some` of `bytes` bytes in chunks and gives each to use(chunk, bytes).
template <typename Use>
Fault ReadFirst(ArraySource* array, int64_t some, int64_t bytes, Use use) {
  std::vector<char> buffer(kChunkBytes);
  for (int64_t left = some; left > 0;) {
    const size_t want = static_cast<size_t>(std::min<int64_t>(left, kChunkBytes));
    size_t got = 0;
    RETURN_IF_FAULT(array->bytes->Read(buffer.data(), want, &got));
    if (got < want) return CutOff(*array, bytes, some - left + static_cast<int64_t>(got));
    RETURN_IF_FAULT(use(buffer.data(), want));
    left -= static_cast<int64_t>(want);
  }
  return {};
}

// Reads all of the `bytes` bytes so, and checks that nothing follows.
template <typename Use>
Fault ReadChunks(ArraySource* array, int64_t bytes, Use use) {
  RETURN_IF_FAULT(ReadFirst(array, bytes, bytes, use));
  char beyond;
  size_t got = 0;
  RETURN_IF_FAULT(array->bytes->Read(&beyond, 1, &got));
  if (got == 0) return {};
  return Wrong(array->place + " goes on after its last value",
               Count(bytes, "byte") + " of values (" + ShapeText(array->shape) + ")",
               "at least one more");
}

// Calls use(value) with each value as it is stored.
template <typename T, typename Use>
Fault ReadValues(ArraySource* array, int64_t values, Use use) {
  return ReadChunks(array, values * static_cast<int64_t>(sizeof(T)),
                    [&](const char* chunk, size_t bytes) -> Fault {
                      for (size_t at = 0; at < bytes; at += sizeof(T)) {
                        T value;
                        std::memcpy(&value, chunk + at, sizeof value);
                        RETURN_IF_FAULT(use(value));
                      }
                      return {};
                    });
}

// Calls read.template operator()<T>() for the type of the elements.
template <typename Read>
Fault WithType(ElementType type, Read read) {
  switch (type) {
    case ElementType::kUint8:
      return read.template operator()<uint8_t>();
    case ElementType::kInt32:
      return read.template operator()<int32_t>();
    case ElementType::kInt64:
      return read.template operator()<int64_t>();
    case ElementType::kFloat32:
      return read.template operator()<float>();
    case ElementType::kFloat64:
      return read.template operator()<double>();
  }
  return {};
}

// "NPY file 'x', row 3, column 17": counted from 1, as lines and columns are.
std::string Where(const std::string& place, int64_t value, int64_t width) {
  std::string where =
      place + (place.ends_with(',') ? " row " : ", row ") + std::to_string(value / width + 1);
  return width == 1 ? where : where + ", column " + std::to_string(value % width + 1);
}

// Whether a value is the same as a float, or nearly; *out is that.
template <typename T>
bool ToFloat(T value, float* out) {
  *out = static_cast<float>(value);
  if constexpr (std::is_floating_point_v<T>) return std::isfinite(*out);
  return static_cast<int64_t>(value) >= -kMostWhole && static_cast<int64_t>(value) <= kMostWhole;
}

// Of value `index` of an array of `width` values a row.
template <typename T>
Fault NoFloat(const std::string& place, int64_t index, int64_t width, T value) {
  if constexpr (std::is_floating_point_v<T>) {
    return Wrong(Where(place, index, width) + " is not a number that fits a 32-bit float",
                 "a finite number up to 3.4e38", std::to_string(value));
  } else {
    return Wrong(Where(place, index, width) + " is too large to be exact as a 32-bit float",
                 "whole numbers from -16777216 to 16777216", std::to_string(value),
                 "write the array as floats");
  }
}

template <typename T>
Fault ConvertAll(const std::string& place, const char* stored, int64_t count, int64_t first,
                 int64_t width, float* out) {
  auto at = [&](int64_t i) {
    T value;
    std::memcpy(&value, stored + i * static_cast<int64_t>(sizeof value), sizeof value);
    return value;
  };
  bool right = true;
  for (int64_t i = 0; i < count; ++i) {
    const T value = at(i);
    right &= ToFloat(value, &out[i]);
  }
  // Floats stand where they were, whole numbers elsewhere.
  for (int64_t i = 0; !right && i < count; ++i) {
    float ignored = 0;
    if (!ToFloat(at(i), &ignored)) return NoFloat(place, first + i, width, at(i));
  }
  return {};
}

// Of features that are not plain in a file, into memory.
Fault ReadFeatures(ArraySource* array, int64_t values, Split* split) {
  const int64_t bytes = values * SizeOf(array->type);
  if (array->type == ElementType::kUint8) {
    std::vector<uint8_t> list;
    list.reserve(static_cast<size_t>(values));
    RETURN_IF_FAULT(ReadChunks(array, bytes, [&](const char* chunk, size_t size) -> Fault {
      list.insert(list.end(), chunk, chunk + size);
      return {};
    }));
    split->features = std::move(list);
    return {};
  }
  const int64_t width = values / array->shape[0];
  // Memory is reserved at once but touched only as the values arrive.
  std::vector<float> floats;
  floats.reserve(static_cast<size_t>(values));
  RETURN_IF_FAULT(ReadChunks(array, bytes, [&](const char* chunk, size_t size) {
    const size_t before = floats.size();
    floats.resize(before + size / static_cast<size_t>(SizeOf(array->type)));
    return ToFloats(array->place, array->type, chunk, static_cast<int64_t>(floats.size() - before),
                    static_cast<int64_t>(before), width, floats.data() + before);
  }));
  split->features = std::move(floats);
  return {};
}

// Of features that are only looked at.
Fault LookAtFeatures(ArraySource* array, int64_t values, spec::DatasetInfo::Seen* seen) {
  const int64_t size = SizeOf(array->type), width = values / array->shape[0];
  std::vector<float> floats(kChunkBytes / static_cast<size_t>(size));
  seen->least = std::numeric_limits<double>::infinity();
  seen->greatest = -seen->least;
  int64_t first = 0;
  auto look = [&](const char* chunk, size_t bytes) -> Fault {
    const int64_t count = static_cast<int64_t>(bytes) / size;
    RETURN_IF_FAULT(ToFloats(array->place, array->type, chunk, count, first, width, floats.data()));
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      const double value = static_cast<double>(floats[i]);
      seen->least = std::min(seen->least, value);
      seen->greatest = std::max(seen->greatest, value);
      if (value != std::floor(value)) seen->fraction = value;
    }
    first += count;
    return {};
  };
  return ReadFirst(array, std::min(values, kCheckedArrayBytes / size) * size, values * size, look);
}

// Fills in classes, or of numbers their range. Where only is looked (split is null), none is kept.
Fault ReadLabels(ArraySource* array, int64_t values, spec::DatasetInfo* info, Split* split) {
  const bool whole = array->type != ElementType::kFloat32 && array->type != ElementType::kFloat64;
  std::vector<int64_t> numbers;
  std::vector<float> floats;
  bool in_range = whole;
  int64_t most = 0, place = 0;
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  Fault inexact;  // of whole numbers that cannot be targets; no fault while they are classes
  RETURN_IF_FAULT(WithType(array->type, [&]<typename T>() {
    return ReadValues<T>(array, values, [&](T value) -> Fault {
      float number = 0;
      const bool exact = ToFloat(value, &number);
      least = std::min(least, static_cast<double>(value));
      greatest = std::max(greatest, static_cast<double>(value));
      if constexpr (std::is_integral_v<T>) {
        const int64_t label = static_cast<int64_t>(value);
        in_range = in_range && label >= 0 && label < kMaxArrayClasses;
        most = std::max(most, label);
        // Only the first is worth a message.
        if (!exact && inexact.ok()) inexact = NoFloat(array->place, place, 1, value);
        if (split != nullptr) numbers.push_back(label);
      } else {
        if (!exact) return NoFloat(array->place, place, 1, value);
        if (split != nullptr) floats.push_back(number);
      }
      ++place;
      return {};
    });
  }));
  info->classes = in_range ? most + 1 : 0;
  if (!in_range && !inexact.ok()) return inexact;
  if (!in_range) info->label_range = {least, greatest};
  if (split == nullptr) return {};
  if (in_range) {
    split->labels = std::move(numbers);
  } else {
    for (int64_t number : numbers) floats.push_back(static_cast<float>(number));
    split->labels = std::move(floats);
  }
  return {};
}

}  // namespace

int64_t SizeOf(ElementType type) {
  switch (type) {
    case ElementType::kUint8:
      return 1;
    case ElementType::kInt32:
    case ElementType::kFloat32:
      return 4;
    case ElementType::kInt64:
    case ElementType::kFloat64:
      return 8;
  }
  return 8;
}

Fault CountElements(const std::string& place, const std::vector<int64_t>& shape, int64_t* values) {
  if (shape.empty() || shape.size() > kMaxArrayRank) {
    return Wrong(place + " has the wrong number of dimensions",
                 "1 to " + std::to_string(kMaxArrayRank), std::to_string(shape.size()));
  }
  *values = 1;
  for (int64_t dim : shape) {
    if (dim < 1) {
      return Wrong(place + " holds nothing", "every dimension to be at least 1", ShapeText(shape));
    }
    // Divided, not multiplied: the product may not fit.
    if (*values > kMaxArrayValues / dim) {
      return TooLarge(place + " is too large",
                      "at most " + std::to_string(kMaxArrayValues) + " values",
                      ShapeText(shape) + " values");
    }
    *values *= dim;
  }
  return {};
}

Fault ToFloats(const std::string& place, ElementType type, const char* stored, int64_t count,
               int64_t first, int64_t width, float* out) {
  return WithType(
      type, [&]<typename T>() { return ConvertAll<T>(place, stored, count, first, width, out); });
}

Fault ReadArrays(ArraySource features, ArraySource labels, int64_t stream_bytes, Raw* raw) {
  int64_t values = 0, label_values = 0;
  RETURN_IF_FAULT(CountElements(features.place, features.shape, &values));
  RETURN_IF_FAULT(CountElements(labels.place, labels.shape, &label_values));
  const bool bytes = features.type == ElementType::kUint8, stays = !features.file.empty();
  if (!stays && values > kMaxArrayBytes / (bytes ? 1 : 4)) {
    return TooLarge(features.place + " is too large to be kept in memory",
                    "at most " + FormatBytes(kMaxArrayBytes) + (bytes ? "" : " as 32-bit floats") +
                        " of what is compressed",
                    ShapeText(features.shape) + " values",
                    "unpack it: what is not compressed is read when it is wanted");
  }
  if (label_values > kMaxArrayLabels) {
    return TooLarge(labels.place + " is too large",
                    "at most " + std::to_string(kMaxArrayLabels) + " labels",
                    ShapeText(labels.shape));
  }
  if (labels.shape[0] != features.shape[0]) {
    return Wrong(features.place + " and " + labels.place + " do not belong together",
                 "one label for each of the " + Count(features.shape[0], "sample"),
                 Count(labels.shape[0], "label"));
  }
  if (labels.shape.size() == 2 && labels.shape[1] == 1) labels.shape.pop_back();
  if (labels.shape.size() > 2) {
    return Wrong(labels.place + " has the wrong shape for labels",
                 "one label a sample, or a class for each position of a sequence",
                 ShapeText(labels.shape));
  }
  spec::DatasetInfo& info = raw->info;
  info.sample_shape.assign(features.shape.begin() + 1, features.shape.end());
  if (info.sample_shape.empty()) info.sample_shape = {1};
  info.train_samples = features.shape[0];
  raw->value_bytes = bytes ? 1 : 4;
  raw->stream_bytes = stream_bytes;
  info.can_stream = stays;
  Split* split = raw->dataset != nullptr ? &raw->dataset->train : nullptr;
  if (split != nullptr) {
    split->samples = info.train_samples;
    RETURN_IF_FAULT(stays ? LeaveInFile(features, split) : ReadFeatures(&features, values, split));
  } else if (!bytes) {
    RETURN_IF_FAULT(LookAtFeatures(&features, values, &info.seen.emplace()));
  }
  RETURN_IF_FAULT(ReadLabels(&labels, label_values, &info, split));
  info.label_shape.assign(labels.shape.begin() + 1, labels.shape.end());
  if (!info.label_shape.empty() && info.classes == 0) {
    return Wrong(labels.place + " holds several numbers for each sample",
                 "one number a sample, or classes: whole numbers from 0 to 65535",
                 ShapeText(labels.shape));
  }
  raw->label_bytes = info.classes > 0 ? 8 : 4;
  return {};
}

}  // namespace cyxwiz::data
