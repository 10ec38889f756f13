#include "spec/layers.h"

#include "spec/count.h"
#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

// Checks one layer on an input of the given shape. What the loss says of the output is left aside:
// a flatten and a dense layer follow.
struct OneLayer {
  LayerSpec layer;
  Problems problems;
};
OneLayer CheckLayer(const std::string& layer, const Shape& input) {
  DatasetInfo info = FashionMnist();
  info.sample_shape = input;
  Checked checked =
      Check(ImageJob(layer + R"(, {"type": "flatten"}, {"type": "dense", "units": 10})"), info);
  return {checked.spec ? checked.spec->model.layers[0] : LayerSpec(), checked.problems};
}

TEST(Layers, MlpHasTheShapesAndCountsOfPaperAndPencil) {
  auto [spec, problems] = Check(ImageJob(R"(
      {"type": "flatten"},
      {"type": "dense", "units": 128, "activation": "relu"},
      {"type": "dense", "units": 10})"));
  ASSERT_TRUE(spec) << problems.ToString();
  const ModelSpec& model = spec->model;
  EXPECT_EQ(model.input_shape, (Shape{1, 28, 28}));
  EXPECT_EQ(model.layers[0].output_shape, Shape{784});
  EXPECT_EQ(model.layers[1].output_shape, Shape{128});
  EXPECT_EQ(model.output_shape, Shape{10});
  EXPECT_EQ(model.layers[1].parameters, 784 * 128 + 128);
  EXPECT_EQ(model.parameters, 101'770);
  EXPECT_EQ(model.layers[1].activation, Activation::kRelu);
  EXPECT_EQ(model.flops, 2 * 784 * 128 + 128 + 2 * 128 * 10);
}

TEST(Layers, CnnHasTheShapesAndCountsOfPaperAndPencil) {
  auto [spec, problems] = Check(ImageJob(R"(
      {"type": "conv2d", "filters": 32, "kernel_size": 3, "activation": "relu"},
      {"type": "max_pooling2d"},
      {"type": "conv2d", "filters": 64, "kernel_size": [3, 3], "activation": "relu"},
      {"type": "max_pooling2d", "pool_size": 2},
      {"type": "flatten"},
      {"type": "dense", "units": 10})"));
  ASSERT_TRUE(spec) << problems.ToString();
  const auto& layers = spec->model.layers;
  EXPECT_EQ(layers[0].output_shape, (Shape{32, 26, 26}));
  EXPECT_EQ(layers[1].output_shape, (Shape{32, 13, 13}));
  EXPECT_EQ(layers[2].output_shape, (Shape{64, 11, 11}));
  EXPECT_EQ(layers[3].output_shape, (Shape{64, 5, 5}));
  EXPECT_EQ(layers[4].output_shape, Shape{1600});
  EXPECT_EQ(layers[0].parameters, 320);
  EXPECT_EQ(layers[2].parameters, 18'496);
  EXPECT_EQ(layers[5].parameters, 16'010);
  EXPECT_EQ(spec->model.parameters, 34'826);
  EXPECT_EQ(layers[2].flops, 2 * 32 * 9 * 64 * 121 + 64 * 121);
}

TEST(Layers, ConvolutionFollowsPyTorchsArithmetic) {
  auto shape = [](const std::string& options) {
    OneLayer one = CheckLayer(R"({"type": "conv2d", "filters": 8, )" + options + "}", {4, 11, 8});
    EXPECT_TRUE(one.problems.empty()) << one.problems.ToString();
    return one.layer.output_shape;
  };
  EXPECT_EQ(shape(R"("kernel_size": [3, 2])"), (Shape{8, 9, 7}));
  EXPECT_EQ(shape(R"("kernel_size": 3, "strides": 2)"), (Shape{8, 5, 3}));
  EXPECT_EQ(shape(R"("kernel_size": 3, "stride": [2, 1], "padding": 1)"), (Shape{8, 6, 8}));
  EXPECT_EQ(shape(R"("kernel_size": 3, "dilation": 2, "padding": [2, 0])"), (Shape{8, 11, 4}));
  EXPECT_EQ(shape(R"("kernel_size": 4, "padding": "same")"), (Shape{8, 11, 8}));
  OneLayer grouped = CheckLayer(
      R"({"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "groups": 2, "bias": false})",
      {4, 11, 8});
  EXPECT_EQ(grouped.layer.parameters, 8 * 2 * 9);
}

TEST(Layers, PoolingFollowsPyTorchAndSamePaddingFollowsKeras) {
  auto shape = [](const std::string& layer) {
    OneLayer one = CheckLayer(layer, {4, 11, 8});
    EXPECT_TRUE(one.problems.empty()) << one.problems.ToString();
    return one.layer.output_shape;
  };
  EXPECT_EQ(shape(R"({"type": "max_pooling2d"})"), (Shape{4, 5, 4}));
  EXPECT_EQ(shape(R"({"type": "AvgPool2d", "kernel_size": 3})"), (Shape{4, 3, 2}));
  EXPECT_EQ(shape(R"({"type": "MaxPool2d", "kernel_size": 3, "stride": 1, "padding": 1})"),
            (Shape{4, 11, 8}));
  EXPECT_EQ(shape(R"({"type": "average_pooling2d", "padding": "same"})"), (Shape{4, 6, 4}));
}

TEST(Layers, BatchNormalizationCountsOneScaleAndShiftAChannel) {
  EXPECT_EQ(CheckLayer(R"({"type": "batch_normalization"})", {4, 11, 8}).layer.parameters, 8);
  EXPECT_EQ(CheckLayer(R"({"type": "BatchNorm1d", "num_features": 20})", {20}).layer.parameters,
            40);
  EXPECT_TRUE(SaysOnly(CheckLayer(R"({"type": "BatchNorm1d"})", {4, 11, 8}).problems,
                       "$.model.layers[0]", "use BatchNorm2d"));
  EXPECT_TRUE(SaysOnly(CheckLayer(R"({"type": "BatchNorm2d"})", {20}).problems, "$.model.layers[0]",
                       "[channels, height, width]"));
}

TEST(Layers, BatchNormalizationOfSingleValuesNeedsABatch) {
  JobDescription job = Job(R"({"layers": [{"type": "dense", "units": 8},
      {"type": "batch_normalization"}, {"type": "dense", "units": 10}]})");
  job.batch_size = 1;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.model.layers[1]", "raise batch_size"));
  job.batch_size = 2;
  EXPECT_TRUE(Check(job).spec);
}

TEST(Layers, DenseActsOnTheLastDimension) {
  OneLayer one = CheckLayer(R"({"type": "dense", "units": 5})", {3, 7});
  EXPECT_EQ(one.layer.output_shape, (Shape{3, 5}));
  EXPECT_EQ(one.layer.parameters, 7 * 5 + 5);
}

TEST(Layers, GoByTheNamesOfKerasAndPyTorch) {
  for (const char* name : {"dense", "Dense", "linear", "Linear"}) {
    ASSERT_NE(FindLayerKind(name), nullptr) << name;
    EXPECT_EQ(FindLayerKind(name)->type, "dense");
  }
  for (const char* name : {"Conv2D", "Conv2d", "conv_2d", "CONV2D", "Convolution2D"}) {
    ASSERT_NE(FindLayerKind(name), nullptr) << name;
    EXPECT_EQ(FindLayerKind(name)->type, "conv2d");
  }
  for (const char* name : {"MaxPooling2D", "MaxPool2d", "max_pool2d", "max_pooling2d"}) {
    ASSERT_NE(FindLayerKind(name), nullptr) << name;
    EXPECT_EQ(FindLayerKind(name)->type, "max_pooling2d");
  }
  for (const char* name : {"AveragePooling2D", "AvgPool2d", "avg_pool2d"}) {
    ASSERT_NE(FindLayerKind(name), nullptr) << name;
    EXPECT_EQ(FindLayerKind(name)->type, "average_pooling2d");
  }
  for (const char* name : {"BatchNormalization", "BatchNorm1d", "BatchNorm2d", "batch_norm"}) {
    ASSERT_NE(FindLayerKind(name), nullptr) << name;
    EXPECT_EQ(FindLayerKind(name)->type, "batch_normalization");
  }
  for (const char* name : {"ReLU", "Sigmoid", "Tanh", "GELU", "Softmax", "Flatten", "Dropout"}) {
    EXPECT_NE(FindLayerKind(name), nullptr) << name;
  }
  EXPECT_EQ(FindLayerKind("perceptron"), nullptr);
}

TEST(Layers, AliasesOfOptionsMeanTheSame) {
  auto keras = CheckLayer(R"({"type": "dense", "units": 7, "use_bias": false})", {20});
  auto pytorch = CheckLayer(
      R"({"type": "Linear", "in_features": 20, "out_features": 7, "bias": false})", {20});
  EXPECT_TRUE(pytorch.problems.empty()) << pytorch.problems.ToString();
  EXPECT_EQ(keras.layer.parameters, 140);
  EXPECT_EQ(pytorch.layer.parameters, 140);
  EXPECT_EQ(pytorch.layer.type, "dense");
  EXPECT_TRUE(
      SaysOnly(CheckLayer(R"({"type": "dense", "units": 7, "out_features": 7})", {20}).problems,
               "$.model.layers[0].out_features", "two names of the same thing"));
  auto dropout = CheckLayer(R"({"type": "Dropout", "p": 0.25})", {20});
  EXPECT_EQ(std::get<DropoutOptions>(dropout.layer.options).rate, 0.25);
}

TEST(Layers, InputSizesAreCheckedAgainstTheInferred) {
  EXPECT_TRUE(SaysOnly(
      CheckLayer(R"({"type": "Linear", "in_features": 21, "out_features": 7})", {20}).problems,
      "$.model.layers[0].in_features", "expected 20, found 21"));
  EXPECT_TRUE(SaysOnly(
      CheckLayer(R"({"type": "Conv2d", "in_channels": 3, "out_channels": 7, "kernel_size": 3})",
                 {1, 8, 8})
          .problems,
      "$.model.layers[0].in_channels", "expected 1, found 3"));
}

TEST(Layers, WrongOptionsAreRefused) {
  struct Case {
    const char* layer;
    const char* path;
    const char* says;
  };
  for (
      const Case& c : std::initializer_list<Case>{
          {R"({"type": "dense"})", ".units", "units is missing"},
          {R"({"type": "dense", "units": -5})", ".units",
           "expected a whole number from 1 to 1048576, found -5"},
          {R"({"type": "dense", "units": 0})", ".units", "found 0"},
          {R"({"type": "dense", "units": 1000000000000})", ".units", "found 1000000000000"},
          {R"({"type": "dense", "units": 18446744073709551615})", ".units", "out of range"},
          {R"({"type": "dense", "units": 99999999999999999999999})", ".units", "not a whole"},
          {R"({"type": "dense", "units": 1e3})", ".units", "(write 1000)"},
          {R"({"type": "dense", "units": "10"})", ".units", "found \"10\""},
          {R"({"type": "dense", "units": null})", ".units", "found null"},
          {R"({"type": "dense", "unist": 10, "units": 10})", ".unist", "did you mean 'units'?"},
          {R"({"type": "dense", "units": 10, "use_bias": 1})", ".use_bias", "true or false"},
          {R"({"type": "dense", "units": 10, "activation": "rellu"})", ".activation",
           "did you mean 'relu'?"},
          {R"({"type": "dense", "units": 10, "activation": 3})", ".activation", "one of linear"},
          {R"({"type": "dense", "units": 10, "two words": 3})", "[\"two words\"]", "there is no"},
          {R"({"type": "conv2d", "kernel_size": 3})", ".filters", "missing"},
          {R"({"type": "conv2d", "filters": 4})", ".kernel_size", "missing"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": [3]})", ".kernel_size",
           "[height, width]"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": [3, 0]})", ".kernel_size",
           "[height, width]"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": 9})", "", "larger than the image"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": 3, "padding": "full"})", ".padding",
           "one of valid, same"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": 3, "padding": "same", "strides": 2})",
           ".padding", "needs strides of 1"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": 3, "padding": -1})", ".padding",
           "found -1"},
          {R"({"type": "conv2d", "filters": 3, "kernel_size": 3, "groups": 2})", ".groups",
           "divide the filters"},
          {R"({"type": "conv2d", "filters": 6, "kernel_size": 3, "groups": 3})", ".groups",
           "divide the channels"},
          {R"({"type": "conv2d", "filters": 4, "kernel_size": 3, "data_format": "channels_last"})",
           ".data_format", "[channels, height, width]"},
          {R"({"type": "max_pooling2d", "padding": 2})", ".padding", "half of the pool"},
          {R"({"type": "max_pooling2d", "pool_size": 9})", "", "larger than the image"},
          {R"({"type": "flatten", "start_dim": 2})", ".start_dim", "from 1 to 1"},
          {R"({"type": "dropout", "rate": 1})", ".rate", "a number from 0 to below 1"},
          {R"({"type": "dropout", "rate": "a"})", ".rate", "not a number"},
          {R"({"type": "batch_normalization", "epsilon": 0})", ".epsilon", "above 0"},
          {R"({"type": "softmax"})", "", "softmax needs a flat input"},
          {R"({"type": "dense", "units": 10, "activation": "softmax"})", "",
           "softmax needs a flat input"},
          {R"({"type": "dence", "units": 10})", ".type", "did you mean 'dense'?"},
          {R"({"units": 10})", ".type", "type is missing"},
          {R"({"type": 7})", ".type", "type is not a text"},
          {R"({"type": "activation", "activation": "linear"})", ".activation", "does nothing"},
          {R"({"class_name": "Dense", "config": {"units": 10}})", ".type", "without class_name"},
          {R"("dense")", "", "not an object"},
          {R"({"type": "dense", "units": 10, "name": "a b"})", ".name", "cannot name a layer"},
          {R"({"type": "dense", "units": 10, "output_shape": [2, 8, 11]})", ".output_shape",
           "[2, 8, 10]"},
      }) {
    EXPECT_TRUE(SaysOnly(CheckLayer(c.layer, {2, 8, 8}).problems,
                         std::string("$.model.layers[0]") + c.path, c.says))
        << c.layer;
  }
}

TEST(Layers, NewShapesAndCountsAreThoseOfPaperAndPencil) {
  struct Case {
    const char* layer;
    Shape input, output;
    int64_t parameters;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"({"type": "Conv1d", "out_channels": 6, "kernel_size": 3, "stride": 2})",
            {4, 11},
            {6, 5},
            6 * 4 * 3 + 6},
           {R"({"type": "Conv3D", "filters": 6, "kernel_size": [1, 2, 3]})",
            {4, 5, 6, 7},
            {6, 5, 5, 5},
            6 * 4 * 6 + 6},
           {R"({"type": "DepthwiseConv2D", "kernel_size": 3, "depth_multiplier": 2})",
            {4, 8, 8},
            {8, 6, 6},
            8 * 9 + 8},
           {R"({"type": "SeparableConv2D", "filters": 5, "kernel_size": 3})",
            {4, 8, 8},
            {5, 6, 6},
            4 * 9 + 5 * 4 + 5},
           {R"({"type": "Conv2DTranspose", "filters": 5, "kernel_size": 3, "strides": 2,
               "padding": "same"})",
            {4, 7, 8},
            {5, 14, 16},
            5 * 4 * 9 + 5},
           {R"({"type": "ConvTranspose2d", "out_channels": 5, "kernel_size": 4, "stride": 2,
               "padding": 1})",
            {4, 7, 8},
            {5, 14, 16},
            5 * 4 * 16 + 5},
           {R"({"type": "MaxPooling1D"})", {4, 11}, {4, 5}, 0},
           {R"({"type": "AvgPool3d", "kernel_size": 2})", {4, 5, 6, 7}, {4, 2, 3, 3}, 0},
           {R"({"type": "GlobalAveragePooling2D"})", {4, 8, 8}, {4}, 0},
           {R"({"type": "GlobalMaxPooling1D", "keepdims": true})", {4, 8}, {4, 1}, 0},
           {R"({"type": "LayerNorm", "normalized_shape": 8})", {4, 8}, {4, 8}, 16},
           {R"({"type": "layer_normalization", "dimensions": 2, "use_bias": false})",
            {4, 8},
            {4, 8},
            32},
           {R"({"type": "GroupNorm", "num_groups": 2, "num_channels": 4})",
            {4, 8, 8},
            {4, 8, 8},
            8},
           {R"({"type": "RMSNorm"})", {4, 8}, {4, 8}, 8},
           {R"({"type": "RMSNorm", "normalized_shape": 8})", {4, 8}, {4, 8}, 8},
           {R"({"type": "RMSNorm", "normalized_shape": [8]})", {4, 8}, {4, 8}, 8},
           {R"({"type": "Embedding", "num_embeddings": 100, "embedding_dim": 16})",
            {12},
            {12, 16},
            1600},
           {R"({"type": "positional_embedding"})", {4, 8}, {4, 8}, 32},
           {R"({"type": "LSTM", "hidden_size": 16, "batch_first": true})",
            {4, 8},
            {16},
            4 * 16 * (8 + 16 + 2)},
           {R"({"type": "GRU", "units": 16, "bidirectional": true, "return_sequences": true})",
            {4, 8},
            {4, 32},
            2 * 3 * 16 * (8 + 16 + 2)},
           {R"({"type": "MultiheadAttention", "num_heads": 2, "embed_dim": 8})",
            {4, 8},
            {4, 8},
            4 * 8 * 8 + 4 * 8},
           {R"({"type": "MultiHeadAttention", "num_heads": 2, "key_dim": 4, "batch_first": true})",
            {4, 8},
            {4, 8},
            4 * 8 * 8 + 4 * 8},
           {R"({"type": "TransformerEncoderLayer", "nhead": 2, "dim_feedforward": 32,
               "batch_first": true})",
            {4, 8},
            {4, 8},
            4 * 8 * 8 + 4 * 8 + 2 * 8 * 32 + 32 + 8 + 4 * 8},
           {R"({"type": "Reshape", "target_shape": [-1, 6]})", {4, 9}, {6, 6}, 0},
           {R"({"type": "Permute", "dims": [2, 1]})", {4, 9}, {9, 4}, 0},
           {R"({"type": "UpSampling2D"})", {4, 5, 6}, {4, 10, 12}, 0},
           {R"({"type": "ZeroPadding2D", "padding": [1, 2]})", {4, 5, 6}, {4, 7, 10}, 0},
           {R"({"type": "LeakyReLU", "alpha": 0.2})", {4, 5}, {4, 5}, 0},
       }) {
    OneLayer one = CheckLayer(c.layer, c.input);
    EXPECT_TRUE(one.problems.empty()) << c.layer << one.problems.ToString();
    EXPECT_EQ(one.layer.output_shape, c.output) << c.layer;
    EXPECT_EQ(one.layer.parameters, c.parameters) << c.layer;
    EXPECT_GE(CostOf(one.layer).activation_bytes, 0);
  }
}

