#include "base/logging.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace cyxwiz {

Status SetUpLogging(const std::string& program, const std::string& level) {
  auto parsed = spdlog::level::from_str(level == "warn" ? "warning" : level);
  if (parsed == spdlog::level::off && level != "off") {
    return InvalidArgument("unknown log level '" + level + "'",
                           "one of trace, debug, info, warn, error, off");
  }
  auto logger = spdlog::stderr_color_mt(program);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%-5l%$ %n: %v");
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
  return OkStatus();
}

}  // namespace cyxwiz
