// conv1d, conv2d, conv3d, depthwise_conv2d, separable_conv2d, conv2d_transpose. Arithmetic and
// tensors are PyTorch's.
#include <algorithm>

#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

constexpr Key kKernel = {"kernel_size"};
constexpr Key kStrides = {"strides", "stride"};
constexpr Key kDilation = {"dilation_rate", "dilation"};
constexpr Key kGroups = {"groups"};
constexpr Key kPadding = {"padding"};
constexpr Key kInChannels = {"in_channels"};

// Options that all have. Options: a struct with kernel, strides, dilation, padding, padding_sizes.
template <typename Options>
void WindowList(Options& conv, OptionList& list, size_t count) {
  list.Sizes(kKernel, &conv.kernel, count, 1, kMaxWindow, 1, OptionList::kRequired);
  list.Sizes(kStrides, &conv.strides, count, 1, kMaxWindow, 1);
  list.Paddings(&conv.padding, &conv.padding_sizes, count);
  list.Sizes(kDilation, &conv.dilation, count, 1, kMaxWindow, 1);
  list.Inferred(kInChannels);
  list.DataFormat();
}

template <typename Options>
void FiltersList(Options& conv, OptionList& list) {
  list.Whole({"filters", "out_channels"}, &conv.filters, 1, kMaxUnits, OptionList::kRequired);
}

template <typename Options>
void GroupsList(Options& conv, OptionList& list) {
  list.Whole(kGroups, &conv.groups, 1, kMaxUnits);
  if (list.reader() != nullptr && conv.filters % conv.groups != 0) {
    list.reader()->Refuse(kGroups, "must divide the filters",
                          "a divisor of " + std::to_string(conv.filters));
  }
}

void CheckGroups(int64_t groups, const Shape& input, ObjectReader& reader) {
  if (input[0] % groups == 0) return;
  reader.Refuse(kGroups, "must divide the channels of the input",
                "a divisor of " + std::to_string(input[0]));
}

// Shape after a window of these options has moved over the input.
template <typename Options>
std::optional<Shape> InferWindow(const Options& conv, int64_t channels, const Shape& input,
                                 ObjectReader& reader) {
  const size_t count = conv.kernel.size();
  if (!HasDirections(count, input, reader)) return std::nullopt;
  reader.Matches(kInChannels, input[0], "the channels of the input " + ToString(input));
  if (conv.padding == Padding::kSame) {
    if (std::any_of(conv.strides.begin(), conv.strides.end(), [](int64_t n) { return n != 1; })) {
      reader.Refuse(kPadding, "\"same\" needs strides of 1", "a number" + OrSizes(count),
                    "strides 2 with kernel_size 3 usually take padding 1");
    }
    Shape output = input;
    output[0] = channels;
    return output;
  }
  Sizes sizes;
  for (size_t i = 0; i < count; ++i) {
    sizes.push_back(WindowSteps(input[i + 1], conv.kernel[i], conv.strides[i],
                                conv.padding_sizes[i], conv.dilation[i]));
  }
  return WindowedShape(channels, sizes, "kernel " + ToText(conv.kernel), input, reader);
}

Shape WeightShape(int64_t out, int64_t in, const Sizes& kernel) {
  Shape shape = {out, in};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  return shape;
}

// window: values that make one output value.
LayerCost WindowCost(int64_t window, const Shape& output) {
  return {Product(2, window, ElementCount(output)), Product(kFloatBytes, ElementCount(output))};
}

// With what is put around its input, whose copy is kept and gets a gradient. output: of its shape,
// with any number of channels.
template <typename Options>
LayerCost WithPadding(LayerCost cost, const Options& conv, const Shape& input,
                      const Shape& output) {
  const std::vector<int64_t> around = PaddingOf(conv, input, output).around;
  if (around.empty()) return cost;
  int64_t bytes = Product(kFloatBytes, input[0]);
  for (size_t i = 1; i < input.size(); ++i) {
    const size_t last = around.size() - 2 * i;  // the last direction comes first
    bytes = Product(bytes, Sum(input[i], around[last], around[last + 1]));
  }
  cost.activation_bytes = Sum(cost.activation_bytes, bytes);
  cost.backward_bytes = Sum(cost.backward_bytes, bytes);
  return cost;
}

// ---- conv1d, conv2d, conv3d

template <size_t count>
void ConvolutionList(ConvolutionOptions& conv, OptionList& list) {
  FiltersList(conv, list);
  WindowList(conv, list, count);
  GroupsList(conv, list);
  list.Bool({"use_bias", "bias"}, &conv.use_bias);
}

