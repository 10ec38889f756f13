#include "store/sqlite/columns.h"

#include <cmath>
#include <limits>

#include "base/json.h"

namespace cyxwiz::store {
namespace {

// Text that is not UTF-8 must not stop a commit: what cannot be written is
// replaced.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status NotOurs(std::string_view what, std::string_view text) {
  return DataLoss("column " + std::string(what) + " holds unexpected text: '" +
                  std::string(text.substr(0, 80)) + "'");
}

}  // namespace

std::string WriteMetrics(const Metrics& metrics) {
  if (metrics.empty()) return "{}";
  Json json = Json::object();
  for (const auto& [name, value] : metrics) {
    if (std::isfinite(value)) {
      json[name] = value;
    } else {
      json[name] = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    }
  }
  return Dump(json);
}

Result<Metrics> ReadMetrics(std::string_view text) {
  Metrics metrics;
  if (text == "{}") return metrics;
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return NotOurs("metrics", text);
  for (const auto& [name, value] : json.items()) {
    if (value.is_number()) {
      metrics[name] = value.get<double>();
    } else if (value == "nan") {
      metrics[name] = std::numeric_limits<double>::quiet_NaN();
    } else if (value == "inf" || value == "-inf") {
      double infinity = std::numeric_limits<double>::infinity();
      metrics[name] = value == "inf" ? infinity : -infinity;
    } else {
      return NotOurs("metrics", text);
    }
  }
  return metrics;
}

std::string WriteArtifacts(const std::vector<control::Artifact>& artifacts) {
  if (artifacts.empty()) return "[]";
  Json json = Json::array();
  for (const control::Artifact& a : artifacts) json.push_back({a.name, a.sha256, a.size});
  return Dump(json);
}

Result<std::vector<control::Artifact>> ReadArtifacts(std::string_view text) {
  std::vector<control::Artifact> artifacts;
  if (text == "[]") return artifacts;
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return NotOurs("artifacts", text);
  for (const Json& a : json) {
    if (!a.is_array() || a.size() != 3 || !a[0].is_string() || !a[1].is_string() ||
        !a[2].is_number_integer()) {
      return NotOurs("artifacts", text);
    }
    artifacts.push_back({a[0].get<std::string>(), a[1].get<std::string>(), a[2].get<int64_t>()});
  }
  return artifacts;
}

std::string WriteDevices(const std::vector<int32_t>& devices) { return Json(devices).dump(); }

Result<std::vector<int32_t>> ReadDevices(std::string_view text) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return NotOurs("devices", text);
  std::vector<int32_t> devices;
  for (const Json& device : json) {
    if (!device.is_number_integer()) return NotOurs("devices", text);
    devices.push_back(device.get<int32_t>());
  }
  return devices;
}

}  // namespace cyxwiz::store
