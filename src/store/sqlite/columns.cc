#include "store/sqlite/columns.h"

#include <cmath>
#include <limits>

#include "base/json.h"
#include "base/text.h"

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

Json GpusToJson(const std::vector<GpuPart>& gpus) {
  Json json = Json::array();
  for (const GpuPart& part : gpus) json.push_back({part.index, part.millis, part.memory_bytes});
  return json;
}
// Throws Json::exception when it is something else.
std::vector<GpuPart> GpusFromJson(const Json& json) {
  std::vector<GpuPart> gpus;
  for (const Json& part : json) {
    gpus.push_back(
        {part.at(0).get<int32_t>(), part.at(1).get<int64_t>(), part.at(2).get<int64_t>()});
  }
  return gpus;
}

// "disk", "named", "gpu_memory" and "gpus" of a resource.
bool HasRare(const Resources& resources) {
  return resources.disk_bytes != 0 || !resources.named.empty() || resources.gpu_memory_bytes != 0 ||
         !resources.gpus->empty();
}
void AddRare(const Resources& resources, Json* json) {
  if (resources.disk_bytes != 0) (*json)["disk"] = resources.disk_bytes;
  for (const NamedAmount& n : resources.named) (*json)["named"][n.name] = n.amount;
  if (resources.gpu_memory_bytes != 0) (*json)["gpu_memory"] = resources.gpu_memory_bytes;
  if (!resources.gpus->empty()) (*json)["gpus"] = GpusToJson(*resources.gpus);
}
// The Get functions throw Json::exception when the value has another type.
void GetRare(const Json& json, Resources* resources) {
  resources->disk_bytes = json.value("disk", int64_t{0});
  const Json named = json.value("named", Json::object());
  for (const auto& [name, amount] : named.items()) resources->SetNamed(name, amount.get<int64_t>());
  resources->gpu_memory_bytes = json.value("gpu_memory", int64_t{0});
  resources->gpus = GpusFromJson(json.value("gpus", Json::array()));
}

}  // namespace

std::string WriteTerms(const control::Job& job) {
  if (job.terms == nullptr && !HasRare(job.resources)) return "";
  Json json = Json::object();
  AddRare(job.resources, &json);
  if (job.terms != nullptr) {
    const control::Limits& limits = job.terms->limits;
    if (limits.run != Duration::zero()) json["run_ns"] = limits.run.count();
    if (limits.queue != Duration::zero()) json["queue_ns"] = limits.queue.count();
    if (limits.deadline.ms != 0) json["deadline_ms"] = limits.deadline.ms;
    if (limits.log_bytes != 0) json["log_bytes"] = limits.log_bytes;
    if (limits.checkpoint_bytes != 0) json["checkpoint_bytes"] = limits.checkpoint_bytes;
    for (const control::Dependency& one : job.terms->after)
      json["after"].push_back({one.job.value, one.any_end});
    if (!job.terms->labels.empty()) json["labels"] = job.terms->labels;
    if (!job.terms->project.empty()) json["project"] = job.terms->project;
    if (job.terms->nodes != 1) json["nodes"] = job.terms->nodes;
    if (job.terms->min_nodes != 0) json["min_nodes"] = job.terms->min_nodes;
    if (job.terms->processes != 1) json["processes"] = job.terms->processes;
  }
  return Dump(json);
}

Status ReadTerms(std::string_view text, control::Job* job) {
  if (text.empty()) return OkStatus();
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return NotOurs("terms", text);
  try {
    GetRare(json, &job->resources);
    control::Terms terms;
    terms.limits.run = Duration(json.value("run_ns", int64_t{0}));
    terms.limits.queue = Duration(json.value("queue_ns", int64_t{0}));
    terms.limits.deadline.ms = json.value("deadline_ms", int64_t{0});
    terms.limits.log_bytes = json.value("log_bytes", int64_t{0});
    terms.limits.checkpoint_bytes = json.value("checkpoint_bytes", int64_t{0});
    const Json after = json.value("after", Json::array());
    for (const Json& one : after)
      terms.after.push_back({{one.at(0).get<std::string>()}, one.at(1).get<bool>()});
    terms.labels = json.value("labels", Labels());
    terms.project = json.value("project", std::string());
    terms.nodes = json.value("nodes", int32_t{1});
    terms.min_nodes = json.value("min_nodes", int32_t{0});
    terms.processes = json.value("processes", int32_t{1});
    if (terms != control::Terms()) job->terms = std::make_shared<const control::Terms>(terms);
  } catch (const Json::exception&) {
    return NotOurs("terms", text);
  }
  return OkStatus();
}

