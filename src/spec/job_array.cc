#include "spec/job_array.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"

namespace cyxwiz::spec {
namespace {

constexpr Key kArray = {"array"}, kSweep = {"sweep"};
constexpr const char* kSweepForm =
    "{\"learning_rate\": [0.1, 0.01]} for every combination, or "
    "[{\"learning_rate\": 0.1}, ...] for one member each";

bool IsValue(const Json& value) {
  return value.is_string() || value.is_number() || value.is_boolean();
}
std::string TextOf(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void ReadArray(ObjectReader& reader, JobArray* array, Problems* problems) {
  const Json* json = reader.Find(kArray);
  if (json == nullptr) return;
  if (!json->is_object()) {
    array->size = reader.Whole(kArray, 1, kMaxArraySize).value_or(0);
    return;
  }
  ObjectReader inner(*json, "$.array", problems);
  array->size = inner.Whole({"size"}, 1, kMaxArraySize).value_or(0);
  array->max_parallel = inner.Whole({"max_parallel"}, 1, kMaxArraySize).value_or(0);
  inner.RefuseUnknown();
}

void ReadSweep(ObjectReader& reader, JobArray* array) {
  const Json* json = reader.Find(kSweep);
  if (json == nullptr) return;
  if (json->is_object() && !json->empty()) {
    for (const auto& [name, values] : json->items()) {
      if (!values.is_array() || !std::all_of(values.begin(), values.end(), IsValue))
        return reader.Refuse(kSweep, "has no list of values for '" + name + "'", kSweepForm);
      SweepAxis axis{name, {}};
      for (const Json& value : values) axis.values.push_back(TextOf(value));
      array->grid.push_back(std::move(axis));
    }
  } else if (json->is_array() && !json->empty()) {
    for (const Json& point : *json) {
      if (!point.is_object() || !std::all_of(point.begin(), point.end(), IsValue))
        return reader.Refuse(kSweep, "has a member that is no object of values", kSweepForm);
      Hyperparameters values;
      for (const auto& [name, value] : point.items()) values[name] = TextOf(value);
      array->points.push_back(std::move(values));
    }
  } else {
    reader.Refuse(kSweep, "is no sweep", kSweepForm);
  }
}

int64_t SweepSize(const JobArray& array) {
  if (!array.points.empty()) return static_cast<int64_t>(array.points.size());
  if (array.grid.empty()) return 0;
  int64_t size = 1;
  for (const SweepAxis& axis : array.grid) {
    size *= static_cast<int64_t>(axis.values.size());
    if (size > kMaxArraySize) return kMaxArraySize + 1;
  }
  return size;
}

}  // namespace

JobArray ReadJobArray(ObjectReader& reader, Problems* problems) {
  JobArray array;
  ReadArray(reader, &array, problems);
  ReadSweep(reader, &array);
  CheckJobArray(array, problems);
  return array;
}

void CheckJobArray(const JobArray& array, Problems* problems) {
  const std::string most = "at most " + std::to_string(kMaxArraySize) + " members";
  if (array.size < 0 || array.size > kMaxArraySize)
    problems->Add({"$.array", "the array is too large", most, std::to_string(array.size), ""});
  if (array.max_parallel < 0 || array.max_parallel > kMaxArraySize) {
    problems->Add({"$.array.max_parallel", "out of range", "0 (no limit) to 1000000",
                   std::to_string(array.max_parallel), ""});
  }
  if (!array.grid.empty() && !array.points.empty()) {
    problems->Add({"$.sweep", "has both combinations and single points", "one of them", "", ""});
    return;
  }
  if (array.points.size() > kMaxSweepPoints) {
    problems->Add(
        {"$.sweep", "too many members are listed", "at most " + std::to_string(kMaxSweepPoints),
         std::to_string(array.points.size()), "sweep over combinations, or submit them in parts"});
  }
  size_t values = 0;
  std::set<std::string> names;
  for (const SweepAxis& axis : array.grid) {
    values += axis.values.size();
    if (axis.values.empty())
      problems->Add({Member("$.sweep", axis.name), "has no values", "at least one", "[]", ""});
    if (!names.insert(axis.name).second)
      problems->Add({"$.sweep", "names a hyperparameter twice", "each once", axis.name, ""});
  }
  if (values > kMaxSweepValues) {
    problems->Add({"$.sweep", "too many values", "at most " + std::to_string(kMaxSweepValues),
                   std::to_string(values), ""});
  }
  int64_t size = SweepSize(array);
  if (size > kMaxArraySize) {
    problems->Add({"$.sweep", "too many combinations", most, "more than that",
                   "sweep over fewer values, or list those that you want"});
  } else if (size > 0 && array.size > 0 && size != array.size) {
    problems->Add({"$.array", "the array and its sweep differ in size",
                   std::to_string(size) + ", or leave it out", std::to_string(array.size), ""});
  }
  if (MembersOf(array) == 0 && array.max_parallel > 0) {
    problems->Add({"$.array", "no array, as neither its size nor a sweep is given",
                   "1 to " + std::to_string(kMaxArraySize), "", ""});
  }
}

int64_t MembersOf(const JobArray& array) {
  int64_t sweep = SweepSize(array);
  return sweep > 0 ? sweep : std::clamp<int64_t>(array.size, 0, kMaxArraySize + 1);
}

void MakeMember(const JobArray& array, int64_t number, Hyperparameters* hyperparameters) {
  if (!array.points.empty()) {
    for (const auto& [name, value] : array.points[static_cast<size_t>(number)])
      (*hyperparameters)[name] = value;
  } else if (!array.grid.empty()) {
    for (auto axis = array.grid.rbegin(); axis != array.grid.rend(); ++axis) {
      int64_t count = static_cast<int64_t>(axis->values.size());
      (*hyperparameters)[axis->name] = axis->values[static_cast<size_t>(number % count)];
      number /= count;
    }
  } else {
    std::string& seed = (*hyperparameters)["seed"];
    seed = std::to_string((ParseInt(seed).value_or(0) + number) & INT64_MAX);
  }
}

std::vector<int64_t> MembersToCheck(const JobArray& array) {
  std::set<int64_t> numbers;
  if (!array.points.empty()) {
    for (int64_t i = 0; i < MembersOf(array); ++i) numbers.insert(i);
  } else if (!array.grid.empty()) {
    int64_t stride = 1;  // between members that differ in the axis alone
    for (auto axis = array.grid.rbegin(); axis != array.grid.rend(); ++axis) {
      int64_t count = static_cast<int64_t>(axis->values.size());
      for (int64_t i = 0; i < count; ++i) numbers.insert(i * stride);
      stride *= count;
    }
  } else if (array.size > 0) {
    numbers.insert(array.size - 1);
  }
  return {numbers.begin(), numbers.end()};
}

}  // namespace cyxwiz::spec
