#include "spec/layers.h"

#include "spec/count.h"

namespace cyxwiz::spec {
namespace {

constexpr int64_t kMaxUnits = 1 << 20;   // units, filters, groups
constexpr int64_t kMaxWindow = 1 << 16;  // kernel, stride, padding, dilation
constexpr int64_t kFloat = 4;            // bytes

constexpr Choice kActivations[] = {
    {"linear", static_cast<int>(Activation::kNone)},
    {"none", static_cast<int>(Activation::kNone), true},
    {"relu", static_cast<int>(Activation::kRelu)},
    {"sigmoid", static_cast<int>(Activation::kSigmoid)},
    {"tanh", static_cast<int>(Activation::kTanh)},
    {"gelu", static_cast<int>(Activation::kGelu)},
    {"softmax", static_cast<int>(Activation::kSoftmax)},
};

// ---- What several layers share
// ---------------------------------------------------------------------------

// An option that must be there.
int64_t RequiredWhole(ObjectReader& reader, const Key& key, int64_t max) {
  if (reader.Find(key) == nullptr) {
    reader.Refuse(key, "is missing", "a whole number from 1 to " + std::to_string(max));
    return 1;
  }
  return reader.Whole(key, 1, max).value_or(1);
}

// Images are channels first, as in PyTorch; Keras models that say otherwise would silently train on
// garbage.
void CheckDataFormat(ObjectReader& reader) {
  static constexpr Key kKey = {"data_format"};
  auto format = reader.Text(kKey);
  if (format && *format != "channels_first") {
    reader.Refuse(kKey, "is not supported", "\"channels_first\"",
                  "images have shape [channels, height, width]; leave data_format out");
  }
}

// "valid", "same", a number or [height, width].
void ReadPadding(ObjectReader& reader, Padding* padding, int64_t* height, int64_t* width) {
  static constexpr Key kKey = {"padding"};
  static constexpr Choice kPaddings[] = {{"valid", static_cast<int>(Padding::kValid)},
                                         {"same", static_cast<int>(Padding::kSame)}};
  const Json* value = reader.Find(kKey);
  if (value != nullptr && value->is_string()) {
    if (auto choice = reader.OneOf(kKey, kPaddings)) *padding = static_cast<Padding>(*choice);
  } else if (auto numbers = reader.Pair(kKey, 0, kMaxWindow)) {
    std::tie(*height, *width) = *numbers;
  }
}

void WritePadding(Padding padding, int64_t height, int64_t width, Json* layer) {
  if (padding == Padding::kSame) {
    (*layer)["padding"] = "same";
  } else if (height == 0 && width == 0) {
    (*layer)["padding"] = "valid";
  } else {
    (*layer)["padding"] = {height, width};
  }
}

bool IsImage(const Shape& input, ObjectReader& reader) {
  if (input.size() == 3) return true;
  std::string hint;
  if (input.size() == 1) hint = "put it before the flatten and dense layers";
  if (input.size() == 2) {
    hint = "an image of one channel has shape [1, " + std::to_string(input[0]) + ", " +
           std::to_string(input[1]) + "]";
  }
  reader.RefuseObject("the layer needs an image as its input", "[channels, height, width]",
                      ToString(input), hint);
  return false;
}

// Positions a window takes along one side; 0 when it does not fit in even once.
int64_t WindowSteps(int64_t size, int64_t window, int64_t stride, int64_t padding,
                    int64_t dilation) {
  int64_t reach = dilation * (window - 1) + 1;
  int64_t room = Sum(size, 2 * padding);
  return room < reach ? 0 : (room - reach) / stride + 1;
}

std::optional<Shape> WindowedShape(int64_t channels, int64_t height, int64_t width,
                                   const std::string& window, ObjectReader& reader,
                                   const Shape& input) {
  if (height > 0 && width > 0) return Shape{channels, height, width};
  reader.RefuseObject("the " + window + " is larger than the image",
                      "height and width of at least the window's", ToString(input),
                      "use a smaller window, \"padding\", or fewer pooling layers before");
  return std::nullopt;
}

template <typename Options>
const Options& As(const LayerOptions& options) {
  return std::get<Options>(options);
}

// Layers that give back the shape they get.
std::optional<Shape> InferSame(const LayerOptions&, const Shape& input, ObjectReader&) {
  return input;
}

// ---- dense
// -----------------------------------------------------------------------------------------------

LayerOptions ParseDense(ObjectReader& reader) {
  DenseOptions options;
  options.units = RequiredWhole(reader, {"units", "out_features"}, kMaxUnits);
  options.use_bias = reader.Bool({"use_bias", "bias"}).value_or(options.use_bias);
  reader.Whole({"in_features"}, 1, kUncountable);
  return options;
}

// As PyTorch's Linear: acts on the last dimension, whatever stands before it.
std::optional<Shape> InferDense(const LayerOptions& options, const Shape& input,
                                ObjectReader& reader) {
  reader.Matches({"in_features"}, input.back(),
                 "the last dimension of the input " + ToString(input));
  Shape output = input;
  output.back() = As<DenseOptions>(options).units;
  return output;
}

LayerCost DenseCost(const LayerOptions& options, const Shape& input, const Shape& output) {
  const auto& dense = As<DenseOptions>(options);
  LayerCost cost;
  cost.parameters = Sum(Product(input.back(), dense.units), dense.use_bias ? dense.units : 0);
  cost.flops = Product(2, input.back(), ElementCount(output));
  cost.activation_bytes = Product(kFloat, ElementCount(output));
  return cost;
}

void WriteDense(const LayerOptions& options, Json* layer) {
  const auto& dense = As<DenseOptions>(options);
  (*layer)["units"] = dense.units;
  (*layer)["use_bias"] = dense.use_bias;
}

// ---- conv2d
// ----------------------------------------------------------------------------------------------

LayerOptions ParseConv2d(ObjectReader& reader) {
  static constexpr Key kKernel = {"kernel_size"};
  static constexpr Key kDilation = {"dilation_rate", "dilation"};
  Conv2dOptions options;
  options.filters = RequiredWhole(reader, {"filters", "out_channels"}, kMaxUnits);
  options.kernel_height = options.kernel_width = 1;
  if (reader.Find(kKernel) == nullptr) {
    reader.Refuse(kKernel, "is missing", "a whole number, or [height, width]");
  } else if (auto kernel = reader.Pair(kKernel, 1, kMaxWindow)) {
    std::tie(options.kernel_height, options.kernel_width) = *kernel;
  }
  if (auto strides = reader.Pair({"strides", "stride"}, 1, kMaxWindow)) {
    std::tie(options.stride_height, options.stride_width) = *strides;
  }
  ReadPadding(reader, &options.padding, &options.padding_height, &options.padding_width);
  if (auto dilation = reader.Pair(kDilation, 1, kMaxWindow)) {
    if (dilation->first != dilation->second) {
      reader.Refuse(kDilation, "must be the same in both directions", "one whole number");
    }
    options.dilation = dilation->first;
  }
  options.groups = reader.Whole({"groups"}, 1, kMaxUnits).value_or(options.groups);
  if (options.filters % options.groups != 0) {
    reader.Refuse({"groups"}, "must divide the filters",
                  "a divisor of " + std::to_string(options.filters));
  }
  options.use_bias = reader.Bool({"use_bias", "bias"}).value_or(options.use_bias);
  reader.Whole({"in_channels"}, 1, kUncountable);
  CheckDataFormat(reader);
  return options;
}

std::optional<Shape> InferConv2d(const LayerOptions& options, const Shape& input,
                                 ObjectReader& reader) {
  const auto& conv = As<Conv2dOptions>(options);
  if (!IsImage(input, reader)) return std::nullopt;
  reader.Matches({"in_channels"}, input[0], "the channels of the input " + ToString(input));
  if (input[0] % conv.groups != 0) {
    reader.Refuse({"groups"}, "must divide the channels of the input",
                  "a divisor of " + std::to_string(input[0]));
  }
  if (conv.padding == Padding::kSame) {
    if (conv.stride_height != 1 || conv.stride_width != 1) {
      reader.Refuse({"padding"}, "\"same\" needs strides of 1", "a number, or [height, width]",
                    "strides 2 with kernel_size 3 usually take padding 1");
    }
    return Shape{conv.filters, input[1], input[2]};
  }
  return WindowedShape(
      conv.filters,
      WindowSteps(input[1], conv.kernel_height, conv.stride_height, conv.padding_height,
                  conv.dilation),
      WindowSteps(input[2], conv.kernel_width, conv.stride_width, conv.padding_width,
                  conv.dilation),
      "kernel " + std::to_string(conv.kernel_height) + "x" + std::to_string(conv.kernel_width),
      reader, input);
}

LayerCost Conv2dCost(const LayerOptions& options, const Shape& input, const Shape& output) {
  const auto& conv = As<Conv2dOptions>(options);
  // Values that make one output value.
  int64_t window = Product(input[0] / conv.groups, conv.kernel_height, conv.kernel_width);
  LayerCost cost;
  cost.parameters = Sum(Product(window, conv.filters), conv.use_bias ? conv.filters : 0);
  cost.flops = Product(2, window, ElementCount(output));
  cost.activation_bytes = Product(kFloat, ElementCount(output));
  return cost;
}

void WriteConv2d(const LayerOptions& options, Json* layer) {
  const auto& conv = As<Conv2dOptions>(options);
  (*layer)["filters"] = conv.filters;
  (*layer)["kernel_size"] = {conv.kernel_height, conv.kernel_width};
  (*layer)["strides"] = {conv.stride_height, conv.stride_width};
  WritePadding(conv.padding, conv.padding_height, conv.padding_width, layer);
  (*layer)["dilation_rate"] = conv.dilation;
  (*layer)["groups"] = conv.groups;
  (*layer)["use_bias"] = conv.use_bias;
}

// ---- max_pooling2d, average_pooling2d
// --------------------------------------------------------------------

template <typename Options>
LayerOptions ParsePooling(ObjectReader& reader) {
  Options options;
  if (auto pool = reader.Pair({"pool_size", "kernel_size"}, 1, kMaxWindow)) {
    std::tie(options.pool_height, options.pool_width) = *pool;
  }
  options.stride_height = options.pool_height;
  options.stride_width = options.pool_width;
  if (auto strides = reader.Pair({"strides", "stride"}, 1, kMaxWindow)) {
    std::tie(options.stride_height, options.stride_width) = *strides;
  }
  ReadPadding(reader, &options.padding, &options.padding_height, &options.padding_width);
  if (options.padding_height > options.pool_height / 2 ||
      options.padding_width > options.pool_width / 2) {
    reader.Refuse({"padding"}, "is more than half of the pool",
                  "at most " + std::to_string(options.pool_height / 2) + " and " +
                      std::to_string(options.pool_width / 2));
  }
  CheckDataFormat(reader);
  return options;
}

template <typename Options>
std::optional<Shape> InferPooling(const LayerOptions& options, const Shape& input,
                                  ObjectReader& reader) {
  const auto& pooling = As<Options>(options);
  if (!IsImage(input, reader)) return std::nullopt;
  if (pooling.padding == Padding::kSame) {
    return Shape{input[0], (input[1] - 1) / pooling.stride_height + 1,
                 (input[2] - 1) / pooling.stride_width + 1};
  }
  return WindowedShape(
      input[0],
      WindowSteps(input[1], pooling.pool_height, pooling.stride_height, pooling.padding_height, 1),
      WindowSteps(input[2], pooling.pool_width, pooling.stride_width, pooling.padding_width, 1),
      "pool " + std::to_string(pooling.pool_height) + "x" + std::to_string(pooling.pool_width),
      reader, input);
}

template <typename Options>
LayerCost PoolingCost(const LayerOptions& options, const Shape&, const Shape& output) {
  const auto& pooling = As<Options>(options);
  LayerCost cost;
  cost.flops = Product(pooling.pool_height, pooling.pool_width, ElementCount(output));
  // The largest value's position (8 bytes) is kept for each output of a maximum.
  int64_t bytes = std::is_same_v<Options, MaxPooling2dOptions> ? kFloat + 8 : kFloat;
  cost.activation_bytes = Product(bytes, ElementCount(output));
  return cost;
}

template <typename Options>
void WritePooling(const LayerOptions& options, Json* layer) {
  const auto& pooling = As<Options>(options);
  (*layer)["pool_size"] = {pooling.pool_height, pooling.pool_width};
  (*layer)["strides"] = {pooling.stride_height, pooling.stride_width};
  WritePadding(pooling.padding, pooling.padding_height, pooling.padding_width, layer);
}

// ---- flatten
// ---------------------------------------------------------------------------------------------

LayerOptions ParseFlatten(ObjectReader& reader) {
  CheckDataFormat(reader);
  // PyTorch's arguments: only the whole sample can be flattened.
  reader.Whole({"start_dim"}, 1, 1);
  reader.Whole({"end_dim"}, -1, -1);
  return FlattenOptions{};
}

std::optional<Shape> InferFlatten(const LayerOptions&, const Shape& input, ObjectReader&) {
  return Shape{ElementCount(input)};
}

LayerCost NoCost(const LayerOptions&, const Shape&, const Shape&) { return {}; }

void WriteNothing(const LayerOptions&, Json*) {}

// ---- dropout
// ---------------------------------------------------------------------------------------------

LayerOptions ParseDropout(ObjectReader& reader) {
  DropoutOptions options;
  options.rate =
      reader.Real({"rate", "p"}, {.min = 0, .max = 1, .below_max = true}).value_or(options.rate);
  return options;
}

LayerCost DropoutCost(const LayerOptions&, const Shape&, const Shape& output) {
  LayerCost cost;
  cost.flops = ElementCount(output);
  cost.activation_bytes = Product(kFloat + 1, ElementCount(output));  // and the mask
  return cost;
}

void WriteDropout(const LayerOptions& options, Json* layer) {
  (*layer)["rate"] = As<DropoutOptions>(options).rate;
}

// ---- batch_normalization
// ---------------------------------------------------------------------------------

LayerOptions ParseBatchNormalization(ObjectReader& reader) {
  BatchNormalizationOptions options;
  options.momentum =
      reader.Real({"momentum"}, {.min = 0, .max = 1, .above_min = true}).value_or(options.momentum);
  options.epsilon = reader.Real({"epsilon", "eps"}, {.min = 0, .max = 1, .above_min = true})
                        .value_or(options.epsilon);
  reader.Whole({"num_features"}, 1, kUncountable);
  return options;
}

// Normalises each value of a flat sample, or each channel (the first dimension) of any other.
std::optional<Shape> InferBatchNormalization(const LayerOptions&, const Shape& input,
                                             ObjectReader& reader) {
  reader.Matches({"num_features"}, input[0], "the first dimension of the input " + ToString(input));
  const std::string& type = reader.Find({"type"})->get_ref<const std::string&>();
  if (SameName(type, "BatchNorm1d") && input.size() > 2) {
    reader.RefuseObject("BatchNorm1d needs a flat input", "[features] or [channels, length]",
                        ToString(input), "use BatchNorm2d or batch_normalization");
    return std::nullopt;
  }
  if (SameName(type, "BatchNorm2d") && !IsImage(input, reader)) return std::nullopt;
  if (input.size() > 3) {
    reader.RefuseObject("batch_normalization takes at most three dimensions",
                        "[features], [channels, length] or [channels, height, width]",
                        ToString(input));
    return std::nullopt;
  }
  return input;
}

LayerCost BatchNormalizationCost(const LayerOptions&, const Shape& input, const Shape& output) {
  LayerCost cost;
  cost.parameters = Product(2, input[0]);
  cost.buffer_bytes = Sum(Product(2 * kFloat, input[0]), 8);  // mean, variance, batches seen
  cost.flops = Product(4, ElementCount(output));
  cost.activation_bytes = Product(kFloat, ElementCount(output));
  return cost;
}

void WriteBatchNormalization(const LayerOptions& options, Json* layer) {
  const auto& normalization = As<BatchNormalizationOptions>(options);
  (*layer)["momentum"] = normalization.momentum;
  (*layer)["epsilon"] = normalization.epsilon;
}

// ---- relu, sigmoid, tanh, gelu, softmax
// ------------------------------------------------------------------

template <Activation activation>
LayerOptions ParseActivation(ObjectReader& reader) {
  // PyTorch's and Keras's argument: dimension 0 is the batch, so 1 and -1 are the only one that a
  // flat sample has.
  static constexpr Key kDim = {"dim", "axis"};
  if (activation == Activation::kSoftmax && reader.Find(kDim) != nullptr &&
      *reader.Find(kDim) != -1 && *reader.Find(kDim) != 1) {
    reader.Refuse(kDim, "is not supported", "-1 or 1", "leave it out");
  }
  return ActivationOptions{activation};
}

LayerCost ActivationCost(const LayerOptions&, const Shape&, const Shape& output) {
  LayerCost cost;
  cost.flops = ElementCount(output);
  cost.activation_bytes = Product(kFloat, ElementCount(output));
  return cost;
}

template <Activation activation>
LayerKind ActivationKind(std::string_view type) {
  return {type, {}, ParseActivation<activation>, InferSame, ActivationCost, WriteNothing};
}

}  // namespace

const std::vector<LayerKind>& LayerKinds() {
  static const std::vector<LayerKind> kKinds = {
      {"dense", {"linear"}, ParseDense, InferDense, DenseCost, WriteDense},
      {"conv2d", {"convolution2d"}, ParseConv2d, InferConv2d, Conv2dCost, WriteConv2d},
      {"max_pooling2d",
       {"max_pool2d"},
       ParsePooling<MaxPooling2dOptions>,
       InferPooling<MaxPooling2dOptions>,
       PoolingCost<MaxPooling2dOptions>,
       WritePooling<MaxPooling2dOptions>},
      {"average_pooling2d",
       {"average_pool2d", "avg_pooling2d", "avg_pool2d"},
       ParsePooling<AveragePooling2dOptions>,
       InferPooling<AveragePooling2dOptions>,
       PoolingCost<AveragePooling2dOptions>,
       WritePooling<AveragePooling2dOptions>},
      {"flatten", {}, ParseFlatten, InferFlatten, NoCost, WriteNothing},
      {"dropout", {}, ParseDropout, InferSame, DropoutCost, WriteDropout},
      {"batch_normalization",
       {"batch_norm", "batch_norm1d", "batch_norm2d"},
       ParseBatchNormalization,
       InferBatchNormalization,
       BatchNormalizationCost,
       WriteBatchNormalization},
      ActivationKind<Activation::kRelu>("relu"),
      ActivationKind<Activation::kSigmoid>("sigmoid"),
      ActivationKind<Activation::kTanh>("tanh"),
      ActivationKind<Activation::kGelu>("gelu"),
      ActivationKind<Activation::kSoftmax>("softmax"),
  };
  return kKinds;
}

const LayerKind* FindLayerKind(std::string_view name) {
  for (const LayerKind& kind : LayerKinds()) {
    if (SameName(name, kind.type)) return &kind;
    for (std::string_view alias : kind.aliases) {
      if (SameName(name, alias)) return &kind;
    }
  }
  return nullptr;
}

std::span<const Choice> ActivationChoices() { return kActivations; }

std::string_view ActivationName(Activation activation) {
  for (const Choice& choice : kActivations) {
    if (choice.value == static_cast<int>(activation)) return choice.name;
  }
  return "linear";
}

LayerCost CostOf(const LayerSpec& layer) {
  LayerCost cost =
      FindLayerKind(layer.type)->cost(layer.options, layer.input_shape, layer.output_shape);
  if (layer.activation != Activation::kNone) {
    int64_t elements = ElementCount(layer.output_shape);
    cost.flops = Sum(cost.flops, elements);
    cost.activation_bytes = Sum(cost.activation_bytes, Product(kFloat, elements));
  }
  return cost;
}

}  // namespace cyxwiz::spec
