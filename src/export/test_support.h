// What the tests of src/export share: a folder with a model in it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/testing.h"

namespace cyxwiz::exporting {

inline constexpr char kDense[] =
    R"({"input_shape": [3], "layers": [{"type": "dense", "units": 2, "name": "d"}]})";
inline const Json kFloats = {{"type", "float32"}, {"divisor", 1}};

class TestFolder : public TemporaryFolder {
 public:
  void Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(*this / name, content).ok());
  }
  void WriteModel(const std::string& model, const Json& input, const Json& data = Json()) {
    Json json{{"format", "cyxwiz-model"}, {"version", 1}, {"input", input}};
    json["model"] = Json::parse(model);
    if (!data.is_null()) json["data"] = data;
    Write("model.json", json.dump());
  }
  // Tensors of zeros.
  void WriteWeights(const std::map<std::string, std::vector<int64_t>>& shapes) {
    std::vector<float> zeros(1024);
    std::vector<TensorView> tensors;
    for (const auto& [name, shape] : shapes) {
      tensors.push_back({name, DataType::kFloat32, shape, zeros.data()});
    }
    EXPECT_TRUE(WriteSafetensors(*this / "weights.safetensors", tensors, {}).ok());
  }
};

}  // namespace cyxwiz::exporting
