#include "spec/job_terms.h"

#include <chrono>
#include <set>
#include <utility>

#include "base/ids.h"
#include "base/text.h"
#include "spec/job_file.h"

namespace cyxwiz::spec {
namespace {

constexpr char kSecondsExpected[] =
    "seconds as a whole number, or a text such as \"90s\" or \"1h30m\"";

int64_t ReadSeconds(ObjectReader& reader, const Key& key) {
  const Json* value = reader.Find(key);
  if (value == nullptr) return 0;
  if (!value->is_string()) return reader.Whole(key, 1, kMaxLimitSeconds).value_or(0);
  auto seconds = ParseSeconds(value->get_ref<const std::string&>());
  if (!seconds) reader.Refuse(key, "is no length of time", kSecondsExpected, "at most 10 years");
  return seconds.value_or(0);
}

int64_t ReadMoment(ObjectReader& reader, const Key& key) {
  const Json* value = reader.Find(key);
  if (value == nullptr) return 0;
  if (!value->is_string()) return reader.Whole(key, 1, int64_t{1} << 40).value_or(0);
  auto moment = ParseMoment(value->get_ref<const std::string&>());
  if (!moment) {
    reader.Refuse(key, "is no moment",
                  "\"2026-12-24T18:00:00Z\" (RFC 3339), or Unix seconds as a whole number");
  }
  return moment.value_or(0);
}

int64_t ReadBytes(ObjectReader& reader, const Key& key) {
  const Json* value = reader.Find(key);
  if (value == nullptr) return 0;
  if (!value->is_string()) return reader.Whole(key, 1, kMaxLimitBytes).value_or(0);
  auto bytes = ParseMemory(value->get_ref<const std::string&>());
  if (!bytes) reader.Refuse(key, "is no amount of bytes", "\"16MiB\", or a number of bytes");
  return bytes.value_or(0);
}

void ReadLimits(ObjectReader& reader, JobLimits* limits, Problems* problems) {
  static constexpr Key kKey = {"limits"};
  const Json* json = reader.Find(kKey);
  if (json == nullptr) return;
  if (!json->is_object()) {
    reader.Refuse(kKey, "is not an object", "{\"run\": \"2h\", \"queue\": \"1d\"}");
    return;
  }
  ObjectReader inner(*json, "$.limits", problems);
  limits->run_seconds = ReadSeconds(inner, {"run", "run_seconds"});
  limits->queue_seconds = ReadSeconds(inner, {"queue", "queue_seconds"});
  limits->deadline = ReadMoment(inner, {"deadline"});
  limits->log_bytes = ReadBytes(inner, {"log", "log_bytes"});
  limits->checkpoint_bytes = ReadBytes(inner, {"checkpoint", "checkpoint_bytes"});
  inner.RefuseUnknown();
}

constexpr Choice kConditions[] = {
    {"success", 0}, {"end", 1}, {"after_success", 0, true}, {"after_any_end", 1, true}};

void ReadAfter(ObjectReader& reader, std::vector<JobDependency>* after, Problems* problems) {
  static constexpr Key kKey = {"after"};
  static constexpr char kExpected[] =
      "a job's id, {\"job\": id, \"condition\": \"success\" or \"end\"}, or an array of them";
  const Json* json = reader.Find(kKey);
  if (json == nullptr) return;
  const Json one = Json::array({*json});
  const Json& list = json->is_array() ? *json : one;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_string()) {
      after->push_back({list[i].get<std::string>(), false});
    } else if (list[i].is_object()) {
      ObjectReader inner(list[i], "$.after[" + std::to_string(i) + "]", problems);
      JobDependency dependency;
      dependency.job_id = inner.Text({"job", "job_id"}).value_or("");
      dependency.any_end = inner.OneOf({"condition"}, kConditions).value_or(0) == 1;
      inner.RefuseUnknown();
      after->push_back(std::move(dependency));
    } else {
      reader.Refuse(kKey, "names no job", kExpected);
      return;
    }
  }
}

void ReadLabels(ObjectReader& reader, Labels* labels) {
  static constexpr Key kKey = {"node_labels"};
  const Json* json = reader.Find(kKey);
  if (json == nullptr) return;
  if (!json->is_object()) {
    reader.Refuse(kKey, "is not an object", "{\"zone\": \"west\"}");
    return;
  }
  for (const auto& [name, value] : json->items()) {
    if (!value.is_string()) {
      reader.Refuse(kKey, "has a value that is no text: " + Shown(value), "{\"zone\": \"west\"}");
      return;
    }
    (*labels)[name] = value.get<std::string>();
  }
}

