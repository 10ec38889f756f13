#include "spec/model_use.h"

#include <algorithm>
#include <vector>

#include "base/ids.h"
#include "spec/dataset_manifest.h"
#include "spec/object_reader.h"
#include "spec/training_options.h"

namespace cyxwiz::spec {
namespace {

constexpr char kOutputs[] = "\"npy\", \"csv\" or \"jsonl\"";
constexpr char kFormExpected[] =
    "the id of a job that has succeeded, or {\"model\": SHA-256 of its model.json, \"weights\": "
    "SHA-256 of its weights.safetensors}";

constexpr std::string_view kFormats[] = {"npy", "csv", "jsonl"};

// What of a training's options an evaluation of its model depends on.
constexpr std::string_view kTaken[] = {"loss",        "target",  "label_smoothing",
                                       "huber_delta", "metrics", "batch_size"};

// A list as one text with commas, as hyperparameters are.
std::string TextOf(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& part : value) text += (text.empty() ? "" : ", ") + TextOf(part);
  return text;
}

void CheckModelFrom(const JobDescription& job, Problems* problems) {
  const ModelFrom& from = job.model_from;
  const bool hashes = !from.model_sha256.empty() || !from.weights_sha256.empty();
  if (from.job_id.empty() && !hashes) {
    problems->Add({kModelFromPath, "is missing: which model?", kFormExpected, "nothing", ""});
    return;
  }
  if (!from.job_id.empty() && hashes && !HasModel(job)) {
    problems->Add({kModelFromPath, "names a job and files", "one of them", "both", ""});
  } else if (!from.job_id.empty() && !IsValidId(from.job_id)) {
    problems->Add({kModelFromPath, "is no valid id", kFormExpected,
                   Shown(std::string_view(from.job_id)), ""});
  }
  if (!hashes) return;
  for (const auto& [name, sha256] :
       {std::pair("model", from.model_sha256), std::pair("weights", from.weights_sha256)}) {
    if (IsSha256(sha256)) continue;
    problems->Add({Member(kModelFromPath, name), "is no SHA-256", "64 hexadecimal digits",
                   sha256.empty() ? "nothing" : Shown(std::string_view(sha256)),
                   "'cyxwiz status ID --json' shows those of a job's files"});
  }
}

// "metrics, batch_size, precision and threads"
std::string Settable(JobType type) {
  return type == JobType::kEvaluation ? "metrics, batch_size, precision and threads"
                                      : "batch_size, precision and threads";
}

bool MayBeSet(JobType type, std::string_view hyperparameter) {
  return hyperparameter == "batch_size" || hyperparameter == "precision" ||
         hyperparameter == "threads" ||
         (hyperparameter == "metrics" && type == JobType::kEvaluation);
}

std::string NameOf(JobType type) {
  return type == JobType::kEvaluation ? "an evaluation" : "an inference";
}

}  // namespace

bool UsesModel(JobType type) { return type == JobType::kEvaluation || type == JobType::kInference; }

bool HasModel(const JobDescription& job) {
  return !UsesModel(job.type) || !job.model_definition.empty();
}

void CheckModelUse(const JobDescription& job, Problems* problems) {
  if (!UsesModel(job.type)) {
    const char* hint = "set \"type\" to \"evaluation\" or \"inference\", or leave it out";
    if (job.model_from != ModelFrom()) {
      problems->Add({kModelFromPath, "only evaluations and inferences take a model from a job",
                     "nothing", "a model", hint});
    }
    if (!job.output.empty()) {
      problems->Add({"$.output", "only inferences have predictions to write", "nothing",
                     Shown(std::string_view(job.output)), hint});
    }
    return;
  }
  CheckModelFrom(job, problems);
  if (job.type == JobType::kEvaluation && !job.output.empty()) {
    problems->Add({"$.output", "only inferences have predictions to write", "nothing",
                   Shown(std::string_view(job.output)),
                   "set \"type\" to \"inference\", or leave it out"});
  } else if (job.type == JobType::kInference && !FindPredictionFormat(job.output)) {
    problems->Add({"$.output",
                   job.output.empty() ? "is missing: the form of the predictions"
                                      : "is no form of predictions",
                   kOutputs, job.output.empty() ? "nothing" : Shown(std::string_view(job.output)),
                   DidYouMean(job.output, {"npy", "csv", "jsonl"})});
  }
  if (job.epochs != 0) {
    problems->Add({"$.epochs", NameOf(job.type) + " has no epochs", "nothing",
                   std::to_string(job.epochs), "leave it out"});
  }
}

void TakeOutMisplaced(JobDescription* job, Problems* problems) {
  std::erase_if(job->hyperparameters, [&](const auto& one) {
    const auto& [name, value] = one;
    if (MayBeSet(job->type, name)) return false;
    problems->Add({Member("$.hyperparameters", name),
                   "means nothing to " + NameOf(job->type) + ": the model is trained already",
                   Settable(job->type) + " alone", Shown(std::string_view(value)), "leave it out"});
    return true;
  });
}

void TakeModel(std::string_view model_json, JobDescription* job, Problems* problems) {
  auto refuse = [problems](const std::string& what) {
    problems->Add({kModelFromPath, "its model.json cannot be used: " + what, "", "",
                   "train the model again with this release"});
  };
  Result<Json> parsed = ParseJson(model_json, "model.json");
  if (!parsed.ok()) return refuse(parsed.status().message());
  const Json& json = *parsed;
  if (!json.is_object() || json.value("format", Json()) != "cyxwiz-model" ||
      json.value("version", Json()) != 1) {
    return refuse(R"(expected "format": "cyxwiz-model" and "version": 1)");
  }
  for (const char* member : {"model", "training", "input"}) {
    if (json.contains(member) && json[member].is_object()) continue;
    return refuse("its '" + std::string(member) + "' is missing");
  }
  const Json& training = json["training"];
  auto taken = job->hyperparameters;
  for (std::string_view name : kTaken) {
    auto found = training.find(std::string(name));
    if (found == training.end() || (name == "batch_size" && job->batch_size != 0)) continue;
    if (std::string text = TextOf(*found); !text.empty()) taken.emplace(name, std::move(text));
  }
  // Those that "balanced" came to stand beside it.
  Json weights = json.value("class_weights", training.value("class_weights", Json::array()));
  if (weights.is_string()) return refuse("it does not say the weights of the classes");
  if (!weights.empty()) taken.emplace(kClassWeightsKey.name, TextOf(weights));
  std::string data =
      Json{{"input", json["input"]}, {"data", json.value("data", Json::object())}}.dump();
  if (data.size() > kMaxModelDataBytes) {
    return refuse("it says too much of its data: expected at most " +
                  std::to_string(kMaxModelDataBytes) + " bytes, found " +
                  std::to_string(data.size()));
  }
  job->model_definition = json["model"].dump();
  job->model_from.data = std::move(data);
  job->hyperparameters = std::move(taken);
}

std::optional<PredictionFormat> FindPredictionFormat(std::string_view name) {
  for (size_t i = 0; i < std::size(kFormats); ++i) {
    if (kFormats[i] == name) return static_cast<PredictionFormat>(i);
  }
  return std::nullopt;
}

std::string_view PredictionFormatName(PredictionFormat format) {
  return kFormats[static_cast<size_t>(format)];
}

}  // namespace cyxwiz::spec
