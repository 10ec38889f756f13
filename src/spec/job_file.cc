#include "spec/job_file.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/ids.h"
#include "base/text.h"
#include "spec/hyperparameters.h"
#include "spec/model_use.h"
#include "spec/object_reader.h"
#include "spec/remote_source.h"

namespace cyxwiz::spec {
namespace {

constexpr Choice kTypes[] = {
    {"training", static_cast<int>(JobType::kTraining)},
    {"inference", static_cast<int>(JobType::kInference)},
    {"evaluation", static_cast<int>(JobType::kEvaluation)},
    {"preprocessing", static_cast<int>(JobType::kPreprocessing)},
    {"job_type_training", static_cast<int>(JobType::kTraining), true},
    {"job_type_inference", static_cast<int>(JobType::kInference), true},
    {"job_type_evaluation", static_cast<int>(JobType::kEvaluation), true},
    {"job_type_preprocessing", static_cast<int>(JobType::kPreprocessing), true},
};

constexpr Choice kPriorities[] = {
    {"low", 0},
    {"normal", 1},
    {"high", 2},
    {"critical", 3},
    {"priority_low", 0, true},
    {"priority_normal", 1, true},
    {"priority_high", 2, true},
    {"priority_critical", 3, true},
};

constexpr Choice kDevices[] = {
    {"any", static_cast<int>(Device::kAny)},
    {"cpu", static_cast<int>(Device::kCpu)},
    {"cuda", static_cast<int>(Device::kCuda)},
    {"gpu", static_cast<int>(Device::kCuda), true},
    {"device_unknown", static_cast<int>(Device::kAny), true},
    {"device_cpu", static_cast<int>(Device::kCpu), true},
    {"device_cuda", static_cast<int>(Device::kCuda), true},
};

// Hears the parser and notes how the numbers among the hyperparameters are written, which a parsed
// value has lost.
class NumberTexts : public nlohmann::json_sax<Json> {
 public:
  const std::string* Find(const std::string& key) const {
    auto found = texts_.find(key);
    return found == texts_.end() ? nullptr : &found->second;
  }