void ReadPool(ObjectReader& reader, Labels* labels) {
  static constexpr Key kKey = {kPoolLabel};
  auto pool = reader.Text(kKey);
  if (!pool) return;
  if (!IsLabelText(*pool))
    return reader.Refuse(kKey, "is no name of a pool", "1 to 64 letters, digits, '.', '_' and '-'");
  auto [label, is_new] = labels->try_emplace(kPoolLabel, *pool);
  if (!is_new && label->second != *pool)
    reader.Refuse(kKey, "differs from node_labels.pool", "one of them", "leave one out");
}

}  // namespace

JobTerms ReadJobTerms(ObjectReader& reader, Problems* problems) {
  JobTerms terms;
  ReadLimits(reader, &terms.limits, problems);
  ReadAfter(reader, &terms.after, problems);
  ReadLabels(reader, &terms.node_labels);
  ReadPool(reader, &terms.node_labels);
  terms.anti_affinity = reader.Text({"anti_affinity"}).value_or("");
  terms.project = reader.Text({"project"}).value_or("");
  CheckJobTerms(terms, problems);
  return terms;
}

void CheckJobTerms(const JobTerms& terms, Problems* problems) {
  auto check = [problems](const char* path, int64_t value, int64_t most) {
    if (value >= 0 && value <= most) return;
    problems->Add({path, "the limit is out of range",
                   "1 to " + std::to_string(most) + ", or 0 for no limit", std::to_string(value),
                   ""});
  };
  check("$.limits.run", terms.limits.run_seconds, kMaxLimitSeconds);
  check("$.limits.queue", terms.limits.queue_seconds, kMaxLimitSeconds);
  check("$.limits.deadline", terms.limits.deadline, int64_t{1} << 40);
  check("$.limits.log", terms.limits.log_bytes, kMaxLimitBytes);
  check("$.limits.checkpoint", terms.limits.checkpoint_bytes, kMaxLimitBytes);
  if (terms.after.size() > kMaxDependencies) {
    problems->Add({"$.after", "too many jobs come before this one",
                   "at most " + std::to_string(kMaxDependencies),
                   std::to_string(terms.after.size()),
                   "let a job of its own come after a part of them"});
    return;
  }
  std::set<std::string> seen;
  for (size_t i = 0; i < terms.after.size(); ++i) {
    const std::string& id = terms.after[i].job_id;
    const std::string path = "$.after[" + std::to_string(i) + "]";
    if (!IsValidId(id)) {
      problems->Add({path, "names no job", "the id of a job", Shown(std::string_view(id)), ""});
    } else if (!seen.insert(id).second) {
      problems->Add({path, "names a job twice", "each job once", Shown(std::string_view(id)), ""});
    }
  }
  CheckName("$.project", terms.project, problems);
  if (!terms.anti_affinity.empty() && !IsLabelText(terms.anti_affinity)) {
    problems->Add({"$.anti_affinity", "no name of a group",
                   "1 to 64 letters, digits, '.', '_' and '-'",
                   Shown(std::string_view(terms.anti_affinity)), ""});
  }
  if (terms.nodes < 1 || terms.nodes > kMaxNodes) {
    problems->Add({"$.resources.nodes", "the number of nodes is out of range",
                   "1 to " + std::to_string(kMaxNodes), std::to_string(terms.nodes), ""});
  } else if (terms.min_nodes < 0 || terms.min_nodes > terms.nodes) {
    problems->Add({"$.resources.elastic.min_nodes", "the least number of nodes is out of range",
                   "1 to " + std::to_string(terms.nodes) + ", the most that the job takes",
                   std::to_string(terms.min_nodes), ""});
  }
  if (terms.processes < 1 || terms.processes > kMaxNodes) {
    problems->Add({"$.resources.processes", "the number of processes is out of range",
                   "1 to " + std::to_string(kMaxNodes), std::to_string(terms.processes), ""});
  } else if (terms.nodes >= 1 && terms.nodes <= kMaxNodes &&
             terms.nodes * terms.processes > kMaxNodes) {
    problems->Add({"$.resources.processes", "the job has too many ranks",
                   "at most " + std::to_string(kMaxNodes) + " on all nodes together",
                   std::to_string(terms.nodes * terms.processes), ""});
  }
  if (terms.node_labels.size() > kMaxLabels) {
    problems->Add({"$.node_labels", "too many labels", "at most " + std::to_string(kMaxLabels),
                   std::to_string(terms.node_labels.size()), ""});
  }
  for (const auto& [name, value] : terms.node_labels) {
    if (IsLabelText(name) && IsLabelText(value)) continue;
    problems->Add({"$.node_labels", "no name or no value of a label",
                   "1 to 64 letters, digits, '.', '_' and '-' for each",
                   Shown(std::string_view(name)) + ": " + Shown(std::string_view(value)), ""});
  }
}