TEST(Layers, CostsAreThoseOfPaperAndPencil) {
  auto cost = [](const char* layer, const Shape& input) {
    return CostOf(CheckLayer(layer, input).layer);
  };
  EXPECT_EQ(cost(R"({"type": "conv1d", "filters": 6, "kernel_size": 3})", {4, 11}).flops,
            2 * 4 * 3 * 6 * 9);
  EXPECT_EQ(cost(R"({"type": "depthwise_conv2d", "kernel_size": 3})", {4, 8, 8}).flops,
            2 * 9 * 4 * 36);
  EXPECT_EQ(
      cost(R"({"type": "separable_conv2d", "filters": 5, "kernel_size": 3})", {4, 8, 8}).flops,
      2 * 9 * 4 * 36 + 2 * 4 * 5 * 36);
  EXPECT_EQ(
      cost(R"({"type": "conv2d_transpose", "filters": 5, "kernel_size": 3})", {4, 8, 8}).flops,
      2 * 4 * 64 * 9 * 5);
  EXPECT_EQ(cost(R"({"type": "lstm", "units": 16})", {4, 8}).flops, 2 * 4 * (8 + 16) * 64);
  EXPECT_EQ(cost(R"({"type": "multi_head_attention", "num_heads": 2})", {4, 8}).flops,
            2 * 4 * 8 * 32 + 4 * 4 * 4 * 8);
  EXPECT_EQ(cost(R"({"type": "max_pooling1d"})", {4, 10}).activation_bytes, 12 * 4 * 5);
}

