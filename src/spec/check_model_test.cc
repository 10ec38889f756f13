#include "spec/check_model.h"

#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

const char kDense[] = R"({"type": "dense", "units": 10})";

TEST(Model, MustBeJsonOfTheRightForm) {
  for (auto [text, says] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "no model"},
           {"layers:", "not JSON"},
           {"[]", "not an object"},
           {"12", "not an object"},
           {R"({"layers": [{"type": "dense", "units": 1, "units": 2}]})", "\"units\" twice"},
       }) {
    EXPECT_TRUE(SaysOnly(Check(Job(text)).problems, "$.model", says)) << text;
  }
  EXPECT_TRUE(SaysOnly(Check(Job("{}")).problems, "$.model.layers", "an array of at least one"));
  EXPECT_TRUE(SaysOnly(Check(Job(R"({"layers": []})")).problems, "$.model.layers", "found []"));
  EXPECT_TRUE(SaysOnly(Check(Job(R"({"layers": {}})")).problems, "$.model.layers", "found {}"));
  EXPECT_TRUE(
      Says(Check(Job(R"({"layer": []})")).problems, "$.model.layer", "did you mean 'layers'?"));
}

TEST(Model, MegabyteOfNestedBracketsIsRefused) {
  EXPECT_TRUE(
      SaysOnly(Check(Job(std::string(1 << 20, '['))).problems, "$.model", "deeper than 64"));
}

TEST(Model, LimitsAreNamed) {
  EXPECT_TRUE(SaysOnly(Check(Job(std::string((1 << 20) + 1, ' '))).problems, "$.model",
                       "at most 1048576 bytes"));
  std::string layers = kDense;
  for (int i = 0; i < 1000; ++i) layers += std::string(",") + kDense;
  EXPECT_TRUE(SaysOnly(Check(Job("{\"layers\": [" + layers + "]}")).problems, "$.model.layers",
                       "at most 1000, found 1001"));
  EXPECT_TRUE(SaysOnly(Check(Job(R"({"layers": [{"type": "dense", "units": 1000000},
                                                {"type": "dense", "units": 1000000}]})"))
                           .problems,
                       "$.model", "at most 10000000000, found 1000012000000"));
}

TEST(Model, OneWithNothingToTrainIsRefused) {
  EXPECT_TRUE(SaysOnly(Check(Job(R"({"layers": [{"type": "relu"}]})")).problems, "$.model.layers",
                       "nothing to train"));
}

TEST(Model, InputShapeComesFromTheDataOrTheModel) {
  const std::string dense = kDense;
  const std::string file = "file:///images";
  for (const std::string& model : {
           R"({"layers": [{"type": "input", "shape": [12]}, )" + dense + "]}",
           R"({"layers": [{"type": "InputLayer", "input_shape": [12], "name": "in"}, )" + dense +
               "]}",
           R"({"input_shape": [12], "layers": [)" + dense + "]}",
           std::string(R"({"layers": [{"type": "dense", "units": 10, "input_shape": [12]}]})"),
       }) {
    auto [spec, problems] = Check(Job(model, file), std::nullopt);
    ASSERT_TRUE(spec) << model << problems.ToString();
    EXPECT_EQ(spec->model.input_shape, Shape{12});
    EXPECT_EQ(spec->model.layers.size(), 1u);
    EXPECT_EQ(spec->model.parameters, 130);
    EXPECT_FALSE(spec->dataset);
  }
  EXPECT_TRUE(SaysOnly(Check(Job("{\"layers\": [" + dense + "]}", file), std::nullopt).problems,
                       "$.model", "add \"input_shape\""));
}

TEST(Model, InputShapesMustAgree) {
  EXPECT_TRUE(SaysOnly(
      Check(
          ImageJob(
              R"({"type": "input", "shape": [28, 28, 1]}, {"type": "flatten"}, {"type": "dense", "units": 10})"))
          .problems,
      "$.model.layers[0]", "channels first"));
  EXPECT_TRUE(SaysOnly(
      Check(ImageJob(R"({"type": "input", "shape": [784]}, {"type": "dense", "units": 10})"))
          .problems,
      "$.model.layers[0]", "flatten"));
  EXPECT_TRUE(SaysOnly(Check(Job(R"({"input_shape": [12], "layers": [
      {"type": "input", "shape": [13]}, {"type": "dense", "units": 10}]})",
                                 "file:///x"),
                             std::nullopt)
                           .problems,
                       "$.model.layers[0]", "expected [12], found [13]"));
}