void CheckNamedResources(const Resources& resources, Problems* problems) {
  if (resources.named.size() > kMaxNamedResources) {
    problems->Add({"$.resources.named", "too many of them",
                   "at most " + std::to_string(kMaxNamedResources),
                   std::to_string(resources.named.size()), ""});
    return;
  }
  for (const NamedAmount& one : resources.named) {
    if (!IsResourceName(one.name)) {
      problems->Add({"$.resources.named", "no name of a resource",
                     "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter",
                     Shown(std::string_view(one.name)), ""});
    } else if (one.amount < 1 || one.amount > kMaxNamedAmount) {
      problems->Add({Member("$.resources.named", one.name), "the amount is out of range",
                     "1 to " + std::to_string(kMaxNamedAmount), std::to_string(one.amount), ""});
    }
  }
}

std::optional<int64_t> ParseSeconds(std::string_view text) {
  static constexpr std::pair<char, int64_t> kUnits[] = {
      {'w', 7 * 24 * 3600}, {'d', 24 * 3600}, {'h', 3600}, {'m', 60}, {'s', 1}};
  int64_t total = 0, last_unit = INT64_MAX;
  while (!text.empty()) {
    size_t digits = text.find_first_not_of("0123456789");
    auto amount = ParseInt(text.substr(0, digits));
    if (digits == 0 || !amount) return std::nullopt;
    int64_t seconds = 0;
    if (digits == text.npos) {  // without a unit
      if (last_unit != INT64_MAX) return std::nullopt;
      seconds = 1;
      text = {};
    } else {
      for (const auto& [name, unit] : kUnits) {
        if (name == text[digits]) seconds = unit;
      }
      text.remove_prefix(digits + 1);
    }
    if (seconds == 0 || seconds >= last_unit || *amount > kMaxLimitSeconds) return std::nullopt;
    last_unit = seconds;
    total += *amount * seconds;
    if (total > kMaxLimitSeconds) return std::nullopt;
  }
  if (total == 0) return std::nullopt;
  return total;
}

std::optional<int64_t> ParseMoment(std::string_view text) {
  // 0123456789012345678
  // 2026-12-24T18:00:00
  if (text.size() < 20) return std::nullopt;
  auto number = [&text](size_t at, size_t count) -> int64_t {
    for (char c : text.substr(at, count)) {
      if (c < '0' || c > '9') return -1;
    }
    return ParseInt(text.substr(at, count)).value_or(-1);
  };
  for (auto [at, wanted] : {std::pair{4, '-'}, {7, '-'}, {13, ':'}, {16, ':'}}) {
    if (text[static_cast<size_t>(at)] != wanted) return std::nullopt;
  }
  if (text[10] != 'T' && text[10] != 't' && text[10] != ' ') return std::nullopt;
  int64_t year = number(0, 4), month = number(5, 2), day = number(8, 2), hour = number(11, 2),
          minute = number(14, 2), second = number(17, 2);
  std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                   std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day))};
  if (year < 1970 || month < 1 || day < 1 || !date.ok() || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 60) {
    return std::nullopt;
  }
  int64_t offset = 0;
  std::string_view zone = text.substr(19);
  if (zone != "Z" && zone != "z") {
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':')
      return std::nullopt;
    int64_t hours = number(20, 2), minutes = number(23, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
    offset = (zone[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
  }
  int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return days * 86400 + hour * 3600 + minute * 60 + second - offset;
}

}  // namespace cyxwiz::spec