TEST(Layers, OnlyUnevenPaddingMakesACopyOfAConvolutionsInput) {
  auto padding = [](const std::string& options, const Shape& input) {
    OneLayer one = CheckLayer(
        R"({"type": "conv2d", "filters": 6, "padding": "same", )" + options + "}", input);
    EXPECT_TRUE(one.problems.empty()) << one.problems.ToString();
    return PaddingOf(std::get<ConvolutionOptions>(one.layer.options), input,
                     one.layer.output_shape);
  };
  EXPECT_EQ(padding(R"("kernel_size": 3)", {4, 8, 9}).own, (Sizes{1, 1}));
  EXPECT_EQ(padding(R"("kernel_size": [5, 1], "dilation_rate": 3)", {4, 8, 9}).own, (Sizes{6, 0}));
  EXPECT_TRUE(padding(R"("kernel_size": 3)", {4, 8, 9}).around.empty());
  EXPECT_EQ(padding(R"("kernel_size": [3, 4])", {4, 8, 9}).around,
            (std::vector<int64_t>{1, 2, 1, 1}));
  EXPECT_EQ(padding(R"("kernel_size": [3, 4])", {4, 8, 9}).own, (Sizes{0, 0}));

  auto bytes = [](const std::string& layer) {
    return CostOf(CheckLayer(R"({"padding": "same", )" + layer + "}", {4, 8, 9}).layer)
        .activation_bytes;
  };
  EXPECT_EQ(bytes(R"("type": "conv2d", "filters": 6, "kernel_size": 3)"), 4 * 6 * 72);
  EXPECT_EQ(bytes(R"("type": "conv2d", "filters": 6, "kernel_size": [3, 4])"),
            4 * (6 * 72 + 4 * 10 * 12));
  EXPECT_EQ(bytes(R"("type": "depthwise_conv2d", "kernel_size": 2)"), 4 * (4 * 72 + 4 * 9 * 10));
  EXPECT_EQ(bytes(R"("type": "separable_conv2d", "filters": 6, "kernel_size": 2)"),
            4 * (4 * 72 + 6 * 72 + 4 * 9 * 10));
}

