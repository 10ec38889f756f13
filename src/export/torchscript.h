// A trained model as TorchScript: what libtorch needs in order to write the file, which nothing
// else can (runner/torchscript.h does). One module whose forward takes samples as the data set
// holds them (preprocessing is its first part) and gives what the model gives. The batch may have
// any size.
//
//   forward(input)   input: batch x input_shape, of a table batch x columns (see Preprocessing),
//                    numbers of any type; result: batch x output_shape, float
//
// A module in training does what the model did in training: dropout, statistics of batches.
#pragma once

#include <string>
#include <vector>

#include "base/safetensors.h"
#include "base/status.h"
#include "export/saved_model.h"

namespace cyxwiz::exporting {

inline constexpr char kTorchScriptFile[] = "model.pt";

struct TorchScript {
  // A tensor of the module, or of a module within it.
  struct Tensor {
    // Names of modules, then its own. They are the parts of its name in weights.safetensors; one
    // that TorchScript cannot have in that place is followed by "_".
    std::vector<std::string> path;
    TensorView view;  // into the SavedModel
    bool trainable = true;
  };
  std::vector<Tensor> tensors;
  std::string source;  // of forward
};

// What it gives lives no longer than `saved`. UNIMPLEMENTED, naming them all, when the model has
// layers that cannot be written.
Result<TorchScript> ToTorchScript(const SavedModel& saved);

}  // namespace cyxwiz::exporting
