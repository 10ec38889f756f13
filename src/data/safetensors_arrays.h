// Two tensors of a safetensors file; the format is drawn in runner/safetensors.h, which writes it.
// Internal to src/data.
//
// Element types: U8, I32, I64, F32, F64. Limits: 16 MiB of header, and those of arrays.h.
#pragma once

#include <string>

#include "data/arrays.h"

namespace cyxwiz::data {

// The tensor of that name in the file at `path`, which is resolved.
Fault OpenSafetensor(const std::string& path, const std::string& name, ArraySource* array);

}  // namespace cyxwiz::data
