#include "export/onnx_layers.h"
#include "spec/count.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

std::vector<float> Repeated(int64_t count, float value) {
  return std::vector<float>(static_cast<size_t>(count), value);
}

std::string BatchNormalization(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  return writer.Node("BatchNormalization",
                     {x[0], writer.Tensor("weight"), writer.Tensor("bias"),
                      writer.Tensor("running_mean"), writer.Tensor("running_var")},
                     {{"epsilon", OptionsOf<spec::BatchNormalizationOptions>(layer).epsilon}});
}

std::string LayerNormalization(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& options = OptionsOf<spec::LayerNormalizationOptions>(layer);
  const spec::Shape& input = layer.input_shapes[0];
  std::string scale = writer.Tensor("weight"), bias = writer.Tensor("bias");
  if (scale.empty()) {
    spec::Shape normalized(input.end() - options.dimensions, input.end());
    scale = writer.Constant(normalized, Repeated(spec::ElementCount(normalized), 1));
  }
  std::vector<std::string> inputs = {x[0], scale};
  if (!bias.empty()) inputs.push_back(bias);
  return writer.Node("LayerNormalization", inputs,
                     {{"axis", -options.dimensions}, {"epsilon", options.epsilon}});
}

std::string GroupNormalization(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& options = OptionsOf<spec::GroupNormalizationOptions>(layer);
  const int64_t groups = options.groups;
  // The groups as channels, each normalised over all its values.
  std::string grouped = writer.Reshape(x[0], {groups, -1});
  std::string normal = writer.Node("InstanceNormalization",
                                   {grouped, writer.Constant({groups}, Repeated(groups, 1)),
                                    writer.Constant({groups}, Repeated(groups, 0))},
                                   {{"epsilon", options.epsilon}});
  normal = writer.Reshape(normal, layer.output_shape);
  std::vector<int64_t> channels(layer.output_shape.size(), 1);
  channels[0] = layer.output_shape[0];
  std::string shape = writer.Integers(channels);
  std::string scale = writer.Node("Reshape", {writer.Tensor("weight"), shape});
  std::string bias = writer.Node("Reshape", {writer.Tensor("bias"), shape});
  return writer.Node("Add", {writer.Node("Mul", {normal, scale}), bias});
}

std::string RmsNormalization(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const double epsilon = OptionsOf<spec::RmsNormalizationOptions>(layer).epsilon;
  std::string mean = writer.Node("ReduceMean", {writer.Node("Mul", {x[0], x[0]})},
                                 {{"axes", std::vector<int64_t>{-1}}, {"keepdims", int64_t{1}}});
  std::string root = writer.Node(
      "Sqrt", {writer.Node("Add", {mean, writer.Constant(static_cast<float>(epsilon))})});
  return writer.Node("Mul", {writer.Node("Div", {x[0], root}), writer.Tensor("weight")});
}

}  // namespace

std::vector<OnnxKind> NormalizationOnnx() {
  return {
      {"batch_normalization", BatchNormalization},
      {"layer_normalization", LayerNormalization},
      {"group_normalization", GroupNormalization},
      {"rms_normalization", RmsNormalization},
  };
}

}  // namespace cyxwiz::exporting
