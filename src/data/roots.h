// Internal to src/data: what Roots::Resolve does, with the error in parts.
#pragma once

#include <string>

#include "data/dataset.h"
#include "data/fault.h"

namespace cyxwiz::data {

// *real = the real path of `path`; see Roots::Resolve.
Fault ResolvePath(const Roots& roots, const std::string& path, std::string* real);

}  // namespace cyxwiz::data
