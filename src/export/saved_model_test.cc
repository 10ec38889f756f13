#include "export/saved_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "export/test_support.h"

namespace cyxwiz::exporting {
namespace {

std::string Why(const TestFolder& folder) {
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  return saved.ok() ? "" : saved.status().message();
}

TEST(SavedModel, IsReadWithWhatIsDoneToTheData) {
  TestFolder folder;
  folder.WriteModel(kDense, {{"type", "uint8"}, {"divisor", 255}});
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->model.layers[0].name, "d");
  EXPECT_TRUE(saved->preprocessing.bytes);
  EXPECT_EQ(saved->preprocessing.divisor, 255);
  EXPECT_TRUE(saved->preprocessing.mean.empty());
}

TEST(SavedModel, NamesTheFileThatIsMissing) {
  TestFolder folder;
  Status status = ReadSavedModel(folder.path()).status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_NE(status.message().find("/model.json'"), std::string::npos);
  folder.WriteModel(kDense, kFloats);
  EXPECT_NE(Why(folder).find("/weights.safetensors'"), std::string::npos);
}

TEST(SavedModel, RefusesWeightsOfAnotherModel) {
  TestFolder folder;
  folder.WriteModel(kDense, kFloats);
  folder.WriteWeights({{"d.weight", {2, 4}}});
  EXPECT_NE(
      Why(folder).find("tensor 'd.weight': expected F32 [2, 3], found F32 [2, 4] (and 1 more)"),
      std::string::npos)
      << Why(folder);
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}, {"e.bias", {2}}});
  EXPECT_NE(Why(folder).find("expected 2 tensors, found 3"), std::string::npos) << Why(folder);
}

TEST(SavedModel, RefusesAModelFileThatIsNone) {
  TestFolder folder;
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  folder.Write("model.json", "{");
  EXPECT_NE(Why(folder).find("is not the model of a job"), std::string::npos);
  folder.Write("model.json", "{}");
  EXPECT_NE(Why(folder).find("cyxwiz-model"), std::string::npos);
  folder.WriteModel(R"({"layers": [{"type": "dance"}]})", kFloats);
  EXPECT_NE(Why(folder).find("dance"), std::string::npos);
  folder.WriteModel(kDense, {{"type", "float64"}, {"divisor", 1}});
  EXPECT_NE(Why(folder).find("$.input"), std::string::npos);
  folder.WriteModel(kDense, {{"type", "float32"}, {"divisor", 0}});
  EXPECT_NE(Why(folder).find("$.input"), std::string::npos);
}

TEST(SavedModel, ReadsMeanAndDeviationOfEachFeature) {
  TestFolder folder;
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  folder.WriteModel(kDense, kFloats,
                    {{"normalize", {{"mean", {1, 2, 3}}, {"deviation", {1, 0.5, 2}}}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->preprocessing.mean, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(saved->preprocessing.deviation, (std::vector<float>{1, 0.5, 2}));
  folder.WriteModel(kDense, kFloats, {{"normalize", {{"mean", {1, 2}}, {"deviation", {1, 2, 3}}}}});
  EXPECT_NE(Why(folder).find("$.data.normalize.mean: expected 3 numbers, found 2"),
            std::string::npos)
      << Why(folder);
}

TEST(SavedModel, VolumesAreScaledByChannel) {
  TestFolder folder;
  folder.WriteWeights({{"d.weight", {2, 16}}, {"d.bias", {2}}});
  folder.WriteModel(
      R"({"input_shape": [2, 1, 2, 4], "layers": [{"type": "flatten"}, {"type": "dense", "units": 2, "name": "d"}]})",
      kFloats, {{"normalize", {{"mean", {1, 2}}, {"deviation", {1, 2}}}}});
  EXPECT_EQ(Why(folder), "");
}

TEST(SavedModel, ColumnsOfATableBecomeFeatures) {
  TestFolder folder;
  folder.WriteWeights({{"d.weight", {2, 6}}, {"d.bias", {2}}});
  const std::string model =
      R"({"input_shape": [6], "layers": [{"type": "dense", "units": 2, "name": "d"}]})";
  Json data = {{"columns",
                {{{"name", "area"}},
                 {{"name", "city"}, {"categories", {"", "oslo", "rome"}}, {"encoding", "one_hot"}},
                 {{"name", "kind"}, {"categories", {"flat", "house"}}, {"encoding", "index"}},
                 {{"name", "year"}}}},
               {"fill", {7.5, 0.25, 0.5, 0.25, 0.5, 1990}}};
  folder.WriteModel(model, kFloats, data);
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  const Preprocessing& preprocessing = saved->preprocessing;
  EXPECT_EQ(preprocessing.shape, (spec::Shape{4}));
  auto text = [](const std::vector<float>& numbers) {
    std::string all;
    for (float number : numbers)
      all += std::isnan(number) ? "- " : std::to_string(std::lround(10 * number)) + " ";
    return all;
  };
  EXPECT_EQ(text(preprocessing.fill), "75 0 - 19900 ");
  EXPECT_EQ(preprocessing.column, (std::vector<int64_t>{0, 1, 1, 1, 2, 3}));
  EXPECT_EQ(text(preprocessing.category), "- 0 10 20 - - ");

  data["columns"].erase(3);
  folder.WriteModel(model, kFloats, data);
  EXPECT_NE(Why(folder).find("$.data.columns: expected columns of 6 features"), std::string::npos);
  data["columns"][1].erase("encoding");
  folder.WriteModel(model, kFloats, data);
  EXPECT_NE(Why(folder).find("$.data.columns[1]: expected an object"), std::string::npos);
  data["fill"] = {1, 2};
  folder.WriteModel(model, kFloats, data);
  EXPECT_NE(Why(folder).find("$.data.fill: expected 6 numbers, found 2"), std::string::npos);
}

TEST(SavedModel, ATableOfNumbersIsTakenAsItIs) {
  TestFolder folder;
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  folder.WriteModel(kDense, kFloats,
                    {{"columns", {{{"name", "a"}}, {{"name", "b"}}, {{"name", "c"}}}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->preprocessing.shape, (spec::Shape{3}));
  EXPECT_TRUE(saved->preprocessing.fill.empty());
  EXPECT_TRUE(saved->preprocessing.column.empty());
}

}  // namespace
}  // namespace cyxwiz::exporting
