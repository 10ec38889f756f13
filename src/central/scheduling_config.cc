#include "central/scheduling_config.h"

#include <cmath>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "spec/job_file.h"
#include "spec/job_spec.h"

namespace cyxwiz::central {
namespace {

// "cpus=8", "memory=64GiB", "gpus=2" or "borrow=no"
bool ReadPart(std::string_view part, scheduler::Quota* quota) {
  size_t equals = part.find('=');
  if (equals == part.npos) return false;
  std::string_view name = part.substr(0, equals), value = part.substr(equals + 1);
  if (name == "cpus") {
    auto cpus = ParseDouble(value);
    if (!cpus || !(*cpus >= 0 && *cpus * 1000 <= 1e15)) return false;
    quota->cpu_millis = std::llround(*cpus * 1000);
  } else if (name == "memory") {
    auto bytes = value == "0" ? std::optional<int64_t>(0) : spec::ParseMemory(value);
    if (!bytes) return false;
    quota->memory_bytes = *bytes;
  } else if (name == "gpus") {
    auto gpus = ParseDouble(value);
    if (!gpus || !(*gpus >= 0 && *gpus <= 1e9)) return false;
    quota->gpu_millis = std::llround(*gpus * kWholeGpu);
  } else if (name == "borrow" && (value == "yes" || value == "no")) {
    quota->borrow = value == "yes";
  } else {
    return false;
  }
  return true;
}

}  // namespace

Status ReadWeights(const std::vector<std::string>& texts, std::map<std::string, double>* weights) {
  for (const std::string& text : texts) {
    size_t equals = text.rfind('=');
    auto weight = equals == text.npos ? std::nullopt : ParseDouble(text.substr(equals + 1));
    if (!weight || equals == 0 || !(*weight >= 0.001 && *weight <= 1000)) {
      return InvalidArgument(
          "scheduling.share_weights: expected USER=WEIGHT or project:NAME=WEIGHT with a weight "
          "from "
          "0.001 to 1000, such as ann=2, found '" +
          text + "'");
    }
    if (!weights->emplace(text.substr(0, equals), *weight).second) {
      return InvalidArgument("scheduling.share_weights: '" + text.substr(0, equals) +
                             "' is given twice");
    }
  }
  return OkStatus();
}

Status ReadQuotas(const std::vector<std::string>& texts,
                  std::map<std::string, scheduler::Quota>* quotas) {
  for (const std::string& text : texts) {
    auto wrong = [&text](const std::string& what) {
      return InvalidArgument(
          "scheduling.quotas: " + what + " in '" + text + "'",
          "such as 'user:ann cpus=8 memory=64GiB gpus=2' or 'project:vision gpus=4 borrow=no'");
    };
    size_t end = text.find(' ');
    std::string owner = text.substr(0, end);
    size_t colon = owner.find(':');
    if ((!owner.starts_with("user:") && !owner.starts_with("project:")) ||
        colon + 1 == owner.size()) {
      return wrong("expected user:NAME or project:NAME, found '" + owner + "'");
    }
    scheduler::Quota quota;
    while (end != text.npos) {
      size_t begin = end + 1;
      end = text.find(' ', begin);
      std::string part = text.substr(begin, end - begin);
      if (!part.empty() && !ReadPart(part, &quota)) {
        return wrong("expected cpus=N, memory=AMOUNT, gpus=N or borrow=yes|no, found '" + part +
                     "'");
      }
    }
    if (quota.cpu_millis < 0 && quota.memory_bytes < 0 && quota.gpu_millis < 0)
      return wrong("expected an amount of cpus, memory or gpus, found none");
    if (!quotas->emplace(owner, quota).second) return wrong("'" + owner + "' is given twice");
  }
  return OkStatus();
}

}  // namespace cyxwiz::central
