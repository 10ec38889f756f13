#include "runner/operations.h"

namespace cyxwiz::runner {
namespace {

Operation Flatten(const spec::LayerSpec&, const LayerTensors&) {
  return [](Inputs x, bool) { return x[0].flatten(1); };
}

Operation Reshape(const spec::LayerSpec& layer, const LayerTensors&) {
  spec::Shape shape = layer.output_shape;
  shape.insert(shape.begin(), -1);
  return [shape](Inputs x, bool) { return x[0].reshape(shape); };
}

Operation Permute(const spec::LayerSpec& layer, const LayerTensors&) {
  std::vector<int64_t> dimensions = OptionsOf<spec::PermuteOptions>(layer).dimensions;
  dimensions.insert(dimensions.begin(), 0);
  return [dimensions](Inputs x, bool) { return x[0].permute(dimensions); };
}

Operation Upsampling(const spec::LayerSpec& layer, const LayerTensors&) {
  bool bilinear = OptionsOf<spec::UpsamplingOptions>(layer).bilinear;
  std::vector<int64_t> size = {layer.output_shape[1], layer.output_shape[2]};
  return [=](Inputs x, bool) {
    return bilinear ? at::upsample_bilinear2d(x[0], size, /*align_corners=*/false)
                    : at::upsample_nearest2d(x[0], size);
  };
}

Operation ZeroPadding(const spec::LayerSpec& layer, const LayerTensors&) {
  const auto& zeros = OptionsOf<spec::ZeroPaddingOptions>(layer);
  std::vector<int64_t> around = {zeros.left, zeros.right, zeros.top, zeros.bottom};
  return [around](Inputs x, bool) { return at::constant_pad_nd(x[0], around); };
}

Operation Add(const spec::LayerSpec&, const LayerTensors&) {
  return [](Inputs x, bool) {
    at::Tensor sum = x[0] + x[1];
    for (size_t i = 2; i < x.size(); ++i) sum = sum + x[i];
    return sum;
  };
}

Operation Multiply(const spec::LayerSpec&, const LayerTensors&) {
  return [](Inputs x, bool) {
    at::Tensor product = x[0] * x[1];
    for (size_t i = 2; i < x.size(); ++i) product = product * x[i];
    return product;
  };
}

Operation Concatenate(const spec::LayerSpec& layer, const LayerTensors&) {
  return [axis = OptionsOf<spec::ConcatenateOptions>(layer).axis](Inputs x, bool) {
    return at::cat(at::TensorList(x.data(), x.size()), axis);
  };
}

}  // namespace

std::vector<OperationKind> ShapeOperations() {
  return {
      {"flatten", Flatten},
      {"reshape", Reshape},
      {"permute", Permute},
      {"upsampling2d", Upsampling, /*fresh=*/true},
      {"zero_padding2d", ZeroPadding, /*fresh=*/true},
      {"add", Add, /*fresh=*/true},
      {"multiply", Multiply, /*fresh=*/true},
      {"concatenate", Concatenate, /*fresh=*/true},
  };
}

}  // namespace cyxwiz::runner