std::optional<Shape> InferConvolution(const LayerOptions& options, const Shapes& inputs,
                                      ObjectReader& reader) {
  const auto& conv = As<ConvolutionOptions>(options);
  auto output = InferWindow(conv, conv.filters, inputs[0], reader);
  if (output) CheckGroups(conv.groups, inputs[0], reader);
  return output;
}

std::vector<TensorSpec> ConvolutionTensors(const LayerOptions& options, const Shapes& inputs) {
  const auto& conv = As<ConvolutionOptions>(options);
  return LinearTensors("", WeightShape(conv.filters, inputs[0][0] / conv.groups, conv.kernel),
                       conv.use_bias);
}

LayerCost ConvolutionCost(const LayerOptions& options, const Shapes& inputs, const Shape& output) {
  const auto& conv = As<ConvolutionOptions>(options);
  return WithPadding(
      WindowCost(Product(inputs[0][0] / conv.groups, ElementCount(conv.kernel)), output), conv,
      inputs[0], output);
}

template <size_t count>
LayerKind Convolution(std::string_view type, std::string_view alias) {
  return {type,
          {alias},
          ReadOptions<ConvolutionOptions, ConvolutionList<count>>,
          WriteOptions<ConvolutionOptions, ConvolutionList<count>>,
          InferConvolution,
          ConvolutionTensors,
          ConvolutionCost};
}

// ---- depthwise_conv2d

void DepthwiseList(DepthwiseConvolutionOptions& conv, OptionList& list) {
  WindowList(conv, list, 2);
  list.Whole({"depth_multiplier"}, &conv.depth_multiplier, 1, kMaxUnits);
  list.Bool({"use_bias", "bias"}, &conv.use_bias);
}

std::optional<Shape> InferDepthwise(const LayerOptions& options, const Shapes& inputs,
                                    ObjectReader& reader) {
  const auto& conv = As<DepthwiseConvolutionOptions>(options);
  return InferWindow(conv, Product(inputs[0][0], conv.depth_multiplier), inputs[0], reader);
}

std::vector<TensorSpec> DepthwiseTensors(const LayerOptions& options, const Shapes& inputs) {
  const auto& conv = As<DepthwiseConvolutionOptions>(options);
  return LinearTensors(
      "", WeightShape(Product(inputs[0][0], conv.depth_multiplier), 1, conv.kernel), conv.use_bias);
}

LayerCost DepthwiseCost(const LayerOptions& options, const Shapes& inputs, const Shape& output) {
  const auto& conv = As<DepthwiseConvolutionOptions>(options);
  return WithPadding(WindowCost(ElementCount(conv.kernel), output), conv, inputs[0], output);
}

// ---- separable_conv2d

void SeparableList(SeparableConvolutionOptions& conv, OptionList& list) {
  FiltersList(conv, list);
  WindowList(conv.depthwise, list, 2);
  list.Whole({"depth_multiplier"}, &conv.depthwise.depth_multiplier, 1, kMaxUnits);
  list.Bool({"use_bias", "bias"}, &conv.use_bias);
}

std::optional<Shape> InferSeparable(const LayerOptions& options, const Shapes& inputs,
                                    ObjectReader& reader) {
  const auto& conv = As<SeparableConvolutionOptions>(options);
  return InferWindow(conv.depthwise, conv.filters, inputs[0], reader);
}