TEST(Layers, WrongOptionsOfFurtherLayersAreRefused) {
  struct Case {
    const char* layer;
    Shape input;
    const char* path;
    const char* says;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"({"type": "conv1d", "filters": 4, "kernel_size": [3, 3]})",
            {2, 8},
            ".kernel_size",
            "a whole number from 1 to 65536"},
           {R"({"type": "conv3d", "filters": 4, "kernel_size": [3, 3]})",
            {2, 8, 8, 8},
            ".kernel_size",
            "[depth, height, width]"},
           {R"({"type": "conv1d", "filters": 4, "kernel_size": 3})",
            {2, 8, 8},
            "",
            "[channels, length]"},
           {R"({"type": "depthwise_conv2d", "kernel_size": 3, "depth_multiplier": 0})",
            {2, 8, 8},
            ".depth_multiplier",
            "found 0"},
           {R"({"type": "depthwise_conv2d", "kernel_size": 3, "filters": 2})",
            {2, 8, 8},
            ".filters",
            "there is no \"filters\""},
           {R"({"type": "conv2d_transpose", "filters": 4, "kernel_size": 1, "strides": 2,
               "padding": "same"})",
            {2, 8, 8},
            ".padding",
            "at least the strides"},
           {R"({"type": "conv2d_transpose", "filters": 4, "kernel_size": 2, "padding": "same"})",
            {2, 8, 8},
            ".padding",
            "odd for strides of 1"},
           {R"({"type": "conv2d_transpose", "filters": 4, "kernel_size": 3, "output_padding": 1})",
            {2, 8, 8},
            ".output_padding",
            "less than the strides"},
           {R"({"type": "conv2d_transpose", "filters": 4, "kernel_size": 3, "padding": 9})",
            {2, 8, 8},
            ".padding",
            "leaves nothing"},
           {R"({"type": "average_pooling1d", "pool_size": 9})",
            {2, 8},
            "",
            "larger than the input"},
           {R"({"type": "global_average_pooling2d"})", {2, 8}, "", "[channels, height, width]"},
           {R"({"type": "layer_normalization", "dimensions": 3})",
            {2, 8},
            "",
            "at most 2, found 3"},
           {R"({"type": "LayerNorm", "normalized_shape": [9]})",
            {2, 8},
            ".normalized_shape",
            "expected [8]"},
           {R"({"type": "layer_normalization", "scale": false, "use_bias": true})",
            {2, 8},
            ".use_bias",
            "needs a scale"},
           {R"({"type": "group_normalization"})", {4, 8}, ".groups", "missing"},
           {R"({"type": "group_normalization", "groups": 3})", {4, 8}, ".groups", "divisor of 4"},
           {R"({"type": "rms_normalization", "epsilon": "a"})", {4, 8}, ".epsilon", "not a number"},
           {R"({"type": "RMSNorm", "normalized_shape": 9})",
            {4, 8},
            ".normalized_shape",
            "expected [8], found 9"},
           {R"({"type": "RMSNorm", "normalized_shape": [4, 8]})",
            {4, 8},
            ".normalized_shape",
            "expected [8]"},
           {R"({"type": "RMSNorm", "normalized_shape": "a"})",
            {4, 8},
            ".normalized_shape",
            "not a whole number"},
           {R"({"type": "embedding", "output_dim": 4})", {4}, ".input_dim", "missing"},
           {R"({"type": "embedding", "input_dim": 0, "output_dim": 4})",
            {4},
            ".input_dim",
            "found 0"},
           {R"({"type": "positional_embedding", "sequence_length": 3})",
            {4, 8},
            ".sequence_length",
            "at least 4"},
           {R"({"type": "positional_embedding"})", {4}, "", "[length, features]"},
           {R"({"type": "lstm"})", {4, 8}, ".units", "missing"},
           {R"({"type": "lstm", "units": 4})", {1, 28, 28}, "", "\"target_shape\": [28, 28]"},
           {R"({"type": "lstm", "units": 4, "dropout": 0.5})",
            {4, 8},
            ".dropout",
            "between the layers"},
           {R"({"type": "lstm", "units": 4, "activation": "relu"})",
            {4, 8},
            ".activation",
            "one of tanh"},
           {R"({"type": "gru", "units": 4, "num_layers": 65})", {4, 8}, ".num_layers", "1 to 64"},
           {R"({"type": "gru", "units": 4, "input_size": 7})",
            {4, 8},
            ".input_size",
            "expected 8, found 7"},
           {R"({"type": "gru", "units": 4, "batch_first": false})",
            {4, 8},
            ".batch_first",
            "expected true, found false"},
           {R"({"type": "multi_head_attention"})", {4, 8}, ".num_heads", "missing"},
           {R"({"type": "multi_head_attention", "num_heads": 2, "key_dim": 8})",
            {4, 8},
            ".key_dim",
            "expected 4, found 8"},
           {R"({"type": "multi_head_attention", "num_heads": 3})",
            {4, 8},
            ".num_heads",
            "divisor of 8"},
           {R"({"type": "multi_head_attention", "num_heads": 2, "dropout": 1})",
            {4, 8},
            ".dropout",
            "below 1"},
           {R"({"type": "multi_head_attention", "num_heads": 2, "causal": 1})",
            {4, 8},
            ".causal",
            "true or false"},
           {R"({"type": "transformer_encoder", "num_heads": 2, "activation": "tanh"})",
            {4, 8},
            ".activation",
            "one of relu, gelu"},
           {R"({"type": "transformer_encoder", "num_heads": 2, "feedforward": 3})",
            {4, 8},
            ".feedforward",
            "did you mean 'feed_forward'?"},
           {R"({"type": "reshape"})", {4, 8}, ".target_shape", "missing"},
           {R"({"type": "reshape", "target_shape": [3, -1]})",
            {4, 8},
            ".target_shape",
            "expected 32 values"},
           {R"({"type": "reshape", "target_shape": [-1, -1]})",
            {4, 8},
            ".target_shape",
            "more than one -1"},
           {R"({"type": "reshape", "target_shape": [0]})", {4, 8}, ".target_shape", "positive"},
           {R"({"type": "permute", "dims": [1, 1]})", {4, 8}, ".dims", "each of 1 to 2 once"},
           {R"({"type": "permute", "dims": [0, 1]})", {4, 8}, ".dims", "from 1"},
           {R"({"type": "upsampling2d", "size": 0})", {2, 8, 8}, ".size", "found 0"},
           {R"({"type": "upsampling2d", "interpolation": "cubic"})",
            {2, 8, 8},
            ".interpolation",
            "one of nearest, bilinear"},
           {R"({"type": "zero_padding2d", "padding": [[1, 2], [3]]})",
            {2, 8, 8},
            ".padding",
            "[[top, bottom], [left, right]]"},
           {R"({"type": "zero_padding2d", "padding": -1})", {2, 8, 8}, ".padding", "found -1"},
           {R"({"type": "leaky_relu", "negative_slope": 2})", {4}, ".negative_slope", "found 2"},
           {R"({"type": "elu", "alpha": 0})", {4}, ".alpha", "above 0"},
           {R"({"type": "gelu", "approximate": "erf"})", {4}, ".approximate", "none, tanh"},
           {R"({"type": "softmax", "axis": 1})", {4, 8}, ".axis", "-1 or 2"},
       }) {
    EXPECT_TRUE(SaysOnly(CheckLayer(c.layer, c.input).problems,
                         std::string("$.model.layers[0]") + c.path, c.says))
        << c.layer;
  }
}

