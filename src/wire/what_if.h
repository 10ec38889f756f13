// Changes to the fleet that are only supposed, as people write them.
#pragma once

#include <string>

#include "base/status.h"
#include "cyxwiz/protocol/control.pb.h"

namespace cyxwiz {

// Of "nodes=+1,cpus=16,memory=32GiB,gpus=2,gpu_memory=80GiB": one more node where only what it has
// is said. INVALID_ARGUMENT, beginning with where it stood ("--what-if"), when it has another form.
Result<protocol::WhatIf> ParseWhatIf(const std::string& where, const std::string& text);

}  // namespace cyxwiz
