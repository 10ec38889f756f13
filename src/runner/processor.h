// What the processors of this machine can do.
#pragma once

#include <string_view>

namespace cyxwiz::runner {

// Whether they have instructions for products in bfloat16. cpuinfo: as /proc/cpuinfo has it.
bool ComputesBfloat16(std::string_view cpuinfo);
// Of this machine.
bool ComputesBfloat16();

}  // namespace cyxwiz::runner