TEST(Layers, AnEmbeddingTakesTheDatasNumbersOnly) {
  const std::string end =
      R"({"type": "embedding", "input_dim": 9, "output_dim": 4}, {"type": "flatten"},
         {"type": "dense", "units": 10})";
  EXPECT_TRUE(Check(ImageJob(R"({"type": "flatten"}, )" + end)).problems.empty());
  EXPECT_TRUE(SaysOnly(Check(ImageJob(R"({"type": "relu"}, )" + end)).problems, "$.model.layers[1]",
                       "whole numbers"));
}

TEST(Layers, AnEmbeddingIsRefusedForNumbersThatHaveBeenSeenAndItDoesNotTake) {
  const JobDescription job = ImageJob(
      R"({"type": "embedding", "input_dim": 9, "output_dim": 4}, {"type": "flatten"},
         {"type": "dense", "units": 10})");
  auto check = [&](double least, double greatest, std::optional<double> fraction = {}) {
    DatasetInfo info = FashionMnist();
    info.values = DatasetInfo::Values::kAny;
    info.seen = {least, greatest, fraction};
    return Check(job, info).problems;
  };
  EXPECT_TRUE(check(0, 8).empty());
  const char* path = "$.model.layers[0]";
  EXPECT_TRUE(
      SaysOnly(check(0, 9), path, "whole numbers from 0 to 8, found 0 to 9 (raise input_dim)"));
  EXPECT_TRUE(SaysOnly(check(-1, 8), path, "found -1 to 8 (correct the data)"));
  EXPECT_TRUE(SaysOnly(check(0, 8, 2.5), path, "found 2.5 (correct the data)"));
}

