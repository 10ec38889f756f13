// The types of values that both libtorch and safetensors know.
#pragma once

#include "base/safetensors.h"
#include "runner/torch_headers.h"

namespace cyxwiz::runner {

inline at::ScalarType ScalarTypeOf(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return at::kFloat;
    case DataType::kInt64:
      return at::kLong;
    case DataType::kUint8:
      return at::kByte;
  }
  return at::kFloat;
}
inline DataType DataTypeOf(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kLong   ? DataType::kInt64
         : tensor.scalar_type() == at::kByte ? DataType::kUint8
                                             : DataType::kFloat32;
}

}  // namespace cyxwiz::runner
