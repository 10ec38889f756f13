#include "wire/what_if.h"

#include <algorithm>

#include "base/text.h"
#include "spec/job_file.h"

namespace cyxwiz {

Result<protocol::WhatIf> ParseWhatIf(const std::string& where, const std::string& text) {
  protocol::WhatIf what_if;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    auto wrong = [&](const char* expected) {
      return InvalidArgument(
          where + ": expected " + expected + ", found '" + part.substr(0, 100) + "'",
          "such as nodes=+1,cpus=16,memory=32GiB,gpus=2,gpu_memory=80GiB");
    };
    if (name == "nodes") {
      auto number = ParseInt(value.starts_with('+') ? value.substr(1) : value);
      if (!number || *number < 0 || *number > 1000) return wrong("nodes=+N, N from 0 to 1000");
      what_if.set_more_nodes(static_cast<int32_t>(*number));
    } else if (name == "cpus") {
      auto number = ParseDouble(value);
      if (!number || !(*number >= 0.001) || *number > 1e6) return wrong("cpus=N");
      what_if.mutable_resources()->set_cpu_millis(static_cast<int64_t>(*number * 1000));
    } else if (name == "memory" || name == "gpu_memory") {
      auto bytes = spec::ParseMemory(value);
      if (!bytes || *bytes < 1) return wrong((name + "=AMOUNT").c_str());
      if (name == "memory") {
        what_if.mutable_resources()->set_memory_bytes(*bytes);
      } else {
        what_if.mutable_resources()->set_gpu_memory_bytes(*bytes);
      }
    } else if (name == "gpus") {
      auto number = ParseInt(value);
      if (!number || *number < 1 || *number > 1024) return wrong("gpus=N, N from 1 to 1024");
      what_if.mutable_resources()->set_gpus(*number);
    } else {
      return wrong("nodes, cpus, memory, gpus or gpu_memory");
    }
  }
  if (what_if.has_resources() && what_if.more_nodes() == 0) what_if.set_more_nodes(1);
  return what_if;
}

}  // namespace cyxwiz