TEST(Model, InputEntriesAreChecked) {
  auto problems = [](const std::string& entry) {
    return Check(ImageJob(entry + R"(, {"type": "flatten"}, {"type": "dense", "units": 10})"),
                 std::nullopt)
        .problems;
  };
  EXPECT_TRUE(SaysOnly(problems(R"({"type": "input"})"), "$.model.layers[0].shape", "missing"));
  EXPECT_TRUE(SaysOnly(problems(R"({"type": "input", "shape": [null, 28, 28]})"),
                       "$.model.layers[0].shape", "leave the batch dimension out"));
  EXPECT_TRUE(SaysOnly(problems(R"({"type": "input", "shape": 784})"), "$.model.layers[0].shape",
                       "write [784]"));
  EXPECT_TRUE(SaysOnly(problems(R"({"type": "input", "shape": [0]})"), "$.model.layers[0].shape",
                       "positive"));
  EXPECT_TRUE(SaysOnly(problems(R"({"type": "input", "shape": [2147483648, 2147483648, 4]})"),
                       "$.model.layers[0]", "too large"));
  EXPECT_TRUE(SaysOnly(
      Check(ImageJob(R"({"type": "flatten"}, {"type": "input", "shape": [784]})")).problems,
      "$.model.layers[1]", "must be the first layer"));
}

TEST(Model, PathsCountTheInputEntry) {
  EXPECT_TRUE(SaysOnly(
      Check(
          ImageJob(
              R"({"type": "input", "shape": [1, 28, 28]}, {"type": "flatten"}, {"type": "dense", "units": 9})"))
          .problems,
      "$.model.layers[2].units", "set units to 10"));
}

TEST(Model, OptionsOfLayersAfterAWrongOneAreStillChecked) {
  auto problems = Check(Job(R"({"layers": [{"type": "dence"}, {"type": "dense", "units": -1},
                               {"type": "dropout", "rate": 2}]})"))
                      .problems;
  EXPECT_EQ(problems.count(), 3u);
  EXPECT_TRUE(Says(problems, "$.model.layers[0].type", "dence"));
  EXPECT_TRUE(Says(problems, "$.model.layers[1].units", "-1"));
  EXPECT_TRUE(Says(problems, "$.model.layers[2].rate", "2"));
}

