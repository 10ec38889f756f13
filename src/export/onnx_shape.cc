#include "export/onnx_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

// flatten and reshape: the same values in the same order.
std::string Reshape(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  return writer.Reshape(x[0], layer.output_shape);
}

std::string Permute(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  std::vector<int64_t> dimensions = OptionsOf<spec::PermuteOptions>(layer).dimensions;
  dimensions.insert(dimensions.begin(), 0);
  return writer.Transpose(x[0], dimensions);
}

std::string Upsampling(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& options = OptionsOf<spec::UpsamplingOptions>(layer);
  std::string scales = writer.Constant(
      {4}, {1, 1, static_cast<float>(options.size[0]), static_cast<float>(options.size[1])});
  OnnxAttributes attributes;
  if (options.bilinear) {
    attributes = {{"mode", "linear"}, {"coordinate_transformation_mode", "half_pixel"}};
  } else {
    attributes = {{"mode", "nearest"},
                  {"coordinate_transformation_mode", "asymmetric"},
                  {"nearest_mode", "floor"}};
  }
  return writer.Node("Resize", {x[0], "", scales}, attributes);
}

std::string ZeroPadding(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& zeros = OptionsOf<spec::ZeroPaddingOptions>(layer);
  return writer.Node(
      "Pad",
      {x[0], writer.Integers({0, 0, zeros.top, zeros.left, 0, 0, zeros.bottom, zeros.right})});
}

std::string Joined(std::string_view op, Inputs x, LayerWriter& writer) {
  std::string all = writer.Node(op, {x[0], x[1]});
  for (size_t i = 2; i < x.size(); ++i) all = writer.Node(op, {all, x[i]});
  return all;
}

std::string Add(const spec::LayerSpec&, Inputs x, LayerWriter& writer) {
  return Joined("Add", x, writer);
}

std::string Multiply(const spec::LayerSpec&, Inputs x, LayerWriter& writer) {
  return Joined("Mul", x, writer);
}

std::string Concatenate(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  return writer.Node("Concat", {x.begin(), x.end()},
                     {{"axis", OptionsOf<spec::ConcatenateOptions>(layer).axis}});
}

}  // namespace

std::vector<OnnxKind> ShapeOnnx() {
  return {
      {"flatten", Reshape},
      {"reshape", Reshape},
      {"permute", Permute},
      {"upsampling2d", Upsampling},
      {"zero_padding2d", ZeroPadding},
      {"add", Add},
      {"multiply", Multiply},
      {"concatenate", Concatenate},
  };
}

}  // namespace cyxwiz::exporting