TEST(Layers, AnEmbeddingIsRefusedWhereTheDataHasNoWholeNumbers) {
  const JobDescription job = ImageJob(
      R"({"type": "embedding", "input_dim": 9, "output_dim": 4}, {"type": "flatten"},
         {"type": "dense", "units": 10})");
  auto check = [&](DatasetInfo::Values values) {
    DatasetInfo info = FashionMnist();
    info.values = values;
    return Check(job, info).problems;
  };
  EXPECT_TRUE(check(DatasetInfo::Values::kAny).empty());
  EXPECT_TRUE(check(DatasetInfo::Values::kBytes).empty());
  EXPECT_TRUE(SaysOnly(check(DatasetInfo::Values::kParts), "$.model.layers[0]",
                       "found bytes that become numbers from 0 to 1"));
  EXPECT_TRUE(
      SaysOnly(check(DatasetInfo::Values::kAround), "$.model.layers[0]", "found real numbers"));
}

TEST(Layers, ImageLayersSayWhatShapeTheyNeed) {
  EXPECT_TRUE(
      SaysOnly(CheckLayer(R"({"type": "conv2d", "filters": 4, "kernel_size": 3})", {784}).problems,
               "$.model.layers[0]", "before the flatten"));
  EXPECT_TRUE(SaysOnly(CheckLayer(R"({"type": "max_pooling2d"})", {28, 28}).problems,
                       "$.model.layers[0]", "[1, 28, 28]"));
}

