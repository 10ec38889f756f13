#include "data/preparation.h"

namespace cyxwiz::data {
namespace {

Status Broken(const std::string& what) {
  return DataLoss("what the model says of its data is wrong: " + what);
}

Status ReadNumbers(const Json& json, const char* key, std::vector<float>* numbers) {
  auto found = json.find(key);
  if (found == json.end()) return OkStatus();
  if (!found->is_array()) return Broken(std::string("'") + key + "' is no array");
  for (const Json& number : *found) {
    if (!number.is_number()) return Broken(std::string("'") + key + "' holds no numbers");
    numbers->push_back(number.get<float>());
  }
  return OkStatus();
}

}  // namespace

Result<Preparation> ReadPreparation(const std::string& data) {
  ASSIGN_OR_RETURN(Json json, ParseJson(data, "model_from.data"));
  if (!json.is_object()) return Broken("it is no object");
  const Json input = json.value("input", Json::object());
  const Json details = json.value("data", Json::object());
  if (!input.is_object() || !details.is_object()) return Broken("'input' or 'data' is no object");
  Preparation preparation;
  const Json type = input.value("type", Json()), divisor = input.value("divisor", Json());
  if ((type != "uint8" && type != "float32") || !divisor.is_number() ||
      !(divisor.get<float>() > 0)) {
    return Broken(R"('input': expected {"type": "uint8" or "float32", "divisor": above 0})");
  }
  preparation.bytes = type == "uint8";
  preparation.divisor = divisor.get<float>();
  if (auto normalize = details.find("normalize"); normalize != details.end()) {
    if (!normalize->is_object()) return Broken("'normalize' is no object");
    RETURN_IF_ERROR(ReadNumbers(*normalize, "mean", &preparation.mean));
    RETURN_IF_ERROR(ReadNumbers(*normalize, "deviation", &preparation.deviation));
    if (preparation.mean.empty() || preparation.mean.size() != preparation.deviation.size()) {
      return Broken("'normalize' needs as many deviations as means");
    }
  }
  RETURN_IF_ERROR(ReadNumbers(details, "fill", &preparation.fill));
  preparation.columns = details.value("columns", Json());
  const Json classes = details.value("classes", Json::array());
  if (!classes.is_array()) return Broken("'classes' is no array");
  for (const Json& name : classes) {
    if (!name.is_string()) return Broken("'classes' holds no names");
    preparation.classes.push_back(name.get<std::string>());
  }
  return preparation;
}

}  // namespace cyxwiz::data
