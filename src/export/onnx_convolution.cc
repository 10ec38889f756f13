#include <algorithm>

#include "export/onnx_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

// Options: kernel, strides, dilation, padding and padding_sizes.
template <typename Options>
OnnxAttributes Attributes(const Options& conv, const spec::LayerSpec& layer, int64_t groups) {
  spec::Sizes reach;  // of the window
  for (size_t i = 0; i < conv.kernel.size(); ++i) {
    reach.push_back(conv.dilation[i] * (conv.kernel[i] - 1) + 1);
  }
  return {{"strides", conv.strides},
          {"dilations", conv.dilation},
          {"pads", Pads(conv, layer, reach)},
          {"group", groups}};
}

// weight, and a bias unless there is none ("").
std::vector<std::string> With(const std::string& x, const std::string& weight,
                              const std::string& bias) {
  if (bias.empty()) return {x, weight};
  return {x, weight, bias};
}

std::string Convolution(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& conv = OptionsOf<spec::ConvolutionOptions>(layer);
  return writer.Node("Conv", With(x[0], writer.Tensor("weight"), writer.Tensor("bias")),
                     Attributes(conv, layer, conv.groups));
}

std::string Depthwise(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& conv = OptionsOf<spec::DepthwiseConvolutionOptions>(layer);
  return writer.Node("Conv", With(x[0], writer.Tensor("weight"), writer.Tensor("bias")),
                     Attributes(conv, layer, layer.input_shapes[0][0]));
}

std::string Separable(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& conv = OptionsOf<spec::SeparableConvolutionOptions>(layer).depthwise;
  std::string between = writer.Node("Conv", {x[0], writer.Tensor("depthwise.weight")},
                                    Attributes(conv, layer, layer.input_shapes[0][0]));
  return writer.Node(
      "Conv", With(between, writer.Tensor("pointwise.weight"), writer.Tensor("pointwise.bias")));
}

std::string Transposed(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& conv = OptionsOf<spec::TransposedConvolutionOptions>(layer);
  std::vector<int64_t> pads = conv.padding_sizes, output_padding = conv.output_padding;
  if (conv.padding == spec::Padding::kSame) {
    // Half of what the kernel reaches beyond the strides, the odd one given back at the end.
    for (size_t i = 0; i < pads.size(); ++i) {
      int64_t over = conv.kernel[i] - conv.strides[i];
      pads[i] = (over + 1) / 2;
      output_padding[i] = over % 2;
    }
  }
  // ONNX Runtime takes an output padding below the stride alone. Another one is taken from what is
  // cut off at the end; of what remains no kernel reaches anything, so there is the bias alone.
  std::vector<int64_t> after = pads, beyond(pads.size());
  for (size_t i = 0; i < pads.size(); ++i) {
    if (output_padding[i] < conv.strides[i]) continue;
    beyond[i] = std::max<int64_t>(output_padding[i] - pads[i], 0);
    after[i] -= output_padding[i] - beyond[i];
    output_padding[i] = 0;
  }
  pads.insert(pads.end(), after.begin(), after.end());
  const OnnxAttributes attributes = {{"strides", conv.strides},
                                     {"dilations", conv.dilation},
                                     {"pads", pads},
                                     {"output_padding", output_padding},
                                     {"group", conv.groups}};
  const std::string weight = writer.Tensor("weight"), bias = writer.Tensor("bias");
  if (beyond == std::vector<int64_t>(beyond.size()))
    return writer.Node("ConvTranspose", With(x[0], weight, bias), attributes);
  const std::string reached = writer.Node("ConvTranspose", {x[0], weight}, attributes);
  const std::string all =
      writer.Node("Pad", {reached, writer.Integers({0, 0, 0, 0, 0, 0, beyond[0], beyond[1]})});
  if (bias.empty()) return all;
  return writer.Node("Add",
                     {all, writer.Node("Reshape", {bias, writer.Integers({conv.filters, 1, 1})})});
}

}  // namespace

std::vector<OnnxKind> ConvolutionOnnx() {
  return {
      {"conv1d", Convolution},         {"conv2d", Convolution},
      {"conv3d", Convolution},         {"depthwise_conv2d", Depthwise},
      {"separable_conv2d", Separable}, {"conv2d_transpose", Transposed},
  };
}

}  // namespace cyxwiz::exporting
