#include "spec/model_reader.h"

#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

JobDescription GraphJob(const std::string& model) { return Job(model, "file:///images"); }

// A model on images, whose layers end in {"name": "end", "type": "flatten"} and a dense layer.
Problems ProblemsOf(const std::string& layers, const std::string& more = "") {
  return Check(GraphJob("{\"layers\": [" + layers +
                        R"(, {"name": "flat", "type": "flatten"},
                            {"name": "head", "type": "dense", "units": 10}])" +
                        more + "}"))
      .problems;
}

std::vector<std::string> NamesOf(const ModelSpec& model) {
  std::vector<std::string> names;
  for (const LayerSpec& layer : model.layers) names.push_back(layer.name);
  return names;
}

constexpr char kResidual[] = R"({"inputs": {"image": [1, 28, 28]}, "layers": [
    {"name": "a", "type": "conv2d", "filters": 4, "kernel_size": 3, "padding": "same",
     "activation": "relu", "inputs": "image"},
    {"name": "b", "type": "conv2d", "filters": 4, "kernel_size": 3, "padding": "same"},
    {"name": "sum", "type": "add", "inputs": ["b", "a"], "activation": "relu"},
    {"name": "both", "type": "concatenate", "axis": 1, "inputs": ["sum", "image"]},
    {"name": "pool", "type": "global_average_pooling2d"},
    {"name": "head", "type": "dense", "units": 10}],
    "outputs": ["head"]})";

TEST(ModelGraph, LayersTakeTheValuesTheyName) {
  auto [spec, problems] = Check(GraphJob(kResidual));
  ASSERT_TRUE(spec) << problems.ToString();
  const auto& layers = spec->model.layers;
  EXPECT_EQ(NamesOf(spec->model),
            (std::vector<std::string>{"a", "b", "sum", "both", "pool", "head"}));
  EXPECT_EQ(layers[0].inputs, std::vector<int>{kModelInput});
  EXPECT_EQ(layers[1].inputs, std::vector<int>{0});
  EXPECT_EQ(layers[2].inputs, (std::vector<int>{1, 0}));
  EXPECT_EQ(layers[3].inputs, (std::vector<int>{2, kModelInput}));
  EXPECT_EQ(layers[3].output_shape, (Shape{5, 28, 28}));
  EXPECT_EQ(layers[4].output_shape, Shape{5});
  EXPECT_EQ(spec->model.parameters, 40 + 148 + 60);
}

TEST(ModelGraph, MayBeWrittenInAnyOrder) {
  auto [spec, problems] = Check(GraphJob(R"({"layers": [
      {"name": "head", "type": "dense", "units": 10, "inputs": ["sum"]},
      {"name": "sum", "type": "add", "inputs": ["left", "right"]},
      {"name": "right", "type": "dense", "units": 6, "inputs": ["flat"]},
      {"name": "left", "type": "dense", "units": 6, "inputs": ["flat"]},
      {"name": "flat", "type": "flatten", "inputs": ["input"]}], "outputs": "head"})"));
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(NamesOf(spec->model),
            (std::vector<std::string>{"flat", "right", "left", "sum", "head"}));
}

TEST(ModelGraph, CanonicalJsonIsAModelDefinitionOfTheSameModel) {
  for (const char* model :
       {kResidual, R"({"layers": [{"type": "flatten"}, {"type": "dense", "units": 8},
                {"type": "block", "name": "body", "repeat": 3, "residual": true,
                 "activation": "relu", "layers": [{"type": "dense", "units": 8},
                   {"type": "block", "layers": [{"type": "relu"}]}]},
                {"type": "dense", "units": 10}]})"}) {
    auto [spec, problems] = Check(GraphJob(model));
    ASSERT_TRUE(spec) << problems.ToString();
    Json json = ModelToJson(spec->model);
    auto again = Check(GraphJob(json.dump()));
    ASSERT_TRUE(again.spec) << again.problems.ToString();
    EXPECT_EQ(ModelToJson(again.spec->model), json);
  }
}

TEST(ModelGraph, BlocksAreWrittenOutUnderTheirNames) {
  auto [spec, problems] = Check(GraphJob(R"({"layers": [
      {"type": "flatten"}, {"type": "dense", "units": 8},
      {"type": "block", "name": "body", "repeat": 2, "residual": true, "activation": "relu",
       "layers": [{"type": "dense", "units": 16, "name": "wide"}, {"type": "dense", "units": 8}]},
      {"type": "block", "layers": [{"type": "dense", "units": 10}]}]})"));
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(NamesOf(spec->model),
            (std::vector<std::string>{"flatten_1", "dense_1", "body.0.wide", "body.0.dense_1",
                                      "body.0.residual", "body.1.wide", "body.1.dense_1",
                                      "body.1.residual", "block_1.dense_1"}));
  const auto& layers = spec->model.layers;
  EXPECT_EQ(layers[4].type, "add");
  EXPECT_EQ(layers[4].activation, Activation::kRelu);
  EXPECT_EQ(layers[4].inputs, (std::vector<int>{3, 1}));
  EXPECT_EQ(layers[7].inputs, (std::vector<int>{6, 4}));
}