  bool number_float(number_float_t, const string_t& text) override {
    if (depth_ == 2 && inside_) texts_[key_] = text;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) inside_ = name == "hyperparameters";
    if (depth_ == 2) key_ = name;
    return true;
  }
  bool start_object(size_t) override { return ++depth_; }
  bool end_object() override { return --depth_, true; }
  bool start_array(size_t) override { return ++depth_; }
  bool end_array() override { return --depth_, true; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  int depth_ = 0;
  bool inside_ = false;
  std::string key_;
  std::map<std::string, std::string> texts_;
};

// An array of numbers or texts as one text, as on the wire: the parts separated by commas.
std::optional<std::string> ListText(const std::string& name, const Json& array) {
  if (!TakesList(name) || !array.is_array() || array.empty()) return std::nullopt;
  std::string text;
  for (const Json& part : array) {
    if (!part.is_number() && !part.is_string()) return std::nullopt;
    if (!text.empty()) text += ", ";
    text += part.is_string() ? part.get<std::string>() : part.dump();
  }
  return text;
}

void ReadHyperparameters(std::string_view text, ObjectReader& reader, JobDescription* job,
                         Problems* problems) {
  static constexpr Key kKey = {"hyperparameters"};
  const Json* map = reader.Find(kKey);
  if (map == nullptr) return;
  if (!map->is_object()) {
    reader.Refuse(kKey, "is not an object", "{\"learning_rate\": 0.01}");
    return;
  }
  NumberTexts texts;
  Json::sax_parse(text.begin(), text.end(), &texts);
  for (const auto& [name, value] : map->items()) {
    if (value.is_string()) {
      job->hyperparameters[name] = value.get<std::string>();
    } else if (value.is_number() || value.is_boolean()) {
      const std::string* written = texts.Find(name);
      job->hyperparameters[name] = written != nullptr ? *written : value.dump();
    } else if (std::optional<std::string> list = ListText(name, value)) {
      job->hyperparameters[name] = *list;
    } else {
      problems->Add({Member("$.hyperparameters", name), "the value is of no use here",
                     TakesList(name) ? "an array of numbers or texts, or a text with commas"
                                     : "a number, a text, true or false",
                     Shown(value), ""});
    }
  }
}

void ReadModel(ObjectReader& reader, JobDescription* job) {
  static constexpr Key kKey = {"model", "model_definition"};
  const Json* model = reader.Find(kKey);
  if (job->type == JobType::kPreprocessing && model == nullptr) return;
  if (UsesModel(job->type)) {
    if (model != nullptr) {
      reader.Refuse(kKey, "has no place here: the model is that of model_from", "nothing",
                    "leave it out");
    }
    return;
  }
  if (model == nullptr) {
    reader.Refuse(kKey, "is missing", "{\"layers\": [{\"type\": \"dense\", \"units\": 10}]}");
  } else if (model->is_object()) {
    job->model_definition = model->dump();
  } else if (model->is_string()) {  // as on the wire
    job->model_definition = model->get<std::string>();
  } else {
    reader.Refuse(kKey, "is not an object", "{\"layers\": [...]}");
  }
}

void ReadModelFrom(ObjectReader& reader, JobDescription* job, Problems* problems) {
  static constexpr Key kKey = {"model_from"};
  const Json* from = reader.Find(kKey);
  if (from == nullptr) return;
  if (from->is_string()) {
    job->model_from.job_id = from->get<std::string>();
  } else if (from->is_object()) {
    ObjectReader inner(*from, kModelFromPath, problems);
    job->model_from.job_id = inner.Text({"job", "job_id"}).value_or("");
    job->model_from.model_sha256 = inner.Text({"model", "model_sha256"}).value_or("");
    job->model_from.weights_sha256 = inner.Text({"weights", "weights_sha256"}).value_or("");
    inner.RefuseUnknown();
  } else {
    reader.Refuse(kKey, "names no model",
                  "the id of a job, or {\"model\": SHA-256, \"weights\": SHA-256}");
  }
}

constexpr char kDatasetForms[] =
    "\"mock://random_data\", \"file:///path\", \"dataset://name\", \"https://host/path\" or "
    "\"s3://bucket/key\"";

// The hash of the only file, or of each one by its name, as a parameter of the URI has them.
std::string Sha256List(ObjectReader& reader) {
  static constexpr Key kKey = {"sha256"};
  const Json* hashes = reader.Find(kKey);
  std::string list;
  if (hashes == nullptr) return list;
  if (hashes->is_string()) return hashes->get<std::string>();
  const bool by_name =
      hashes->is_object() && !hashes->empty() &&
      std::all_of(hashes->begin(), hashes->end(), [](const Json& one) { return one.is_string(); });
  if (!by_name) {
    reader.Refuse(kKey, "is no hash", "64 hexadecimal digits, or {\"NAME\": DIGITS} of each file");
    return list;
  }
  for (const auto& [name, hash] : hashes->items()) {
    list += (list.empty() ? "" : ",") + name + ":" + hash.get_ref<const std::string&>();
  }
  return list;
}

void ReadDataset(ObjectReader& reader, JobDescription* job, Problems* problems) {
  static constexpr Key kKey = {"dataset", "dataset_uri"};
  const Json* dataset = reader.Find(kKey);
  if (dataset == nullptr) {
    reader.Refuse(kKey, "is missing", kDatasetForms);
  } else if (dataset->is_string()) {
    job->dataset_uri = dataset->get<std::string>();
  } else if (dataset->is_object()) {
    ObjectReader inner(*dataset, "$.dataset", problems);
    job->dataset_uri = inner.Text({"uri"}).value_or("");
    if (inner.Find({"uri"}) == nullptr) inner.Refuse({"uri"}, "is missing", kDatasetForms);
    const std::string hashes = Sha256List(inner);
    if (!hashes.empty()) job->dataset_uri = WithSha256(job->dataset_uri, hashes, problems);
    inner.RefuseUnknown();
  } else {
    reader.Refuse(kKey, "is not a URI", kDatasetForms);
  }
}

// A text with a unit, or a number of bytes.
int64_t ReadMemory(ObjectReader& reader, const Key& key) {
  const Json* memory = reader.Find(key);
  if (memory == nullptr) return 0;
  if (!memory->is_string()) return reader.Whole(key, 1, kMaxMemoryBytes).value_or(0);
  auto bytes = ParseMemory(memory->get_ref<const std::string&>());
  if (!bytes) {
    reader.Refuse(key, "is no amount of memory",
                  "\"512MiB\", \"2GiB\", \"1.5GB\" or a number of bytes, at most 1 PiB");
  }
  return bytes.value_or(0);
}

void ReadNamed(ObjectReader& reader, Resources* requested, Problems* problems) {
  static constexpr Key kKey = {"named"};
  const Json* named = reader.Find(kKey);
  if (named == nullptr) return;
  if (!named->is_object()) {
    reader.Refuse(kKey, "is not an object", "{\"licence\": 1}");
    return;
  }
  ObjectReader inner(*named, "$.resources.named", problems);
  for (const auto& [name, value] : named->items())
    requested->SetNamed(name, inner.Whole({name}, 1, kMaxNamedAmount).value_or(1));
  CheckNamedResources(*requested, problems);
}

// "elastic": {"min_nodes": 2}; 0: it is not there.
int64_t ReadElastic(ObjectReader& reader, Problems* problems) {
  static constexpr Key kKey = {"elastic"};
  static constexpr const char* kExample = "{\"min_nodes\": 2}";
  const Json* elastic = reader.Find(kKey);
  if (elastic == nullptr) return 0;
  if (!elastic->is_object()) {
    reader.Refuse(kKey, "is not an object", kExample);
    return 0;
  }
  ObjectReader inner(*elastic, "$.resources.elastic", problems);
  if (inner.Find({"min_nodes"}) == nullptr)
    reader.Refuse(kKey, "does not say with how many nodes the job makes do", kExample);
  const int64_t least = inner.Whole({"min_nodes"}, 1, kMaxNodes).value_or(0);
  inner.RefuseUnknown();
  return least;
}

void ReadResources(ObjectReader& reader, JobDescription* job, JobTerms* terms, Problems* problems) {
  static constexpr Key kKey = {"resources"};
  const Json* resources = reader.Find(kKey);
  if (resources == nullptr) return;
  if (!resources->is_object()) {
    reader.Refuse(kKey, "is not an object", "{\"cpus\": 1.5, \"memory\": \"2GiB\", \"gpus\": 0}");
    return;
  }
  ObjectReader inner(*resources, "$.resources", problems);
  const double most = static_cast<double>(kMaxCpuMillis) / 1000;
  if (auto cpus = inner.Real({"cpus"}, {.min = 0.001, .max = most})) {
    job->requested.cpu_millis = std::llround(*cpus * 1000);
  }
  if (auto millis = inner.Whole({"cpu_millis"}, 0, kMaxCpuMillis)) {
    if (inner.Find({"cpus"}) != nullptr) {
      inner.Refuse({"cpu_millis"}, "and cpus say the same thing", "one of them", "leave one out");
    }
    job->requested.cpu_millis = *millis;
  }
  job->requested.memory_bytes = ReadMemory(inner, {"memory", "memory_bytes"});
  job->requested.gpu_millis = kWholeGpu * inner.Whole({"gpus"}, 0, kMaxGpus).value_or(0);
  if (auto share = inner.Real({"gpu_share"}, {.min = 0.001, .max = 1})) {
    if (job->requested.gpu_millis > 0) {
      inner.Refuse({"gpu_share"}, "and gpus exclude each other", "one of them",
                   "whole GPUs are nobody else's, a share lies on one GPU: leave one out");
    }
    job->requested.gpu_millis = std::llround(*share * kWholeGpu);
  }
  job->requested.gpu_memory_bytes = ReadMemory(inner, {"gpu_memory", "gpu_memory_bytes"});
  job->requested.disk_bytes = ReadMemory(inner, {"disk", "disk_bytes"});
  ReadNamed(inner, &job->requested, problems);
  terms->nodes = inner.Whole({"nodes"}, 1, kMaxNodes).value_or(1);
  terms->min_nodes = ReadElastic(inner, problems);
  terms->processes = inner.Whole({"processes"}, 1, kMaxNodes).value_or(1);
  inner.RefuseUnknown();
}

// A file of the wrong form goes nowhere, so what is wrong with the job itself is told along with
// it. Data files are not looked into.
void AddProblemsOfTheJob(const JobDescription& job, Problems* problems) {
  struct Unseen : DatasetInspector {
    std::optional<DatasetInfo> Inspect(const DatasetUri&, Problems* found) override {
      found->Add({});  // so that nobody asks for the shape that the data would give
      return std::nullopt;
    }
  } unseen;
  Problems found;
  CheckJob(job, &unseen, &found);
  const std::vector<Problem> earlier = problems->list();
  for (const Problem& problem : found.list()) {
    bool told = std::any_of(earlier.begin(), earlier.end(),
                            [&](const Problem& one) { return one.path.starts_with(problem.path); });
    if (!problem.path.empty() && !told) problems->Add(problem);
  }
}

}  // namespace

std::optional<int64_t> ParseMemory(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},         {"B", 1},    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
      {"TiB", 0x1p40}, {"KB", 1e3}, {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12},
  };
  std::string_view number = text.substr(0, text.find_first_not_of("0123456789."));
  std::string_view unit = text.substr(number.size());
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  auto amount = ParseDouble(number);
  if (!amount || unit.find('_') != unit.npos) return std::nullopt;
  for (const auto& [name, bytes] : kUnits) {
    if (!SameName(unit, name)) continue;
    double total = std::round(*amount * bytes);
    if (!(total >= 1 && total <= static_cast<double>(kMaxMemoryBytes))) return std::nullopt;
    return static_cast<int64_t>(total);
  }
  return std::nullopt;
}

