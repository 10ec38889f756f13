#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

// flatten and reshape: the same values in the same order.
std::string Reshape(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  return writer.Reshape(x[0], layer.output_shape);
}

std::string Permute(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  std::vector<int64_t> dimensions = std::get<spec::PermuteOptions>(layer.options).dimensions;
  dimensions.insert(dimensions.begin(), 0);
  return writer.Call("permute", {x[0], ScriptList(dimensions)});
}

std::string Upsampling(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const std::string size = ScriptList({layer.output_shape[1], layer.output_shape[2]});
  if (std::get<spec::UpsamplingOptions>(layer.options).bilinear) {
    return writer.Call("upsample_bilinear2d", {x[0], size, /*align_corners=*/"False"});
  }
  return writer.Call("upsample_nearest2d", {x[0], size});
}

std::string ZeroPadding(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& zeros = std::get<spec::ZeroPaddingOptions>(layer.options);
  return writer.Pad(x[0], {zeros.left, zeros.right, zeros.top, zeros.bottom});
}

std::string Joined(std::string_view function, Inputs x, ScriptWriter& writer) {
  std::string all = writer.Call(function, {x[0], x[1]});
  for (size_t i = 2; i < x.size(); ++i) all = writer.Call(function, {all, x[i]});
  return all;
}

std::string Add(const spec::LayerSpec&, Inputs x, ScriptWriter& writer) {
  return Joined("add", x, writer);
}

std::string Multiply(const spec::LayerSpec&, Inputs x, ScriptWriter& writer) {
  return Joined("mul", x, writer);
}

std::string Concatenate(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  std::string list;
  for (const std::string& one : x) list += (list.empty() ? "" : ", ") + one;
  return writer.Call(
      "cat",
      {"[" + list + "]", std::to_string(std::get<spec::ConcatenateOptions>(layer.options).axis)});
}

}  // namespace

std::vector<ScriptKind> ShapeScript() {
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
