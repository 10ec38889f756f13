// A trained model as an ONNX file: one graph that takes samples as the data set holds them
// (preprocessing is its first part) and gives what the model gives. The batch may have any size.
//
//   input    "input": batch x input_shape; uint8 when the data set holds bytes, else float; of a
//            table batch x columns, see Preprocessing
//   output   named like the model's last layer: batch x output_shape, float
//
// The weights have their names in weights.safetensors; those of lstm and gru, whose gates ONNX
// orders otherwise, are written anew.
#pragma once

#include <string>

#include "base/status.h"
#include "export/saved_model.h"

namespace cyxwiz::exporting {

// The whole file. UNIMPLEMENTED, naming them all, when the model has layers that ONNX cannot hold;
// RESOURCE_EXHAUSTED when it is too large.
Result<std::string> ToOnnx(const SavedModel& saved);

}  // namespace cyxwiz::exporting
