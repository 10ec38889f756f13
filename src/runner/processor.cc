#include "runner/processor.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace cyxwiz::runner {

bool ComputesBfloat16(std::string_view cpuinfo) {
  // A line for each processor: "flags : fpu vme ..." of x86, "Features : fp asimd ..." of ARM.
  std::istringstream words{std::string(cpuinfo)};
  return std::any_of(std::istream_iterator<std::string>(words),
                     std::istream_iterator<std::string>(), [](const std::string& word) {
                       return word == "avx512_bf16" || word == "amx_bf16" || word == "bf16";
                     });
}

bool ComputesBfloat16() {
  std::ifstream file("/proc/cpuinfo");
  std::ostringstream text;
  text << file.rdbuf();
  return ComputesBfloat16(text.str());
}

}  // namespace cyxwiz::runner
