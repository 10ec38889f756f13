#include "runner/operations.h"
#include "spec/layers.h"

namespace cyxwiz::runner {
namespace {

using spec::ConvolutionPadding;

at::Tensor PutAround(const ConvolutionPadding& padding, const at::Tensor& x) {
  return padding.around.empty() ? x : at::constant_pad_nd(x, padding.around);
}

template <typename Options>
ConvolutionPadding PaddingOf(const Options& conv, const spec::LayerSpec& layer) {
  return spec::PaddingOf(conv, layer.input_shapes[0], layer.output_shape);
}

// As many directions as the weight has.
at::Tensor Convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    at::IntArrayRef strides, at::IntArrayRef padding, at::IntArrayRef dilation,
                    int64_t groups) {
  if (weight.dim() == 4) return at::conv2d(x, weight, bias, strides, padding, dilation, groups);
  if (weight.dim() == 3) return at::conv1d(x, weight, bias, strides, padding, dilation, groups);
  return at::conv3d(x, weight, bias, strides, padding, dilation, groups);
}

Operation Convolution(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  const auto& conv = OptionsOf<spec::ConvolutionOptions>(layer);
  return [conv, weight = tensors("weight"), bias = tensors("bias"),
          padding = PaddingOf(conv, layer)](Inputs x, bool) {
    return Convolve(PutAround(padding, x[0]), weight, bias, conv.strides, padding.own,
                    conv.dilation, conv.groups);
  };
}

Operation Depthwise(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  const auto& conv = OptionsOf<spec::DepthwiseConvolutionOptions>(layer);
  return [conv, weight = tensors("weight"), bias = tensors("bias"),
          padding = PaddingOf(conv, layer)](Inputs x, bool) {
    return at::conv2d(PutAround(padding, x[0]), weight, bias, conv.strides, padding.own,
                      conv.dilation, x[0].size(1));
  };
}

Operation Separable(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  const auto& options = OptionsOf<spec::SeparableConvolutionOptions>(layer);
  return [conv = options.depthwise, depthwise = tensors("depthwise.weight"),
          pointwise = tensors("pointwise.weight"), bias = tensors("pointwise.bias"),
          padding = PaddingOf(options.depthwise, layer)](Inputs x, bool) {
    at::Tensor between = at::conv2d(PutAround(padding, x[0]), depthwise, {}, conv.strides,
                                    padding.own, conv.dilation, x[0].size(1));
    return at::conv2d(between, pointwise, bias);
  };
}

Operation Transposed(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  auto conv = OptionsOf<spec::TransposedConvolutionOptions>(layer);
  if (conv.padding == spec::Padding::kSame) {
    // Half of what the kernel reaches beyond the strides, the odd one given back at the end.
    for (size_t i = 0; i < 2; ++i) {
      int64_t over = conv.kernel[i] - conv.strides[i];
      conv.padding_sizes[i] = (over + 1) / 2;
      conv.output_padding[i] = over % 2;
    }
  }
  return [conv, weight = tensors("weight"), bias = tensors("bias")](Inputs x, bool) {
    return at::conv_transpose2d(x[0], weight, bias, conv.strides, conv.padding_sizes,
                                conv.output_padding, conv.groups, conv.dilation);
  };
}

}  // namespace

std::vector<OperationKind> ConvolutionOperations() {
  return {
      {"conv1d", Convolution, /*fresh=*/true},
      {"conv2d", Convolution, /*fresh=*/true},
      {"conv3d", Convolution, /*fresh=*/true},
      {"depthwise_conv2d", Depthwise, /*fresh=*/true},
      {"separable_conv2d", Separable, /*fresh=*/true},
      {"conv2d_transpose", Transposed, /*fresh=*/true},
  };
}

}  // namespace cyxwiz::runner
