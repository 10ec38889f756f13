#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

// A convolution of x with that weight and bias, padded. Options: kernel, strides, dilation, padding
// and padding_sizes.
template <typename Options>
std::string Convolve(const Options& conv, const spec::LayerSpec& layer, int64_t groups,
                     const std::string& x, const std::string& weight, const std::string& bias,
                     ScriptWriter& writer) {
  const spec::ConvolutionPadding padding =
      spec::PaddingOf(conv, layer.input_shapes[0], layer.output_shape);
  return writer.Call("conv" + std::to_string(conv.kernel.size()) + "d",
                     {padding.around.empty() ? x : writer.Pad(x, padding.around), weight, bias,
                      ScriptList(conv.strides), ScriptList(padding.own), ScriptList(conv.dilation),
                      std::to_string(groups)});
}

std::string Convolution(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& conv = std::get<spec::ConvolutionOptions>(layer.options);
  return Convolve(conv, layer, conv.groups, x[0], writer.Tensor("weight"), writer.Tensor("bias"),
                  writer);
}

std::string Depthwise(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& conv = std::get<spec::DepthwiseConvolutionOptions>(layer.options);
  return Convolve(conv, layer, layer.input_shapes[0][0], x[0], writer.Tensor("weight"),
                  writer.Tensor("bias"), writer);
}

std::string Separable(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& conv = std::get<spec::SeparableConvolutionOptions>(layer.options).depthwise;
  std::string between = Convolve(conv, layer, layer.input_shapes[0][0], x[0],
                                 writer.Tensor("depthwise.weight"), "None", writer);
  return writer.Call("conv2d",
                     {between, writer.Tensor("pointwise.weight"), writer.Tensor("pointwise.bias")});
}

std::string Transposed(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  auto conv = std::get<spec::TransposedConvolutionOptions>(layer.options);
  if (conv.padding == spec::Padding::kSame) {
    // Half of what the kernel reaches beyond the strides, the odd one given back at the end.
    for (size_t i = 0; i < conv.kernel.size(); ++i) {
      int64_t over = conv.kernel[i] - conv.strides[i];
      conv.padding_sizes[i] = (over + 1) / 2;
      conv.output_padding[i] = over % 2;
    }
  }
  return writer.Call("conv_transpose2d", {x[0], writer.Tensor("weight"), writer.Tensor("bias"),
                                          ScriptList(conv.strides), ScriptList(conv.padding_sizes),
                                          ScriptList(conv.output_padding),
                                          std::to_string(conv.groups), ScriptList(conv.dilation)});
}

}  // namespace

std::vector<ScriptKind> ConvolutionScript() {
  return {
      {"conv1d", Convolution},         {"conv2d", Convolution},
      {"conv3d", Convolution},         {"depthwise_conv2d", Depthwise},
      {"separable_conv2d", Separable}, {"conv2d_transpose", Transposed},
  };
}

}  // namespace cyxwiz::exporting
