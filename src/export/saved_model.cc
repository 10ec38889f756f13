#include "export/saved_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "spec/check_model.h"
#include "spec/layers.h"
#include "spec/scale_groups.h"

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

// parent: where in the file json is.
Result<std::vector<float>> Numbers(const std::string& path, const std::string& parent,
                                   const Json& json, const char* key, size_t count) {
  std::vector<float> numbers;
  if (json.contains(key) && json[key].is_array()) {
    for (const Json& number : json[key]) {
      if (number.is_number()) numbers.push_back(number.get<float>());
    }
  }
  if (numbers.size() != count) {
    return Broken(path, parent + "." + key + ": expected " + std::to_string(count) +
                            " numbers, found " + std::to_string(numbers.size()));
  }
  return numbers;
}

// How many categories a column of a table has; 0: it holds numbers; -1: it is none.
int64_t CategoriesOf(const Json& column) {
  if (!column.is_object()) return -1;
  auto categories = column.find("categories");
  if (categories == column.end()) return 0;
  const Json encoding = column.value("encoding", Json());
  if (!categories->is_array() || categories->empty() ||
      (encoding != "one_hot" && encoding != "index")) {
    return -1;
  }
  return static_cast<int64_t>(categories->size());
}

// data: of a model of a table of features.
Status ReadColumns(const std::string& path, const Json& data, int64_t features,
                   Preprocessing* preprocessing) {
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> feature_fill(static_cast<size_t>(features), nothing);
  if (data.contains("fill")) {
    ASSIGN_OR_RETURN(feature_fill, Numbers(path, "$.data", data, "fill", feature_fill.size()));
  }
  std::vector<float> fill, category;
  std::vector<int64_t> column;
  for (const Json& one : data["columns"]) {
    const auto place = static_cast<int64_t>(fill.size());
    const int64_t categories = CategoriesOf(one);
    if (categories < 0) {
      return Broken(path, "$.data.columns[" + std::to_string(place) +
                              "]: expected an object, with \"categories\" and \"encoding\" or "
                              "without, found " +
                              one.dump().substr(0, 200));
    }
    const bool one_hot = categories > 0 && one["encoding"] == "one_hot";
    const int64_t width = one_hot ? categories : 1;
    if (width > features - static_cast<int64_t>(column.size())) {
      column.clear();  // too many
      break;
    }
    if (categories == 0) {
      fill.push_back(feature_fill[column.size()]);
    } else {
      auto missing = std::find(one["categories"].begin(), one["categories"].end(), Json(""));
      fill.push_back(missing == one["categories"].end()
                         ? nothing
                         : static_cast<float>(missing - one["categories"].begin()));
    }
    for (int64_t i = 0; i < width; ++i) {
      column.push_back(place);
      category.push_back(one_hot ? static_cast<float>(i) : nothing);
    }
  }
  if (static_cast<int64_t>(column.size()) != features) {
    return Broken(path, "$.data.columns: expected columns of " + std::to_string(features) +
                            " features altogether, as the model takes");
  }
  auto is_nothing = [](float value) { return std::isnan(value); };
  preprocessing->shape = {static_cast<int64_t>(fill.size())};
  if (!std::all_of(fill.begin(), fill.end(), is_nothing)) preprocessing->fill = std::move(fill);
  if (std::all_of(category.begin(), category.end(), is_nothing)) return OkStatus();
  preprocessing->column = std::move(column);
  preprocessing->category = std::move(category);
  return OkStatus();
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
  preprocessing.shape = input;
  const Json data = json.value("data", Json::object());
  if (!data.is_object()) return Broken(path, "$.data: expected an object");
  if (input.size() == 1 && data.contains("columns") && data["columns"].is_array())
    RETURN_IF_ERROR(ReadColumns(path, data, input[0], &preprocessing));
  if (auto normalize = data.find("normalize"); normalize != data.end()) {
    const size_t count = spec::ScaleGroups(input).count;
    const std::string parent = "$.data.normalize";
    ASSIGN_OR_RETURN(preprocessing.mean, Numbers(path, parent, *normalize, "mean", count));
    ASSIGN_OR_RETURN(preprocessing.deviation,
                     Numbers(path, parent, *normalize, "deviation", count));
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