std::vector<TensorSpec> SeparableTensors(const LayerOptions& options, const Shapes& inputs) {
  const auto& conv = As<SeparableConvolutionOptions>(options);
  int64_t between = Product(inputs[0][0], conv.depthwise.depth_multiplier);
  auto tensors = LinearTensors("depthwise.", WeightShape(between, 1, conv.depthwise.kernel), false);
  for (TensorSpec& tensor :
       LinearTensors("pointwise.", {conv.filters, between, 1, 1}, conv.use_bias)) {
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

LayerCost SeparableCost(const LayerOptions& options, const Shapes& inputs, const Shape& output) {
  const auto& conv = As<SeparableConvolutionOptions>(options);
  Shape between = output;
  between[0] = Product(inputs[0][0], conv.depthwise.depth_multiplier);
  LayerCost depthwise = WithPadding(WindowCost(ElementCount(conv.depthwise.kernel), between),
                                    conv.depthwise, inputs[0], output);
  LayerCost pointwise = WindowCost(between[0], output);
  return {Sum(depthwise.flops, pointwise.flops),
          Sum(depthwise.activation_bytes, pointwise.activation_bytes), depthwise.backward_bytes};
}

// ---- conv2d_transpose

void TransposedList(TransposedConvolutionOptions& conv, OptionList& list) {
  static constexpr Key kOutputPadding = {"output_padding"};
  FiltersList(conv, list);
  WindowList(conv, list, 2);
  list.Sizes(kOutputPadding, &conv.output_padding, 2, 0, kMaxWindow, 0);
  GroupsList(conv, list);
  list.Bool({"use_bias", "bias"}, &conv.use_bias);
  if (list.reader() == nullptr) return;
  bool given = conv.output_padding != Sizes{0, 0};
  for (size_t i = 0; i < 2; ++i) {
    if (conv.padding == Padding::kSame) {
      int64_t over = conv.kernel[i] - conv.strides[i];
      if (conv.dilation[i] != 1 || over < 0 || (conv.strides[i] == 1 && over % 2 != 0)) {
        list.reader()->Refuse(kPadding, "\"same\" does not go with these sizes",
                              "a kernel_size of at least the strides, odd for strides of 1, and no "
                              "dilation",
                              "give padding and output_padding as numbers");
        return;
      }
    }
    int64_t most =
        conv.padding == Padding::kSame ? 0 : std::max(conv.strides[i], conv.dilation[i]) - 1;
    if (given && conv.output_padding[i] > most) {
      list.reader()->Refuse(kOutputPadding, "is too large",
                            conv.padding == Padding::kSame
                                ? "none with \"padding\": \"same\""
                                : "less than the strides or the dilation");
      return;
    }
  }
}

std::optional<Shape> InferTransposed(const LayerOptions& options, const Shapes& inputs,
                                     ObjectReader& reader) {
  const auto& conv = As<TransposedConvolutionOptions>(options);
  const Shape& input = inputs[0];
  if (!HasDirections(2, input, reader)) return std::nullopt;
  reader.Matches(kInChannels, input[0], "the channels of the input " + ToString(input));
  CheckGroups(conv.groups, input, reader);
  Shape output = {conv.filters};
  for (size_t i = 0; i < 2; ++i) {
    int64_t size = Product(input[i + 1], conv.strides[i]);
    if (conv.padding == Padding::kValid) {
      size = Sum(Product(input[i + 1] - 1, conv.strides[i]),
                 conv.dilation[i] * (conv.kernel[i] - 1) + 1 + conv.output_padding[i]) -
             2 * conv.padding_sizes[i];
    }
    output.push_back(size);
  }
  if (output[1] > 0 && output[2] > 0) return output;
  reader.Refuse(kPadding, "leaves nothing of the output", "less than half of the output's size");
  return std::nullopt;
}

std::vector<TensorSpec> TransposedTensors(const LayerOptions& options, const Shapes& inputs) {
  const auto& conv = As<TransposedConvolutionOptions>(options);
  Shape weight = WeightShape(inputs[0][0], conv.filters / conv.groups, conv.kernel);
  auto tensors = LinearTensors("", weight, conv.use_bias);
  if (conv.use_bias) tensors[1].shape = {conv.filters};
  return tensors;
}

LayerCost TransposedCost(const LayerOptions& options, const Shapes& inputs, const Shape& output) {
  const auto& conv = As<TransposedConvolutionOptions>(options);
  // Each input value goes to a window of every filter of its group.
  return {
      Product(2, ElementCount(inputs[0]), ElementCount(conv.kernel), conv.filters / conv.groups),
      Product(kFloatBytes, ElementCount(output))};
}

}  // namespace

std::vector<LayerKind> ConvolutionLayers() {
  using Depthwise = DepthwiseConvolutionOptions;
  using Separable = SeparableConvolutionOptions;
  using Transposed = TransposedConvolutionOptions;
  return {
      Convolution<1>("conv1d", "convolution1d"),
      Convolution<2>("conv2d", "convolution2d"),
      Convolution<3>("conv3d", "convolution3d"),
      {"depthwise_conv2d",
       {},
       ReadOptions<Depthwise, DepthwiseList>,
       WriteOptions<Depthwise, DepthwiseList>,
       InferDepthwise,
       DepthwiseTensors,
       DepthwiseCost},
      {"separable_conv2d",
       {"separable_convolution2d"},
       ReadOptions<Separable, SeparableList>,
       WriteOptions<Separable, SeparableList>,
       InferSeparable,
       SeparableTensors,
       SeparableCost},
      {"conv2d_transpose",
       {"conv_transpose2d", "convolution2d_transpose"},
       ReadOptions<Transposed, TransposedList>,
       WriteOptions<Transposed, TransposedList>,
       InferTransposed,
       TransposedTensors,
       TransposedCost},
  };
}

}  // namespace cyxwiz::spec