TEST(ModelGraph, ABlockSeesItsOwnInput) {
  auto [spec, problems] = Check(GraphJob(R"({"layers": [
      {"name": "stem", "type": "conv2d", "filters": 4, "kernel_size": 3},
      {"type": "block", "name": "down", "layers": [
        {"name": "a", "type": "conv2d", "filters": 8, "kernel_size": 3, "strides": 2, "padding": 1},
        {"name": "short", "type": "conv2d", "filters": 8, "kernel_size": 1, "strides": 2,
         "inputs": "input"},
        {"type": "add", "inputs": ["a", "short"], "activation": "relu"}]},
      {"type": "flatten"}, {"type": "dense", "units": 10}]})"));
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(spec->model.layers[2].name, "down.short");
  EXPECT_EQ(spec->model.layers[2].inputs, std::vector<int>{0});
}

TEST(ModelGraph, WrongConnectionsAreRefused) {
  struct Case {
    const char* layers;
    const char* path;
    const char* says;
  };
  for (
      const Case& c : std::initializer_list<Case>{
          {R"({"name": "convolution", "type": "relu"}, {"type": "relu", "inputs": ["convolutoin"]})",
           "$.model.layers[1].inputs[0]", "did you mean 'convolution'?"},
          {R"({"name": "a", "type": "relu", "inputs": "b"})", "$.model.layers[0].inputs",
           "no layer of this name"},
          {R"({"name": "a", "type": "relu", "inputs": 3})", "$.model.layers[0].inputs",
           "an array of names, found 3"},
          {R"({"name": "a", "type": "relu", "inputs": []})", "$.model.layers[0].inputs",
           "an array of names, found []"},
          {R"({"name": "a", "type": "relu", "inputs": ["input", "input"]})",
           "$.model.layers[0].inputs", "takes one input"},
          {R"({"type": "relu"}, {"type": "add"})", "$.model.layers[1].inputs",
           "2 to 64 names, found nothing"},
          {R"({"type": "add", "inputs": ["input"]})", "$.model.layers[0].inputs", "2 to 64 names"},
          {R"({"name": "a", "type": "relu"}, {"name": "b", "type": "relu", "inputs": "input"})",
           "$.model.layers[0]", "nothing uses the output"},
          {R"({"name": "a", "type": "add", "inputs": ["input", "c"]},
               {"name": "b", "type": "relu"}, {"name": "c", "type": "relu"})",
           "$.model.layers[0].inputs", "a -> b -> c -> a"},
          {R"({"name": "a", "type": "add", "inputs": ["a", "input"]})", "$.model.layers[0].inputs",
           "a -> a"},
          {R"({"name": "input", "type": "relu"})", "$.model.layers[0].name",
           "is the name of what the first layer gets"},
          {R"({"name": "a", "type": "block", "layers": [{"type": "relu", "inputs": "head"}]})",
           "$.model.layers[0].layers[0].inputs", "of the same list"},
          {R"({"name": "a", "type": "flatten"}, {"type": "add", "inputs": ["a", "input"]})",
           "$.model.layers[1]", "[784] and [1, 28, 28]"},
          {R"({"name": "a", "type": "conv2d", "filters": 2, "kernel_size": 3},
               {"type": "concatenate", "axis": 1, "inputs": ["a", "input"]})",
           "$.model.layers[1]", "but for dimension 1"},
          {R"({"type": "concatenate", "inputs": ["input", "input"]})", "$.model.layers[0].axis",
           "1 joins the channels"},
          {R"({"type": "concatenate", "axis": 4, "inputs": ["input", "input"]})",
           "$.model.layers[0].axis", "1 to 3, or -1"},
          {R"({"name": "a", "type": "transformer_encoder", "num_heads": 1, "inputs": "r"},
               {"name": "r", "type": "reshape", "target_shape": [28, 28], "inputs": "input"},
               {"name": "a.self_attn", "type": "multi_head_attention", "num_heads": 1, "inputs": "a"})",
           "$.model.layers[2]", "also those of another"},
      }) {
    EXPECT_TRUE(SaysOnly(ProblemsOf(c.layers), c.path, c.says)) << c.layers;
  }
}