TEST(Layers, KerassActivationLayerIsTheActivationItNames) {
  OneLayer one = CheckLayer(R"({"type": "Activation", "activation": "relu"})", {20});
  EXPECT_TRUE(one.problems.empty()) << one.problems.ToString();
  EXPECT_EQ(one.layer.type, "relu");
  EXPECT_EQ(one.layer.activation, Activation::kNone);
}

TEST(Layers, NamesAreMadeUniqueAroundGivenOnes) {
  auto [spec, problems] = Check(Job(R"({"layers": [
      {"type": "dense", "units": 4}, {"type": "relu"}, {"type": "dense", "units": 4},
      {"type": "dense", "units": 4, "name": "dense_2"}, {"type": "dense", "units": 10, "name": "head"}]})"));
  ASSERT_TRUE(spec) << problems.ToString();
  std::vector<std::string> names;
  for (const LayerSpec& layer : spec->model.layers) names.push_back(layer.name);
  EXPECT_EQ(names, (std::vector<std::string>{"dense_1", "relu_1", "dense_3", "dense_2", "head"}));
  EXPECT_TRUE(SaysOnly(Check(Job(R"({"layers": [{"type": "dense", "units": 4, "name": "a"},
                                                {"type": "dense", "units": 10, "name": "a"}]})"))
                           .problems,
                       "$.model.layers[1].name", "earlier layer"));
}

TEST(Layers, HugeWindowsAndProductsDoNotOverflow) {
  OneLayer one = CheckLayer(
      R"({"type": "conv2d", "filters": 1048576, "kernel_size": 65536, "dilation": 65536, "padding": 65536})",
      {1048576, 1048576, 1048576});
  EXPECT_FALSE(one.problems.empty());
  EXPECT_EQ(Product(kUncountable, 2), kUncountable);
  EXPECT_EQ(Sum(kUncountable, 1), kUncountable);
  EXPECT_EQ(Product(kUncountable, 0), 0);
  EXPECT_EQ(ElementCount({1 << 30, 1 << 30, 1 << 30}), kUncountable);
}

}  // namespace
}  // namespace cyxwiz::spec
