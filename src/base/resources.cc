#include "base/resources.h"

#include <cstdio>

namespace cyxwiz {

std::string FormatBytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes > -1024 && bytes < 1024) return std::to_string(bytes) + " bytes";
  double amount = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while ((amount >= 1024 || amount <= -1024) && unit + 1 < std::size(kUnits)) {
    amount /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, amount >= 100 ? "%.0f %s" : "%.1f %s", amount, kUnits[unit]);
  return text;
}

std::string ToString(const Resources& resources) {
  char cores[32];
  if (resources.cpu_millis % 1000 == 0) {
    std::snprintf(cores, sizeof cores, "%lld", static_cast<long long>(resources.cpu_millis / 1000));
  } else {
    std::snprintf(cores, sizeof cores, "%.3g", static_cast<double>(resources.cpu_millis) / 1000);
  }
  std::string text = std::string(cores) + (resources.cpu_millis == 1000 ? " core, " : " cores, ") +
                     FormatBytes(resources.memory_bytes);
  if (resources.gpus > 0)
    text += ", " + std::to_string(resources.gpus) + (resources.gpus == 1 ? " GPU" : " GPUs");
  return text;
}

}  // namespace cyxwiz