TEST(ModelGraph, OneInputAndOneOutput) {
  const std::string layers = R"({"name": "a", "type": "relu"})";
  EXPECT_TRUE(
      SaysOnly(ProblemsOf(layers, R"(, "outputs": ["head", "a"])"), "$.model.outputs", "one loss"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "outputs": ["haed"])"), "$.model.outputs",
                       "did you mean 'head'?"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "outputs": ["input"])"), "$.model.outputs",
                       "cannot be the output"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "outputs": [])"), "$.model.outputs", "found []"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "inputs": {"x": [1, 28, 28], "y": [3]})"),
                       "$.model.inputs", "one input"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "inputs": 5)"), "$.model.inputs", "name the input"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "inputs": {"x": [28, 28]})"), "$.model.inputs.x",
                       "expected [1, 28, 28], found [28, 28]"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "inputs": {"x": 28})"), "$.model.inputs.x",
                       "is not a shape"));
  EXPECT_TRUE(ProblemsOf(layers, R"(, "inputs": ["x"])").empty());
  EXPECT_TRUE(SaysOnly(ProblemsOf(layers, R"(, "outputs": ["a"])"), "$.model.layers[1]",
                       "leads to \"a\"") ||
              ProblemsOf(layers, R"(, "outputs": ["a"])").count() == 2);
}

TEST(ModelGraph, WrongBlocksAreRefused) {
  struct Case {
    const char* block;
    const char* path;
    const char* says;
  };
  for (
      const Case& c : std::initializer_list<Case>{
          {R"({"type": "block"})", ".layers", "at least one layer"},
          {R"({"type": "block", "layers": []})", ".layers", "found []"},
          {R"({"type": "block", "layers": [{"type": "relu"}], "repeat": 0})", ".repeat",
           "from 1 to 1000, found 0"},
          {R"({"type": "block", "layers": [{"type": "relu"}], "repeats": 2})", ".repeats",
           "did you mean 'repeat'?"},
          {R"({"type": "block", "layers": [{"type": "relu"}], "activation": "relu"})",
           ".activation", "needs \"residual\": true"},
          {R"({"type": "block", "layers": [{"type": "input", "shape": [3]}]})", ".layers[0]",
           "must be the first layer"},
          {R"({"type": "block", "repeat": 3, "layers": [{"type": "dense", "units": -1}]})",
           ".layers[0].units", "found -1"},
          {R"({"type": "block", "residual": true, "layers":
                [{"type": "conv2d", "filters": 1, "kernel_size": 3}]})",
           "", "expected [1, 28, 28], found [1, 26, 26]"},
          // Fits twice, not three times; told once.
          {R"({"type": "block", "repeat": 5, "layers": [{"type": "max_pooling2d", "pool_size": 3}]})",
           ".layers[0]", "larger than the image"},
          {R"({"type": "block", "repeat": 4, "layers":
                [{"type": "conv2d", "in_channels": 2, "filters": 2, "kernel_size": 1}]})",
           ".layers[0].in_channels", "expected 1, found 2"},
      }) {
    EXPECT_TRUE(SaysOnly(ProblemsOf(c.block), std::string("$.model.layers[0]") + c.path, c.says))
        << c.block;
  }
}

TEST(ModelGraph, BlocksAreCountedBeforeTheyAreWrittenOut) {
  EXPECT_TRUE(
      SaysOnly(ProblemsOf(R"({"type": "block", "repeat": 999, "layers": [{"type": "relu"}]})"),
               "$.model.layers", "at most 1000, found 1001"));
  EXPECT_TRUE(
      ProblemsOf(R"({"type": "block", "repeat": 998, "layers": [{"type": "relu"}]})").empty());
  std::string block = R"({"type": "relu"})";
  for (int i = 0; i < 20; ++i) {
    block = R"({"type": "block", "repeat": 1000, "layers": [)" + block + "]}";
  }
  EXPECT_TRUE(SaysOnly(ProblemsOf(block), "$.model.layers", "found 9223372036854775807"));
  EXPECT_TRUE(SaysOnly(
      ProblemsOf(
          R"({"type": "block", "repeat": 18446744073709551615, "layers": [{"type": "relu"}]})"),
      "$.model.layers", "found 9223372036854775807"));
  std::string empty;
  for (int i = 0; i < 20000; ++i) empty += R"({"type": "block", "layers": []},)";
  EXPECT_TRUE(SaysOnly(ProblemsOf(empty + R"({"type": "relu"})"), "$.model.layers", "found 20003"));
}

TEST(ModelGraph, EverythingWrongIsToldAtOnce) {
  Problems problems = ProblemsOf(R"({"type": "relu", "inputs": "nothing"},
      {"type": "block", "repeat": -1, "layers": [{"type": "dense"}, {"type": "add"}]},
      {"type": "conv2d", "filters": 0, "kernel_size": 3})");
  EXPECT_EQ(problems.count(), 5u) << problems.ToString();
}

}  // namespace
}  // namespace cyxwiz::spec