std::string WriteExtra(const control::Node& node) {
  Json json = Json::object();
  AddRare(node.capacity, &json);
  if (!node.labels.empty()) json["labels"] = node.labels;
  if (node.quarantined)
    json["quarantine"] = {{"reason", node.quarantine_reason},
                          {"failed_probes", node.failed_probes}};
  if (node.cordon_from.ms != 0) json["cordon_from_ms"] = node.cordon_from.ms;
  if (node.cordon_until.ms != 0) json["cordon_until_ms"] = node.cordon_until.ms;
  if (node.drain_then) json["drain_then"] = true;
  if (node.rendezvous_ports > 0) json["rendezvous"] = {node.rendezvous_port, node.rendezvous_ports};
  if (node.lost_at.ms != 0) json["lost_ms"] = node.lost_at.ms;
  return json.empty() ? "" : Dump(json);
}

Status ReadExtra(std::string_view text, control::Node* node) {
  if (text.empty()) return OkStatus();
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return NotOurs("extra", text);
  try {
    GetRare(json, &node->capacity);
    node->labels = json.value("labels", Labels());
    node->cordon_from.ms = json.value("cordon_from_ms", int64_t{0});
    node->cordon_until.ms = json.value("cordon_until_ms", int64_t{0});
    node->drain_then = json.value("drain_then", false);
    node->lost_at.ms = json.value("lost_ms", int64_t{0});
    if (auto rendezvous = json.find("rendezvous"); rendezvous != json.end()) {
      node->rendezvous_port = rendezvous->at(0).get<int32_t>();
      node->rendezvous_ports = rendezvous->at(1).get<int32_t>();
    }
    if (auto quarantine = json.find("quarantine"); quarantine != json.end()) {
      node->quarantined = true;
      node->quarantine_reason = quarantine->at("reason").get<std::string>();
      node->failed_probes = quarantine->at("failed_probes").get<int32_t>();
    }
  } catch (const Json::exception&) {
    return NotOurs("extra", text);
  }
  return OkStatus();
}

