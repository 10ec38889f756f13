#include "export/saved_model.h"

#include <sys/stat.h>

#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "spec/check_model.h"
#include "spec/layers.h"

namespace cyxwiz::exporting {
namespace {

Status Broken(const std::string& path, const std::string& what) {
  return DataLoss("'" + path + "' is not the model of a job: " + what);
}

Status CheckFile(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) == 0) return OkStatus();
  return NotFound("there is no '" + path + "'",
                  "expected a folder as 'cyxwiz download ID' leaves it");
}

Result<std::vector<float>> Numbers(const std::string& path, const Json& json, const char* key,
                                   size_t count) {
  std::vector<float> numbers;
  if (json.contains(key) && json[key].is_array()) {
    for (const Json& number : json[key]) {
      if (number.is_number()) numbers.push_back(number.get<float>());
    }
  }
  if (numbers.size() != count) {
    return Broken(path, "$.data.normalize." + std::string(key) + ": expected " +
                            std::to_string(count) + " numbers, found " +
                            std::to_string(numbers.size()));
  }
  return numbers;
}

Result<Preprocessing> ReadPreprocessing(const std::string& path, const Json& json,
                                        const spec::Shape& input) {
  Preprocessing preprocessing;
  const Json& values = json.contains("input") ? json["input"] : Json();
  const bool typed = values.is_object() && values.contains("type") && values.contains("divisor");
  if (!typed || (values["type"] != "uint8" && values["type"] != "float32") ||
      !values["divisor"].is_number() || !(values["divisor"].get<double>() > 0)) {
    return Broken(
        path, R"($.input: expected {"type": "uint8" or "float32", "divisor": above 0}, found )" +
                  values.dump().substr(0, 200));
  }
  preprocessing.bytes = values["type"] == "uint8";
  preprocessing.divisor = values["divisor"].get<double>();
  if (json.contains("data") && json["data"].is_object() && json["data"].contains("normalize")) {
    const Json& normalize = json["data"]["normalize"];
    const size_t count = static_cast<size_t>(input.size() == 3 ? input[0] : input.back());
    ASSIGN_OR_RETURN(preprocessing.mean, Numbers(path, normalize, "mean", count));
    ASSIGN_OR_RETURN(preprocessing.deviation, Numbers(path, normalize, "deviation", count));
  }
  return preprocessing;
}

std::string Describe(DataType type, const spec::Shape& shape) {
  return (type == DataType::kFloat32 ? "F32 "
          : type == DataType::kInt64 ? "I64 "
                                     : "U8 ") +
         spec::ToString(shape);
}

// Every tensor of the model, and none besides.
Status CheckWeights(const std::string& path, const spec::ModelSpec& model,
                    const SafetensorsFile& weights) {
  std::string first;
  size_t count = 0, expected = 0;
  auto wrong = [&](const std::string& what) {
    if (count++ == 0) first = what;
  };
  for (const spec::LayerSpec& layer : model.layers) {
    for (const spec::TensorSpec& tensor : spec::TensorsOf(layer)) {
      ++expected;
      const std::string name = layer.name + "." + tensor.name;
      const std::string wanted =
          Describe(tensor.whole ? DataType::kInt64 : DataType::kFloat32, tensor.shape);
      auto found = weights.entries.find(name);
      if (found == weights.entries.end()) {
        wrong("tensor '" + name + "': expected " + wanted + ", found none");
      } else if (std::string has = Describe(found->second.type, found->second.shape);
                 has != wanted) {
        wrong("tensor '" + name + "': expected " + wanted + ", found " + has);
      }
    }
  }
  if (count == 0 && expected != weights.entries.size()) {
    wrong("expected " + std::to_string(expected) + " tensors, found " +
          std::to_string(weights.entries.size()));
  }
  if (count == 0) return OkStatus();
  return DataLoss("'" + path + "' does not hold the weights of the model beside it: " + first +
                  (count > 1 ? " (and " + std::to_string(count - 1) + " more)" : ""));
}

}  // namespace

Result<SavedModel> ReadSavedModel(const std::string& folder) {
  const std::string path = folder + "/" + kModelFile, weights = folder + "/" + kWeightsFile;
  RETURN_IF_ERROR(CheckFile(path));
  RETURN_IF_ERROR(CheckFile(weights));
  ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  Result<Json> parsed = ParseJson(text, kModelFile);
  if (!parsed.ok()) return Broken(path, parsed.status().message());
  const Json& json = *parsed;
  if (!json.is_object() || json.value("format", Json()) != "cyxwiz-model" ||
      json.value("version", Json()) != 1 || !json.contains("model")) {
    return Broken(path, R"(expected "format": "cyxwiz-model", "version": 1 and "model")");
  }
  SavedModel saved;
  spec::Problems problems;
  spec::CheckedModel checked = spec::CheckModel(json["model"].dump(), nullptr, false, &problems);
  if (!problems.empty() || !checked.complete) return Broken(path, problems.ToString());
  saved.model = std::move(checked.spec);
  ASSIGN_OR_RETURN(saved.preprocessing, ReadPreprocessing(path, json, saved.model.input_shape));
  ASSIGN_OR_RETURN(saved.weights, ReadSafetensors(weights));
  RETURN_IF_ERROR(CheckWeights(weights, saved.model, saved.weights));
  return saved;
}

}  // namespace cyxwiz::exporting