TEST(Model, CanonicalJsonIsAModelDefinitionOfTheSameModel) {
  auto [spec, problems] = Check(ImageJob(R"(
      {"type": "Conv2d", "out_channels": 8, "kernel_size": [3, 2], "stride": 2, "padding": [1, 0], "bias": false},
      {"type": "BatchNorm2d", "eps": 0.001, "momentum": 0.2}, {"type": "ReLU"},
      {"type": "conv2d", "filters": 8, "kernel_size": 3, "padding": "same", "groups": 4, "activation": "gelu"},
      {"type": "AvgPool2d", "kernel_size": 3, "stride": 1, "padding": 1}, {"type": "MaxPool2d"},
      {"type": "Flatten"}, {"type": "Dropout", "p": 0.3}, {"type": "Linear", "out_features": 20, "name": "hidden"},
      {"type": "dense", "units": 10, "activation": "softmax"})"));
  ASSERT_TRUE(spec) << problems.ToString();
  Json json = ModelToJson(spec->model);
  auto again = Check(Job(json.dump(), "file:///images"));
  ASSERT_TRUE(again.spec) << again.problems.ToString();
  EXPECT_EQ(ModelToJson(again.spec->model), json);
  EXPECT_EQ(json["layers"][0]["strides"], Json({2, 2}));
  EXPECT_EQ(json["layers"][0]["padding"], Json({1, 0}));
  EXPECT_EQ(json["layers"][0]["use_bias"], false);
  EXPECT_EQ(json["layers"][3]["padding"], "same");
  EXPECT_EQ(json["layers"][8]["name"], "hidden");
  EXPECT_EQ(json["parameters"], spec->model.parameters);
  // Without the data too: the file stands for itself.
  EXPECT_TRUE(Check(Job(json.dump(), "file:///images"), std::nullopt).spec);
  json["layers"][8]["parameters"] = 1;
  EXPECT_TRUE(SaysOnly(Check(Job(json.dump(), "file:///images")).problems,
                       "$.model.layers[8].parameters", "does not fit"));
}

// Each kind of layer, with options that are not its defaults.
TEST(Model, CanonicalJsonOfEachLayerGivesItBack) {
  struct Case {
    Shape input;
    const char* layer;
  };
  for (const Case& c : std::initializer_list<Case>{
           {{4, 9}, R"({"type": "conv1d", "filters": 2, "kernel_size": 3, "padding": "same"})"},
           {{4, 9, 9}, R"({"type": "conv2d", "filters": 2, "kernel_size": 3, "dilation": [1, 2]})"},
           {{4, 9, 9, 9}, R"({"type": "conv3d", "filters": 2, "kernel_size": 3, "padding": 1})"},
           {{4, 9, 9}, R"({"type": "depthwise_conv2d", "kernel_size": [3, 2], "use_bias": false})"},
           {{4, 9, 9}, R"({"type": "separable_conv2d", "filters": 2, "kernel_size": 3,
                           "depth_multiplier": 2})"},
           {{4, 9, 9}, R"({"type": "conv2d_transpose", "filters": 2, "kernel_size": 3,
                           "strides": 2, "output_padding": 1})"},
           {{4, 9, 9}, R"({"type": "conv2d_transpose", "filters": 2, "kernel_size": 3,
                           "strides": 2, "padding": "same"})"},
           {{4, 9},
            R"({"type": "max_pooling1d", "pool_size": 3, "strides": 1, "padding": "same"})"},
           {{4, 9, 9, 9}, R"({"type": "average_pooling3d", "pool_size": 3, "padding": 1})"},
           {{4, 9, 9}, R"({"type": "global_max_pooling2d", "keepdims": true})"},
           {{4, 9}, R"({"type": "layer_normalization", "dimensions": 2, "scale": false})"},
           {{4, 9}, R"({"type": "group_normalization", "groups": 2, "eps": 0.1})"},
           {{4, 9}, R"({"type": "rms_normalization"})"},
           {{4}, R"({"type": "embedding", "input_dim": 9, "output_dim": 3})"},
           {{4, 9}, R"({"type": "positional_embedding"})"},
           {{4, 9}, R"({"type": "positional_embedding", "sequence_length": 6})"},
           {{4, 9}, R"({"type": "lstm", "units": 3, "num_layers": 2, "dropout": 0.1})"},
           {{4, 9}, R"({"type": "gru", "units": 3, "bidirectional": true})"},
           {{4, 9}, R"({"type": "multi_head_attention", "num_heads": 3, "causal": true})"},
           {{4, 9}, R"({"type": "transformer_encoder", "num_heads": 3, "activation": "gelu"})"},
           {{4, 9}, R"({"type": "reshape", "target_shape": [6, -1]})"},
           {{4, 9}, R"({"type": "permute", "dims": [2, 1]})"},
           {{4, 9, 9}, R"({"type": "upsampling2d", "size": [2, 3], "mode": "bilinear"})"},
           {{4, 9, 9}, R"({"type": "zero_padding2d", "padding": [[1, 2], [3, 4]]})"},
           {{4, 9}, R"({"type": "leaky_relu", "negative_slope": 0.3})"},
           {{4, 9}, R"({"type": "elu", "alpha": 2})"},
           {{4, 9}, R"({"type": "gelu", "approximate": "tanh"})"},
           {{4, 9}, R"({"type": "relu", "activation": "hard_swish"})"},
           {{4, 9}, R"({"type": "concatenate", "axis": -1, "inputs": ["input", "input"]})"},
           {{4, 9}, R"({"type": "multiply", "inputs": ["input", "input", "input"]})"},
       }) {
    SCOPED_TRACE(c.layer);
    const std::string model = "{\"input_shape\": " + ToString(c.input) + ", \"layers\": [" +
                              c.layer +
                              R"(, {"type": "flatten"}, {"type": "dense", "units": 10}]})";
    auto [spec, problems] = Check(Job(model, "file:///x"), std::nullopt);
    ASSERT_TRUE(spec) << problems.ToString();
    Json json = ModelToJson(spec->model);
    auto again = Check(Job(json.dump(), "file:///x"), std::nullopt);
    ASSERT_TRUE(again.spec) << again.problems.ToString();
    EXPECT_EQ(ModelToJson(again.spec->model), json);
    EXPECT_EQ(again.spec->estimate.memory_bytes, spec->estimate.memory_bytes);
  }
}

}  // namespace
}  // namespace cyxwiz::spec