std::string WriteSequences(const std::vector<int64_t>& sequences) {
  std::string text;
  for (size_t begin = 0, end = 0; begin < sequences.size(); begin = end) {
    end = begin + 1;
    while (end < sequences.size() && sequences[end] == sequences[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += std::to_string(sequences[begin]);
    if (end - begin > 1) text += '-' + std::to_string(sequences[end - 1]);
  }
  return text;
}

Result<std::vector<int64_t>> ReadSequences(std::string_view text) {
  constexpr int64_t kMost = 100'000'000;  // more than a queue has
  std::vector<int64_t> sequences;
  if (text.ends_with(',')) return NotOurs("cancellations.jobs", text);
  for (std::string_view left = text; !left.empty();) {
    const std::string_view part = left.substr(0, left.find(','));
    left.remove_prefix(std::min(left.size(), part.size() + 1));
    const size_t dash = part.find('-');
    const auto first = ParseInt(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : ParseInt(part.substr(dash + 1));
    if (!first || !last || *first < 1 || *last < *first || *last - *first > kMost ||
        (!sequences.empty() && *first <= sequences.back())) {
      return NotOurs("cancellations.jobs", text);
    }
    for (int64_t one = *first; one <= *last; ++one) sequences.push_back(one);
  }
  return sequences;
}

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

static Json ArtifactsToJson(const std::vector<control::Artifact>& artifacts) {
  Json json = Json::array();
  for (const control::Artifact& a : artifacts) json.push_back({a.name, a.sha256, a.size});
  return json;
}

static Result<std::vector<control::Artifact>> ArtifactsFromJson(const Json& json,
                                                                std::string_view text) {
  std::vector<control::Artifact> artifacts;
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

std::string WriteArtifacts(const std::vector<control::Artifact>& artifacts) {
  return artifacts.empty() ? "[]" : Dump(ArtifactsToJson(artifacts));
}

Result<std::vector<control::Artifact>> ReadArtifacts(std::string_view text) {
  if (text == "[]") return std::vector<control::Artifact>();
  return ArtifactsFromJson(Json::parse(text, nullptr, false), text);
}

std::string WriteCheckpoint(const control::Checkpoint& checkpoint) {
  if (!checkpoint.exists()) return "";
  return Dump(
      {checkpoint.name, checkpoint.epoch, checkpoint.step, ArtifactsToJson(checkpoint.files)});
}

Result<control::Checkpoint> ReadCheckpoint(std::string_view text) {
  control::Checkpoint checkpoint;
  if (text.empty()) return checkpoint;
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array() || json.size() != 4 || !json[0].is_string() ||
      !json[1].is_number_integer() || !json[2].is_number_integer()) {
    return NotOurs("checkpoint", text);
  }
  checkpoint.name = json[0].get<std::string>();
  checkpoint.epoch = json[1].get<int32_t>();
  checkpoint.step = json[2].get<int64_t>();
  ASSIGN_OR_RETURN(checkpoint.files, ArtifactsFromJson(json[3], text));
  return checkpoint;
}

std::string WriteArray(const control::Job& job) {
  if (job.array == nullptr) return "";
  const control::Array& a = *job.array;
  return Dump(
      {a.size, a.max_parallel, a.started, a.succeeded, a.failed, a.cancelled, a.base_attempt});
}

Status ReadArray(std::string_view text, control::Job* job) {
  if (text.empty()) return OkStatus();
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array() || json.size() != 7) return NotOurs("array", text);
  for (const Json& one : json) {
    if (!one.is_number_integer()) return NotOurs("array", text);
  }
  control::Array array;
  array.size = json[0].get<int64_t>();
  array.max_parallel = json[1].get<int64_t>();
  array.started = json[2].get<int64_t>();
  array.succeeded = json[3].get<int64_t>();
  array.failed = json[4].get<int64_t>();
  array.cancelled = json[5].get<int64_t>();
  array.base_attempt = json[6].get<int32_t>();
  job->array = std::make_shared<const control::Array>(array);
  return OkStatus();
}

std::string WriteGang(const control::Job& job) {
  if (job.gang == nullptr) return "";
  Json json = {{"ranks", Json::array()}};
  for (const control::Gang::Rank& rank : job.gang->ranks) {
    Json& out = json["ranks"].emplace_back(Json{rank.node.value, rank.ended ? 1 : 0});
    if (!rank.gpus.empty()) out.push_back(GpusToJson(rank.gpus));
  }
  const control::AttemptEnd& end = job.gang->end;
  if (end.kind != control::AttemptEnd::Kind::kNone) {
    Json& out = json["end"];
    out = {{"kind", static_cast<int>(end.kind)}, {"cause", static_cast<int>(end.cause)}};
    if (end.error != control::ErrorInfo())
      out["error"] = {end.error.code, end.error.message, end.error.details};
    if (end.wait != Duration::zero()) out["wait_ns"] = end.wait.count();
    if (end.took_node) out["took_node"] = true;
    if (end.with_most) out["with_most"] = true;
    if (end.yields) out["yields"] = true;
    if (end.log_tail != control::LogTail())
      out["log_tail"] = {end.log_tail.offset, end.log_tail.text};
  }
  return Dump(json);
}

Status ReadGang(std::string_view text, control::Job* job) {
  if (text.empty()) return OkStatus();
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return NotOurs("gang", text);
  auto gang = std::make_shared<control::Gang>();
  try {
    for (const Json& rank : json.at("ranks")) {
      gang->ranks.push_back({{rank.at(0).get<std::string>()},
                             rank.at(1).get<int>() != 0,
                             GpusFromJson(rank.size() > 2 ? rank.at(2) : Json::array())});
    }
    if (auto found = json.find("end"); found != json.end()) {
      control::AttemptEnd& end = gang->end;
      end.kind = static_cast<control::AttemptEnd::Kind>(found->at("kind").get<int>());
      end.cause = static_cast<control::Cause>(found->at("cause").get<int>());
      if (auto error = found->find("error"); error != found->end()) {
        end.error = {error->at(0).get<int32_t>(), error->at(1).get<std::string>(),
                     error->at(2).get<std::string>()};
      }
      end.wait = Duration(found->value("wait_ns", int64_t{0}));
      end.took_node = found->value("took_node", false);
      end.with_most = found->value("with_most", false);
      end.yields = found->value("yields", false);
      if (auto tail = found->find("log_tail"); tail != found->end())
        end.log_tail = {tail->at(0).get<int64_t>(), tail->at(1).get<std::string>()};
    }
  } catch (const Json::exception&) {
    return NotOurs("gang", text);
  }
  using Kind = control::AttemptEnd::Kind;
  bool sound = !gang->ranks.empty() && gang->ranks[0].node == job->node &&
               gang->end.kind >= Kind::kNone && gang->end.kind <= Kind::kLost;
  if (!sound) return NotOurs("gang", text);
  job->gang = std::move(gang);
  return OkStatus();
}

std::string WriteGpus(const std::vector<GpuPart>& gpus) {
  return gpus.empty() ? "" : Dump(GpusToJson(gpus));
}

Result<std::vector<GpuPart>> ReadGpus(std::string_view text) {
  if (text.empty()) return std::vector<GpuPart>();
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return NotOurs("gpus", text);
  try {
    return GpusFromJson(json);
  } catch (const Json::exception&) {
    return NotOurs("gpus", text);
  }
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
