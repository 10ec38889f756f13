// Arrays of NumPy, a file each, as samples of one shape. Internal to src/data.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/arrays.h"
#include "data/sample_files.h"

namespace cyxwiz::data {

// What the array in `content` is, which `name` names in messages; *values: where its values begin,
// which lie within.
struct NpyContent {
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape;
  size_t values = 0;
};
Fault InspectNpy(std::string_view content, const std::string& name, NpyContent* array);

class NpyRows : public SampleRows {
 public:
  // All arrays are as this one. Bytes stay bytes, other elements become floats of 32 bits.
  NpyRows(std::shared_ptr<const SampleFiles> files, const NpyContent& array)
      : SampleRows(std::move(files)), type_(array.type), shape_(array.shape) {}

 private:
  Fault Decode(std::string_view content, const std::string& name, uint8_t* out) const override;

  const ElementType type_;
  const std::vector<int64_t> shape_;
};

}  // namespace cyxwiz::data
