// Models as TorchScript files. What is in one: export/torchscript.h.
#pragma once

#include <string>

#include "base/status.h"

namespace cyxwiz::runner {

// Reads the folder of a trained model (export/saved_model.h) and writes the file `path`, whole or
// not at all; model.json is within it, as an extra file of that name.
Status WriteTorchScript(const std::string& folder, const std::string& path);

}  // namespace cyxwiz::runner