std::optional<JobFile> ParseJobFile(std::string_view json, Problems* problems) {
  const size_t problems_before = problems->count();
  if (json.size() > kMaxJobFileBytes) {
    problems->Add({"$", "the job file is too large",
                   "at most " + std::to_string(kMaxJobFileBytes) + " bytes",
                   std::to_string(json.size()) + " bytes", ""});
    return std::nullopt;
  }
  Result<Json> parsed = ParseJson(json, "the job file");
  if (!parsed.ok()) {
    problems->Add({"$", parsed.status().message(), "", "", ""});
    return std::nullopt;
  }
  if (!parsed->is_object()) {
    problems->Add({"$", "the job file is not an object",
                   "{\"name\": ..., \"model\": ..., \"dataset\": ...}", Shown(*parsed), ""});
    return std::nullopt;
  }

  JobFile file;
  JobDescription& job = file.description;
  ObjectReader reader(*parsed, "$", problems);
  static constexpr Key kJobId = {"job_id"}, kUser = {"user", "user_id"};
  job.name = reader.Text({"name"}).value_or("");
  if (auto type = reader.OneOf({"type", "job_type"}, kTypes))
    job.type = static_cast<JobType>(*type);
  file.priority = reader.OneOf({"priority"}, kPriorities).value_or(file.priority);
  if (auto id = reader.Text(kJobId)) {
    file.job_id = *id;
    if (!id->empty() && !IsValidId(*id)) {
      reader.Refuse(kJobId, "is no valid id",
                    "1 to 128 letters, digits, '.', '_' and '-', not beginning with '.' or '-'");
    }
  }
  if (auto user = reader.Text(kUser)) {
    file.user = *user;
    CheckName("$.user", *user, problems);
  }
  ReadModel(reader, &job);
  ReadModelFrom(reader, &job, problems);
  job.output = reader.Text({"output"}).value_or("");
  job.output_dataset = reader.Text({"output_dataset"}).value_or("");
  ReadHyperparameters(json, reader, &job, problems);
  ReadDataset(reader, &job, problems);
  JobTerms places;
  ReadResources(reader, &job, &places, problems);
  if (auto device = reader.OneOf({"device", "required_device"}, kDevices)) {
    job.required_device = static_cast<Device>(*device);
  }
  if (auto retries = reader.Whole({"retries", "max_retries"}, 0, kMaxRetries)) {
    file.max_retries = static_cast<int>(*retries);
  }
  job.batch_size = reader.Whole({"batch_size"}, 1, kMaxBatchSize).value_or(0);
  job.epochs = reader.Whole({"epochs"}, 1, kMaxEpochs).value_or(0);
  job.estimated_memory = ReadMemory(reader, {"estimated_memory"});
  file.terms = ReadJobTerms(reader, problems);
  file.terms.nodes = places.nodes;
  file.terms.min_nodes = places.min_nodes;
  file.terms.processes = places.processes;
  file.array = ReadJobArray(reader, problems);
  if ((UsesModel(job.type) || job.type == JobType::kPreprocessing) && MembersOf(file.array) > 0) {
    reader.Refuse({"array"}, "is for trainings", "nothing", "submit each job by itself");
  }
  reader.RefuseUnknown();
  if (problems->count() > problems_before) {
    AddProblemsOfTheJob(job, problems);
    return std::nullopt;
  }
  return file;
}

}  // namespace cyxwiz::spec
